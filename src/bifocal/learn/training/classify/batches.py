"""Batches that a head learns from: cached views, mixed, cut, and quantised as coding would.

The recipe (mixup, CutMix, label smoothing) is standard; that quantisation is done to latents which were
analysed once, so that a step costs the head alone, is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bifocal.learn.data.views import Views, coded
from bifocal.learn.training.classify.recipe import HeadRecipe
from bifocal.learn.training.classify.targets import Targets
from bifocal.learn.training.soft_labels import mixed
from bifocal.runtime.model import Model

#: Latents before gains to what a decoder would have of them.
Code = Callable[[Tensor, np.random.Generator], Tensor]


def coding(model: Model, device: str) -> Code:
    """Coding at a random quality for each picture, and all of them rounded in one of three ways."""
    gain, inverse = (torch.from_numpy(model.gains[name]).to(device) for name in ("gain", "inverse_gain"))

    def code(y: Tensor, rng: np.random.Generator) -> Tensor:
        quality = torch.from_numpy(rng.integers(0, 100, len(y))).to(device)
        return coded(y, quality, (gain, inverse), int(rng.integers(3)))

    return code


@dataclass(frozen=True)
class Feed:
    """Batches of ``rows`` of views: mixed, cut, and by ``code`` made what a decoder has (:func:`coding`).

    ``targets`` are those of the labels alone by default. A share of each batch is taken from ``nothing``,
    latents ``[n, c, h, w]`` of pictures that show no class, if there are any.
    """

    recipe: HeadRecipe
    views: Views
    rows: NDArray[np.int64]
    code: Code
    device: str = "cpu"
    unit: int = 1  # crops are of multiples of so many values a side
    targets: Targets | None = None
    nothing: NDArray[np.float16] | None = None

    def __call__(self, rows: NDArray[np.int64], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Inputs ``[b, c, h, w]`` and targets, as of :class:`Targets`, of pictures ``rows``."""
        recipe, views = self.recipe, self.views
        large = views.large > 0 and rng.random() < views.large / views.y.shape[1]
        targets = self.targets or Targets(views.labels, int(views.labels.max()) + 1, recipe.smoothing)
        chosen = views.choose_large(rows, rng) if large else views.choose(rows, rng, recipe.plain)
        y, target = (t.to(self.device) for t in (views.take(rows, chosen), targets.of(rows, chosen)))
        y = y if large else y[:, : recipe.channels or y.shape[1]]
        if rng.random() < recipe.mixed:
            y, target = mixed(y, target, rng)
        if self.nothing is not None and (count := round(recipe.nothing * len(rows))):
            taken = self.nothing[rng.integers(0, len(self.nothing), count)]
            blank = torch.from_numpy(taken).to(y)
            y[:count] = torch.cat([blank, blank.abs()], 1) if large else blank
            target[:count] = targets.unknown(count).to(target)
        if rng.random() < recipe.cut:
            y = cut(y, rng, self.unit)
        seen = y if large else self.coded(y, rng)
        return seen.contiguous(memory_format=torch.channels_last), target

    def coded(self, y: Tensor, rng: np.random.Generator) -> Tensor:
        """What the network sees of latents that are not larger than its grid, if it has one."""
        seen = self.code(y, rng)
        return torch.cat([seen, seen.abs()], 1) if self.recipe.whole else seen

    def plain(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        """What the network sees of plain pictures, coded at random qualities."""
        y = self.views.take(rows, np.zeros_like(rows))[:, : self.recipe.channels or None]
        return self.coded(y.to(self.device), rng)

    def batches(self, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless batches; every picture comes once before any comes again."""
        rng, order = np.random.default_rng(seed), np.empty(0, np.int64)
        batch = min(self.recipe.batch, max(2, len(self.rows) * self.views.y.shape[1]))
        while True:
            while len(order) < batch:
                order = np.concatenate([order, rng.permutation(self.rows)])
            taken, order = order[:batch], order[batch:]
            yield self(taken, rng)


def cut(y: Tensor, rng: np.random.Generator, unit: int = 1) -> Tensor:
    """A window of the latents of five eighths of a side at least: pictures have all shapes."""
    side = y.shape[2] // unit
    h, w = (int(n) for n in rng.integers(-(-5 * side // 8), side + 1, 2))
    top, left = int(rng.integers(0, side - h + 1)), int(rng.integers(0, side - w + 1))
    return y[:, :, unit * top : unit * (top + h), unit * left : unit * (left + w)]
