"""Task: a small classifier of pixels, float or converted to low-bit integers; AdamW and a cosine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.learn.data.squares import Squares, as_tensor, shifted
from bifocal.learn.training.fit import Job, Loss, print_now
from bifocal.learn.training.optimisers import Rates
from bifocal.learn.training.precision import float32
from bifocal.learn.training.schedule import Every, Progress, Schedule

Batch = tuple[Tensor, Tensor]


def normalised(pixels: Tensor) -> Tensor:
    """Pixels 0..255 as what a network takes, about -2 to 2."""
    return (pixels - 128) / 64


def classifier_job(
    model: nn.Module,
    squares: Squares,
    *,
    side: int,
    batch: int,
    lr: float,
    decay: float,
    seed: int,
    log: Callable[[str], None] = print_now,
) -> Job[Batch]:
    """Train ``model`` (pixels ``[n, 3, side, side]`` to logits) on shifted, mirrored ``squares``."""

    def loss(given: Batch, done: float) -> Loss:
        pixels, labels = given
        value = F.cross_entropy(model(normalised(pixels)), labels)
        return Loss(value, value.detach()[None])

    def report(now: Progress) -> Mapping[str, Any]:
        log(f"step {now.step}, {now.cpu_seconds:.0f} processor seconds: loss {now.figures['loss']:.3f}")
        return {}

    return Job(
        model.train(),
        shifted(squares, side, batch, seed, next(model.parameters()).device),
        loss,
        Rates(lr, decay),
        Schedule(20, cosine=True),
        precision=float32,
        clip=5.0,
        validate=report,
        validate_every=Every(share=0.1),
        log_every=Every(),
        examples=batch,
        log=log,
    )


def share_right(model: nn.Module, squares: Squares, batch: int = 250) -> float:
    """Share of ``squares``, of the model's side, whose label is the most likely; in evaluation mode."""
    device = next(model.parameters()).device
    model.eval()
    right = 0
    with torch.no_grad():
        for start in range(0, len(squares.labels), batch):
            some = squares.take(np.arange(start, min(start + batch, len(squares.labels))))
            answers = model(normalised(as_tensor(some.pixels, device))).argmax(1).cpu().numpy()
            right += int((answers == some.labels).sum())
    return right / len(squares.labels)
