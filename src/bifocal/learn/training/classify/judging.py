"""How good a head is: while it is trained, on latents of real streams; at the end, as the file users get."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bifocal.learn.data.pooling import pooled_to
from bifocal.learn.data.views import GIVEN, Streams
from bifocal.learn.packing.heads import PackedHead
from bifocal.learn.training.classify.batches import Feed
from bifocal.learn.training.classify.calibration import WANTED, calibration_error, trusted_from
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
Watched = Sequence[tuple[Tensor, int]]
#: Log-probabilities of all classes are kept of as many streams as have so many numbers together.
MOST_NUMBERS, TINY = 1 << 24, 1e-30


def watched(streams: Streams, model: Model, recipe: HeadRecipe) -> Watched:
    """The latents of the streams that the curve is drawn from, no larger than the window."""
    judged = []
    for data, label in streams.get(WATCHED) or streams.get(GIVEN) or []:
        y = read_latents(data, model, recipe.channels).y
        if recipe.whole:
            y = pooled_to(torch.from_numpy(y), recipe.window, magnitudes=True).numpy()
        top, left = (max(0, side - recipe.window) // 2 for side in y.shape[1:])
        middle = y[:, top : top + recipe.window, left : left + recipe.window]
        judged.append((torch.from_numpy(np.ascontiguousarray(middle)), label))
    return judged


@torch.no_grad()
def accuracy(network: nn.Module, judged: Watched, batch: int = 128) -> float:
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
    return right / max(1, len(judged))


@torch.no_grad()
def nearness(network: nn.Module, feed: Feed, held: NDArray[np.int64], batch: int = 128) -> float:
    """The mean cosine of embeddings of held-out pictures, coded at random qualities, with their targets."""
    rng, targets, found = np.random.default_rng(0), feed.targets, []
    assert targets is not None
    for first in range(0, len(held), batch):
        rows = held[first : first + batch]
        plain = np.zeros_like(rows)
        y = feed.plain(rows, rng)
        made = cast(Any, network).answers(y)[1].float().cpu()
        wanted = targets.of(rows, plain)[:, targets.classes :]
        found.append(nn.functional.cosine_similarity(made, wanted))
    return float(torch.cat(found).mean())


@dataclass(frozen=True, eq=False)
class Judged:
    """What a head said of real streams: for each name of :data:`Streams` which class it ``answered``, int64
    ``[n]``, how ``likely`` it found that, and the ``truth``.

    ``rows`` are log-probabilities ``[k, classes]`` of some of the streams, ``row_truth`` their labels.
    """

    classes: int
    answered: Mapping[str, NDArray[np.int64]]
    likely: Mapping[str, NDArray[np.float64]]
    truth: Mapping[str, NDArray[np.int64]]
    rows: NDArray[np.float64]
    row_truth: NDArray[np.int64]

    @property
    def accuracy(self) -> dict[str, float]:
        """The share of labels that are right, by name."""
        return {name: float((self.answered[name] == truth).mean()) for name, truth in self.truth.items()}

    @property
    def confusion(self) -> NDArray[np.int64]:
        """How often each class (row) was called each (column), int64 ``[classes, classes]``."""
        counts = np.zeros((self.classes, self.classes), np.int64)
        for name, truth in self.truth.items():
            np.add.at(counts, (truth, self.answered[name]), 1)
        return counts

    @property
    def agreement(self) -> float | None:
        """The share of pictures that get one label at all qualities; None without streams at qualities."""
        labels = [answers for name, answers in self.answered.items() if name != GIVEN]
        return float((np.ptp(np.stack(labels), axis=0) == 0).mean()) if len(labels) > 1 else None

    def trust(self) -> tuple[float, float]:
        """The calibration error, and the probability from which on labels can be trusted."""
        likely = np.concatenate(list(self.likely.values()))
        right = np.concatenate([self.answered[name] == truth for name, truth in self.truth.items()])
        return calibration_error(likely, right), trusted_from(likely, right)


def judge(packed: PackedHead, folder: Path, streams: Streams, model: Model) -> Judged:
    """What the packed file says of real streams. The file is written into ``folder``."""
    file = folder / f"head{SUFFIX}"
    file.write_bytes(packed.data())
    return judge_head(Head.load(file), streams, model)


def judge_head(head: Head, streams: Streams, model: Model) -> Judged:
    """What a head says of real streams, whose labels are indices of its classes."""
    index = {name: number for number, name in enumerate(head.spec.classes)}
    total = sum(len(pairs) for pairs in streams.values())
    every = max(1, -(-total * len(index) // MOST_NUMBERS))
    answered, likely, truth, rows, row_truth = {}, {}, {}, [], []
    for name, pairs in streams.items():
        answers, shares = np.zeros(len(pairs), np.int64), np.zeros(len(pairs))
        for number, (data, label) in enumerate(pairs):
            labels = read_labels(container.read(data), model, head)
            answers[number], shares[number] = index[labels.name], labels.probabilities[0]
            if number % every == 0:
                row = np.zeros(len(index))
                row[[index[one] for one in labels.names]] = labels.probabilities
                rows.append(np.log(np.maximum(row, TINY)))
                row_truth.append(label)
        answered[name], likely[name] = answers, shares
        truth[name] = np.array([label for _, label in pairs], np.int64)
    kept = np.stack(rows) if rows else np.zeros((0, len(index)))
    return Judged(len(index), answered, likely, truth, kept, np.array(row_truth, np.int64))


def figures_of(judged: Judged, classes: Sequence[str]) -> dict[str, Any]:
    """What people should know of the labels, as plain values.

    Agreement is the share of pictures with one label at all qualities; labels are confident from the
    probability on from which the share ``right`` was right, which the share ``of labels`` reached.
    """
    error, least = judged.trust()
    likely = np.concatenate(list(judged.likely.values()))
    confident = {"at least": math.ceil(least * 1e4) / 1e4, "right": WANTED}
    coded = [truth for name, truth in judged.truth.items() if name != GIVEN][:1]
    given = [truth for name, truth in judged.truth.items() if name == GIVEN]
    counts = np.bincount(np.concatenate(coded + given), minlength=len(classes))
    return {
        "accuracy": judged.accuracy,
        "agreement": judged.agreement,
        "calibration error": round(error, 4),
        "confident": {**confident, "of labels": round(float((likely >= confident["at least"]).mean()), 4)},
        "judged": dict(zip(classes, counts.tolist(), strict=True)),
    }


def describe(name: str) -> str:
    """The name of some streams for people.

    >>> describe("q60")
    'quality 60'
    """
    return "as they were given" if name == GIVEN else f"quality {name.removeprefix('q')}"
