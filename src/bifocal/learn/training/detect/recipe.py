"""The numbers of a detector's training, and which of them can be."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import OptionError
from bifocal.learn.data.detection.dataset import DetectionSet
from bifocal.learn.data.detection.views import Augmentation
from bifocal.learn.nets.heads.detector import ANCHORS, FUSIONS, PAPER, SLIM, UNIT, DetectorConfig

SIZES = ("slim", "paper")
#: Anchors are fitted to the boxes of a data set if fewer of these than this are near one of the given ones.
ENOUGH_NEAR = 0.98
Anchors = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class DetectRecipe:
    """Every number of a run.

    Views have ``side`` pixels; the network sees them made ``shrink`` times smaller, and the branch for
    super-resolution, of ``blocks`` residual blocks, learns to give them back. ``sgd`` uses the optimiser of
    the paper, otherwise Muon for kernels and AdamW for the rest, which need fewer steps. Losses: ``box``,
    ``object`` and ``kind`` are what the parts count, ``balance`` that of objectness on the one grid, ``sr``
    that of super-resolution. ``floor`` is the last learning rate as a share of the first.
    """

    config: DetectorConfig = SLIM
    sr: bool = False
    blocks: int = 4
    side: int = 256
    shrink: int = 2
    batch: int = 8
    accumulate: int = 1
    sgd: bool = False
    lr: float = 2e-3
    matrix_lr: float = 5e-3
    momentum: float = 0.937
    decay: float = 0.0
    warmup: int = 60
    floor: float = 0.0
    ema: float = 0.998
    box: float = 0.05
    object: float = 1.0
    balance: float = 4.0
    kind: float = 0.5
    sr_weight: float = 0.1
    views: Augmentation = Augmentation()
    held: float = 0.15
    seed: int = 0


def detect_recipe(
    size: str, modalities: tuple[str, ...], fusion: str, *, sr: bool, side: int, shrink: int, seed: int
) -> DetectRecipe:
    """The recipe of a size: ``slim``, for a processor, or ``paper``, with the paper's numbers.

    :raises OptionError: if an option is none of those that there are.

    >>> detect_recipe("paper", ("rgb", "ir"), "mf", sr=True, side=1024, shrink=2, seed=0).accumulate
    32
    """
    if size not in SIZES or fusion not in FUSIONS:
        raise OptionError(
            f"size is {size!r} and fusion {fusion!r}; they have to be one of {', '.join(SIZES)} and one of "
            f"{', '.join(FUSIONS)}."
        )
    if shrink not in (1, 2) or (sr and shrink != 2):
        raise OptionError("shrink is 1 or 2, and 2 where super-resolution is trained: it doubles pictures.")
    if side < UNIT * shrink or side % (UNIT * shrink):
        raise OptionError(f"side is {side}; it has to be a multiple of {UNIT * shrink} pixels.")
    recipe = DetectRecipe(sr=sr, side=side, shrink=shrink, seed=seed)
    if size == "paper":
        paper = DetectRecipe(PAPER, blocks=16, batch=2, accumulate=32, sgd=True, lr=0.01, decay=5e-4)
        paper = replace(paper, warmup=1000, floor=0.2, ema=0.9999)
        recipe = replace(paper, sr=sr, side=side, shrink=shrink, seed=seed)
    return replace(recipe, config=replace(recipe.config, modalities=modalities, fusion=fusion))


def fitted_anchors(data: DetectionSet, shrink: int, anchors: Anchors = ANCHORS) -> Anchors:
    """The anchors, if nearly all boxes are within a factor of 4 of one; otherwise the means of three groups
    of the boxes by size, in pixels of what the network sees."""
    sizes = (
        np.concatenate([picture.boxes[:, 2:] - picture.boxes[:, :2] for picture in data.pictures]) / shrink
    )
    ratio = sizes[:, None] / np.array(anchors)
    near = (np.maximum(ratio, 1 / ratio).max(2) < 4).any(1).mean()
    return anchors if near >= ENOUGH_NEAR else _grouped(np.log(sizes), len(anchors))


def _grouped(logs: NDArray[np.float64], count: int) -> Anchors:
    """k-means of logarithms of sizes, begun at equal shares of the areas."""
    order = np.argsort(logs.sum(1))
    centres = np.stack([logs[part].mean(0) for part in np.array_split(order, count) if len(part)])
    for _ in range(30):
        nearest = np.abs(logs[:, None] - centres).sum(2).argmin(1)
        centres = np.stack(
            [
                logs[nearest == k].mean(0) if (nearest == k).any() else centre
                for k, centre in enumerate(centres)
            ]
        )
    found = np.exp(centres[np.argsort(centres.sum(1))])
    return tuple((round(float(w), 2), round(float(h), 2)) for w, h in found)
