"""The loss of a codec: bits and squared error at the quality that each crop has drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from bifocal.learn.nets.activations import ActivationBits
from bifocal.learn.nets.codec import Codec, Coded, quality_lambda
from bifocal.learn.recipe import Recipe
from bifocal.learn.training.fit import Loss


class Objective(Protocol):
    """What a codec's training minimises. :func:`rate_distortion` is the plain one; a student has its own."""

    def __call__(self, model: Codec, pixels: Tensor, quality: Tensor, recipe: Recipe, done: float) -> Loss:
        """The loss of crops ``[b, 3, h, w]`` at qualities ``[b]`` when ``done`` (0..1) of the run is over.

        Its figures are loss without side tasks, bpp and PSNR.
        """


@dataclass(frozen=True)
class Pass:
    """How a training pass codes: entropy networks on their integers or not, in how many tiles a side."""

    exact: bool
    tiles: int

    @classmethod
    def of(cls, recipe: Recipe, done: float) -> Pass:
        """As the recipe has it when ``done`` (0..1) of the run is over; tiles are drawn for each batch."""
        tiled = recipe.tiled > 0 and float(torch.rand(())) < recipe.tiled
        return cls(recipe.exact and done >= recipe.exact_from, 2 if tiled else 1)


def loss_weight(recipe: Recipe, quality: Tensor) -> Tensor:
    """What the losses of pictures at qualities ``[b]`` count: low rates would hardly be heard otherwise."""
    return (recipe.system.lambda_min / quality_lambda(recipe.system, quality)) ** recipe.balance


def rate_distortion(model: Codec, pixels: Tensor, quality: Tensor, recipe: Recipe, done: float = 0.0) -> Loss:
    """Mean over the batch of ``weight·(bpp + lambda·255²·MSE)``, see :class:`Objective`."""
    how = Pass.of(recipe, done)
    coded = model(pixels, quality, exact=how.exact, noise=True, tiles=how.tiles)
    return weighted(coded, pixels, quality, recipe)


def with_activations(count: ActivationBits) -> Objective:
    """As :func:`rate_distortion`, plus what the recipe's ``[activation]`` says of the bits of activations."""

    def objective(model: Codec, pixels: Tensor, quality: Tensor, recipe: Recipe, done: float) -> Loss:
        exact = recipe.exact and done >= recipe.exact_from
        with count.counting():
            coded = model(pixels, quality, exact=exact, noise=True)
        return weighted(coded, pixels, quality, recipe, activations=count.bits())

    return objective


def weighted(
    coded: Coded, pixels: Tensor, quality: Tensor, recipe: Recipe, activations: Tensor | None = None
) -> Loss:
    """The loss of a pass that was made: see :func:`rate_distortion`. ``activations`` are bits ``[b]``.

    The errors of smaller pictures and the activations are trained on, but not in the loss that is logged.
    """
    h, w = pixels.shape[-2:]
    bpp = coded.bits / (h * w)
    mse = ((coded.output - pixels) ** 2).mean((1, 2, 3))
    lam = quality_lambda(recipe.system, quality)
    weight = loss_weight(recipe, quality)
    loss = ((bpp + lam * mse) * weight).mean()
    with torch.no_grad():
        figures = torch.stack([loss, bpp.mean(), 10 * torch.log10(255**2 / mse).mean()])
    for picture in coded.small:  # these teach their own networks alone
        target = F.avg_pool2d(pixels, w // picture.shape[-1])
        loss = loss + (lam * ((picture - target) ** 2).mean((1, 2, 3)) * weight).mean()
    if activations is not None and recipe.activation:
        loss = loss + (recipe.activation.strength * activations / (h * w) * weight).mean()
    if recipe.band_weights:
        loss = loss + ((_band_bits(coded, recipe) / (h * w)) * weight).mean()
    return Loss(loss, figures)


def _band_bits(coded: Coded, recipe: Recipe) -> Tensor:
    """What the recipe's band weights add to the bits of each picture ``[b]``: those beyond 1."""
    extra = torch.zeros_like(coded.channel_bits[0])
    bands = list(dict.fromkeys((g.start, g.stop) for g in recipe.system.plan.groups))
    for (start, stop), band_weight in zip(bands, recipe.band_weights, strict=True):
        extra[start:stop] = band_weight - 1
    return coded.channel_bits @ extra
