"""Units that no picture wakes, and how to start them afresh without changing what the network computes.

A unit behind a plain ReLU whose input is negative everywhere gets no gradient: it is lost for good, and
nothing in the loss says so. :func:`dormant_units` counts them, the training loop prints the count at every
validation, and :func:`revive` recycles them as in ReDo (Sokar et al., arXiv 2302.12902): new incoming
weights, outgoing weights zero. Where a whole deep path is dormant its constant output moves into the bias
of the linear path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from bifocal.errors import TrainingError
from bifocal.learn.checkpoint import Checkpoint
from bifocal.learn.data.crops import Pixels
from bifocal.learn.nets.transforms.blocks import ResidualBlock, conv3, rectify
from bifocal.learn.systems.lowfirst import LowFirst, Transform

#: A unit that fires at fewer than this share of places is dormant.
THRESHOLD = 2e-4


@torch.no_grad()
def firing(model: LowFirst, pictures: Sequence[Tensor]) -> dict[str, list[Tensor]]:
    """How often each unit is positive: a list for each transform, by name, of tensors ``[width]`` in 0..1.

    ``pictures`` are ``[b, 3, h, w]`` in 0..255. A list holds the hidden units of every block, then the
    units that the last convolution sees. The latents are taken unrounded, as at the highest quality.
    """
    seen: dict[str, list[Tensor]] = {}

    def note(name: str, layer: int, x: Tensor) -> None:
        rates = seen.setdefault(name, [])
        rate = (x > 0).float().mean((0, 2, 3)).cpu() / len(pictures)
        if layer == len(rates):
            rates.append(rate)
        else:
            rates[layer] += rate

    for pixels in pictures:
        inputs = {"analysis": model.to_packet(pixels)}
        latent = model.analysis(inputs["analysis"])
        inputs |= {"synthesis": latent, "to_half": latent}
        for name, x in inputs.items():
            part: Transform = getattr(model, name)
            x = part.stem(x * part.scale)
            for layer, block in enumerate(_blocks(part)):
                hidden = block.first(rectify(x, block.slope))
                note(name, layer, hidden)
                x = x + block.second(rectify(hidden, block.slope))
            note(name, len(part.blocks), x)
    return seen


def dormant_units(model: LowFirst, pictures: Sequence[Tensor]) -> dict[str, tuple[int, int]]:
    """Dormant and all units of each transform, by name."""
    return {
        name: (sum(int((r < THRESHOLD).sum()) for r in rates), sum(len(r) for r in rates))
        for name, rates in firing(model, pictures).items()
    }


@torch.no_grad()
def revive(model: LowFirst, rates: dict[str, list[Tensor]]) -> int:
    """Start dormant units afresh, given how often each fires; return how many. The output does not change.

    Random numbers come from torch's generator. Take the rates once and revive both the weights and their
    moving average with them, after seeding the generator alike.
    """
    count = 0
    for name, layers in rates.items():
        part: Transform = getattr(model, name)
        if bool((layers[-1] < THRESHOLD).all()):
            count += len(layers[-1]) * len(layers)
            _restart(part)
            continue
        for block, rate in zip(_blocks(part), layers, strict=False):
            dead = (rate < THRESHOLD).nonzero()[:, 0]
            if not block.slope and len(dead):
                fresh = conv3(block.first.in_channels, block.first.out_channels)
                block.first.weight[dead] = fresh.weight[dead].to(block.first.weight)
                block.first.bias[dead] = 0  # type: ignore[index]
                block.second.weight[:, dead] = 0
                count += len(dead)
    return count


def revived(checkpoint: Checkpoint, pictures: Sequence[Pixels], *, seed: int = 0) -> tuple[Checkpoint, int]:
    """A checkpoint with its dormant units started afresh, and how many; judged on corners of ``pictures``."""
    corners = []
    for picture in pictures:
        h, w = (min(side, 256) // 64 * 64 for side in picture.shape[:2])
        corners.append(torch.from_numpy(picture[:h, :w].copy()).permute(2, 0, 1)[None].float())
    rates = firing(_lowfirst(checkpoint, average=False), corners)
    count, weights = 0, []
    for average in (False, True):
        torch.manual_seed(seed)
        model = _lowfirst(checkpoint, average=average)
        count = revive(model, rates)
        weights.append(model.state_dict())
    return replace(checkpoint, weights=weights[0], average=weights[1]), count


def _lowfirst(checkpoint: Checkpoint, *, average: bool) -> LowFirst:
    model = checkpoint.model(average=average)
    if not isinstance(model, LowFirst):
        raise TrainingError("only units of the default codec, lowfirst, can be started afresh.")
    return model


def _restart(part: Transform) -> None:
    """A new deep path that adds nothing yet, in place of one that adds a constant."""
    part.linear.bias += part.tail.bias  # type: ignore[operator]
    for conv in (m for m in (part.stem, *part.blocks.modules()) if isinstance(m, nn.Conv2d)):
        conv.load_state_dict(conv3(conv.in_channels, conv.out_channels).state_dict())
    for block in _blocks(part):
        block.second.weight *= 0.2
    nn.init.zeros_(part.tail.weight)
    nn.init.zeros_(part.tail.bias)  # type: ignore[arg-type]


def _blocks(part: Transform) -> list[ResidualBlock]:
    return [block for block in part.blocks if isinstance(block, ResidualBlock)]
