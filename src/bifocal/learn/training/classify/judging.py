"""How good a head is: while it is trained, on latents of real streams; at the end, as the file users get."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bifocal.learn.data.views import GIVEN, Streams
from bifocal.learn.packing.heads import PackedHead
from bifocal.learn.training.classify.recipe import HeadRecipe
from bifocal.runtime.heads.classify import read_labels
from bifocal.runtime.heads.file import SUFFIX
from bifocal.runtime.heads.run import Head
from bifocal.runtime.heads.windows import read_latents
from bifocal.runtime.model import Model
from bifocal.stream import container

#: The streams that the curve is drawn from while training.
WATCHED = "q60"
#: Latents ``[c, h, w]`` and their labels.
Judged = Sequence[tuple[Tensor, int]]


def watched(streams: Streams, model: Model, recipe: HeadRecipe) -> Judged:
    """The latents of the streams that the curve is drawn from, no larger than the window."""
    judged = []
    for data, label in streams.get(WATCHED) or streams[GIVEN]:
        y = read_latents(data, model, recipe.channels).y
        top, left = (max(0, side - recipe.window) // 2 for side in y.shape[1:])
        middle = y[:, top : top + recipe.window, left : left + recipe.window]
        judged.append((torch.from_numpy(np.ascontiguousarray(middle)), label))
    return judged


@torch.no_grad()
def accuracy(network: nn.Module, judged: Judged, batch: int = 128) -> float:
    """The share of ``judged`` that the network classifies rightly, in batches of equal shapes."""
    device = next(network.parameters()).device
    groups: dict[torch.Size, list[tuple[Tensor, int]]] = {}
    for y, label in judged:
        groups.setdefault(y.shape, []).append((y, label))
    right = 0
    for pairs in groups.values():
        for first in range(0, len(pairs), batch):
            part = pairs[first : first + batch]
            y = torch.stack([y for y, _ in part]).to(device, memory_format=torch.channels_last)
            labels = torch.tensor([label for _, label in part], device=device)
            with torch.autocast(device.type, dtype=torch.bfloat16):
                answer = network(y)
            logits: Tensor = getattr(answer, "logits", answer)
            right += int((logits.argmax(1) == labels).sum())
    return right / len(judged)


def judge(
    packed: PackedHead, folder: Path, streams: Streams, model: Model
) -> tuple[dict[str, float], NDArray[np.int64]]:
    """Accuracy by quality, and the confusion matrix over all, of the packed file on real streams.

    The file is written into ``folder``; the matrix is int64 ``[classes, classes]``, a row a true class.
    """
    file = folder / f"head{SUFFIX}"
    file.write_bytes(packed.data())
    head = Head.load(file)
    index = {name: number for number, name in enumerate(head.spec.classes)}
    confusion = np.zeros((len(index), len(index)), np.int64)
    shares = {}
    for name, pairs in streams.items():
        right = 0
        for data, label in pairs:
            answer = index[read_labels(container.read(data), model, head).names[0]]
            confusion[label, answer] += 1
            right += answer == label
        shares[name] = right / len(pairs)
    return shares, confusion


def describe(name: str) -> str:
    """The name of some streams for people.

    >>> describe("q60")
    'quality 60'
    """
    return "as they were given" if name == GIVEN else f"quality {name.removeprefix('q')}"
