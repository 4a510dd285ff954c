"""Task: a detector of small objects, with a branch for super-resolution beside it if wanted.

The branch learns to give back, at twice the resolution, the picture that the detector saw; its gradient goes
through the detector, and it is thrown away after the training (arXiv 2209.13351).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from bifocal.learn.data.detection.views import Batch
from bifocal.learn.nets.heads.detector import Detector, Features
from bifocal.learn.nets.heads.super_resolution import SuperResolution
from bifocal.learn.nets.parameters import KERNELS
from bifocal.learn.training.average import Average
from bifocal.learn.training.detect.losses import detection_loss, enlarging_loss
from bifocal.learn.training.detect.recipe import DetectRecipe
from bifocal.learn.training.fit import Job, Loss, print_now
from bifocal.learn.training.optimisers import Rates
from bifocal.learn.training.precision import fastest
from bifocal.learn.training.run_folder import RunFolder
from bifocal.learn.training.schedule import Every, Progress, Schedule

#: What is logged of a step.
FIGURES = ("loss", "box", "object", "class", "sr")
#: The curve has about so many points.
VALIDATIONS = 8


def detect_job(
    recipe: DetectRecipe,
    network: nn.Module,
    feed: Iterator[Batch],
    *,
    device: str = "cpu",
    anchors: tuple[tuple[float, float], ...] | None = None,
    average: Average | None = None,
    validate: Callable[[nn.Module, Progress], Mapping[str, Any]] | None = None,
    folder: RunFolder | None = None,
    log: Callable[[str], None] = print_now,
) -> Job[Batch]:
    """A detector on batches of views.

    :param network: a :class:`Detector`, or any network from the inputs of ``feed`` to answers.
    :param validate: judges the moving average.
    """
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    branch = SuperResolution(recipe.config, recipe.blocks).to(device) if recipe.sr else None
    mean = average or Average.of(network, recipe.ema, updates=0)
    mean.model.to(device)
    shapes = torch.tensor(anchors or recipe.config.anchors, device=device)

    def loss(batch: Batch, done: float) -> Loss:
        pixels, targets, ignored = (part.to(device) for part in batch)
        values, scaled = seen(pixels, targets, ignored, recipe.shrink)
        features = cast(Detector, network).features(values) if branch is not None else None
        answers = network(values) if features is None else features.answers
        parts = detection_loss(answers, *scaled, shapes, recipe)
        extra = answers.new_zeros((), dtype=torch.float32)
        if branch is not None and features is not None:
            extra = recipe.sr_weight * _enlarging(branch, features, pixels)
        # detection counts as often as there are pictures, super-resolution once
        value = len(pixels) * parts.sum() + extra
        return Loss(value, torch.cat([value.detach()[None], parts.detach(), extra.detach()[None]]))

    def judged(now: Progress) -> Mapping[str, Any]:
        return {} if validate is None else validate(mean.model, now)

    muon = () if recipe.sgd else (KERNELS,)
    momentum = recipe.momentum if recipe.sgd else 0.0
    return Job(
        network,
        feed,
        loss,
        Rates(recipe.lr, recipe.decay, muon, recipe.matrix_lr, momentum=momentum),
        Schedule(recipe.warmup, cosine=True, floor=recipe.floor),
        FIGURES,
        beside=branch,
        average=mean,
        precision=fastest,
        clip=10.0 * recipe.batch,
        accumulate=recipe.accumulate,
        validate=judged,
        validate_every=Every(share=1 / VALIDATIONS),
        folder=folder,
        examples=recipe.batch,
        log=log,
    )


def seen(
    pixels: Tensor, targets: Tensor, ignored: Tensor, shrink: int
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """What the network sees of a batch, values 0..1, and the targets and ignored regions in its pixels.

    Latents, which are floats already, are as they are; their targets stay in pixels of the picture.
    """
    if pixels.is_floating_point():
        return pixels, (targets, ignored)
    values = pixels.float() / 255
    if shrink > 1:
        values = avg_pool2d(values, shrink)
    one, other = targets.clone(), ignored.clone()
    one[:, 2:] /= shrink
    other[:, 1:] /= shrink
    return values, (one, other)


def _enlarging(branch: nn.Module, features: Features, pixels: Tensor) -> Tensor:
    return enlarging_loss(pixels.float() / 255, branch(features.low, features.high))
