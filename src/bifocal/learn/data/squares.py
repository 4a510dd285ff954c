"""Labelled square pictures in memory, and random crops of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bifocal.learn.data.labelled import find_labelled, load_squares, split


@dataclass(frozen=True)
class Squares:
    """Labelled pictures: uint8 ``[n, s, s, 3]``, and int64 ``[n]``."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> Squares:
        return Squares(self.pixels[rows], self.labels[rows])

    def some(self, count: int) -> Squares:
        """About ``count`` of them, evenly taken."""
        return self.take(np.arange(0, len(self.labels), max(1, len(self.labels) // count)))

    def middle(self, side: int) -> Squares:
        """The middle ``side × side`` pixels of each."""
        i = (self.pixels.shape[1] - side) // 2
        return Squares(self.pixels[:, i : i + side, i : i + side], self.labels)


@dataclass(frozen=True)
class LabelledSquares:
    """Squares to train on, those held out, and the names of the classes; ``warnings`` are for people."""

    train: Squares
    held: Squares
    classes: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def as_tensor(pixels: NDArray[np.uint8], device: str | torch.device = "cpu") -> Tensor:
    """Pixels uint8 ``[b, s, s, 3]`` as float ``[b, 3, s, s]``, channels last in memory."""
    return torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float()


def load_labelled_squares(
    folder: Path, *, side: int, margin: int, held: int, seed: int, names: Path | None = None
) -> LabelledSquares:
    """The pictures of ``folder``, a subfolder a class, as squares of ``side + margin`` pixels.

    About ``held`` of them, at most half, are held out, and cut to ``side``. ``names`` as in
    :func:`~bifocal.learn.data.labelled.find_labelled`.

    :raises TrainingError: if they cannot be trained on.
    """
    found, pixels = load_squares(find_labelled(folder, names=names), side + margin)
    squares = Squares(pixels, found.labels)
    train, kept = split(found.labels, min(0.5, held / len(found.labels)), seed)
    return LabelledSquares(
        squares.take(train), squares.take(kept).middle(side), found.classes, found.warnings
    )


def shifted(
    squares: Squares, side: int, batch: int, seed: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches: pixels ``[batch, 3, side, side]`` in 0..255 and labels ``[batch]``.

    A random shift for the batch and a mirror for each picture are all the augmentation. The pictures lie on
    ``device`` once.
    """
    pixels, labels = torch.from_numpy(squares.pixels).to(device), torch.from_numpy(squares.labels).to(device)
    spare = squares.pixels.shape[1] - side
    rng = torch.Generator().manual_seed(seed)
    while True:
        rows = torch.randint(len(pixels), (batch,), generator=rng).to(device)
        top, left = (int(i) for i in torch.randint(spare + 1, (2,), generator=rng))
        part = pixels[rows, top : top + side, left : left + side]
        mirrored = (torch.rand(batch, generator=rng) < 0.5).to(device)
        part = torch.where(mirrored[:, None, None, None], part.flip(2), part)
        yield part.permute(0, 3, 1, 2).float(), labels[rows]
