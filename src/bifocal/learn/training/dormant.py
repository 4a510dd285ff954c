"""Units that no picture wakes, and how to start them afresh without changing what the network computes.

A unit behind a plain ReLU whose input is negative everywhere gets no gradient: it is lost for good, and
nothing in the loss shows it. A codec names the layers where that can happen (``Codec.rectified``);
:func:`dormant_units` counts such units, training prints the count at every validation, and :func:`revived`
starts them afresh as in ReDo (Sokar et al., arXiv 2302.12902).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bifocal.errors import TrainingError
from bifocal.learn.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from bifocal.learn.data.crops import Pixels
from bifocal.learn.nets.codec import Codec
from bifocal.learn.packing.codec import table_pictures

#: A unit that fires at fewer than this share of positions is dormant.
THRESHOLD = 2e-4
#: Pictures that a checkpoint's units are judged on.
JUDGED_ON = 24


@torch.no_grad()
def firing(model: Codec, pictures: Sequence[Tensor]) -> dict[str, list[Tensor]]:
    """How often each unit of the codec's rectified layers is positive: tensors ``[units]`` in 0..1.

    A list for each network, by name, in the order of its layers. ``pictures`` are ``[b, 3, h, w]`` in
    0..255; the latents are taken unrounded, as at the highest quality.
    """
    layers = model.rectified()
    rates: dict[nn.Module, Tensor] = {}

    def count(layer: nn.Module, _: Any, x: Tensor) -> None:
        rate = (x > 0).float().mean((0, 2, 3)).cpu() / len(pictures)
        rates[layer] = rates[layer] + rate if layer in rates else rate

    with contextlib.ExitStack() as hooks:
        for layer in (layer for found in layers.values() for layer in found):
            hooks.callback(layer.register_forward_hook(count).remove)
        for pixels in pictures if layers else ():
            y = model.analyse(pixels)
            model.synthesise(y)
            model.synthesise_small(y)
    return {name: [rates[layer] for layer in found] for name, found in layers.items()}


def dormant_units(model: Codec, pictures: Sequence[Tensor]) -> dict[str, tuple[int, int]]:
    """Dormant and all units of each network that has rectified layers, by name."""
    return {
        name: (sum(int((r < THRESHOLD).sum()) for r in rates), sum(len(r) for r in rates))
        for name, rates in firing(model, pictures).items()
    }


def revived(checkpoint: Checkpoint, pictures: Sequence[Pixels], *, seed: int = 0) -> tuple[Checkpoint, int]:
    """A checkpoint with its dormant units started afresh, and how many; judged on corners of ``pictures``.

    :raises TrainingError: if its codec names no layers whose units could be dormant.
    """
    model = checkpoint.model(average=False)
    if not model.rectified():
        raise TrainingError(f"{type(model).__name__} names no layers whose units could be dormant.")
    corners = []
    for picture in pictures:
        h, w = (min(side, 256) // 64 * 64 for side in picture.shape[:2])
        corners.append(torch.from_numpy(picture[:h, :w].copy()).permute(2, 0, 1)[None].float())
    rates = firing(model, corners)
    count, weights = 0, []
    for average in (False, True):  # with the same random numbers
        torch.manual_seed(seed)
        model = checkpoint.model(average=average)
        count = model.revive(rates, THRESHOLD)
        weights.append(model.state_dict())
    return replace(checkpoint, weights=weights[0], average=weights[1]), count


def revive_checkpoint(checkpoint: Path, data: Path, out: Path) -> int:
    """Write ``checkpoint`` with its dormant units started afresh to ``out``; returns how many there were.

    They are judged on pictures of ``data`` that it was trained on.
    """
    loaded = load_checkpoint(checkpoint)
    made, count = revived(loaded, table_pictures(loaded, data, JUDGED_ON))
    save_checkpoint(out, made)
    return count
