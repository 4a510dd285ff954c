"""Padding and windows: how a picture of any size passes through networks of bounded memory.

Float networks see a picture window by window. A window is a core, which is kept, and a halo around it, which
is computed and thrown away: with a halo as wide as the receptive field reaches, cores meet without a seam.
Which windows are used is not part of the format: they change no decoded latent, and pixels only by float
rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Span:
    """A stretch along one axis: the core ``start..stop`` inside the wider ``outer_start..outer_stop``."""

    start: int
    stop: int
    outer_start: int
    outer_stop: int

    def outer(self, stride: int) -> slice:
        """The outer stretch, in units of ``stride`` pixels."""
        return slice(self.outer_start // stride, self.outer_stop // stride)

    def core(self, stride: int) -> slice:
        """The core, in units of ``stride`` pixels."""
        return slice(self.start // stride, self.stop // stride)

    def inner(self, stride: int) -> slice:
        """The core inside the outer stretch, in units of ``stride`` pixels."""
        return slice((self.start - self.outer_start) // stride, (self.stop - self.outer_start) // stride)


def padded_size(size: int, multiple: int) -> int:
    """``size`` rounded up to a multiple.

    >>> padded_size(65, 64)
    128
    """
    return -(-size // multiple) * multiple


def pad(pixels: NDArray[np.uint8], multiple: int) -> NDArray[np.uint8]:
    """Repeat the last row and column of ``[h, w, ...]`` until both sides are multiples of ``multiple``."""
    h, w = pixels.shape[:2]
    below, right = padded_size(h, multiple) - h, padded_size(w, multiple) - w
    if not below and not right:
        return pixels
    return np.pad(pixels, [(0, below), (0, right)] + [(0, 0)] * (pixels.ndim - 2), mode="edge")


def spans(size: int, *, core: int, halo: int, multiple: int) -> list[Span]:
    """Cut ``size`` pixels (a multiple of ``multiple``) into cores of at most ``core``, about equally long.

    ``core`` and ``halo`` are multiples of ``multiple`` too. A size not larger than ``core + 2·halo`` stays in
    one piece, since its windows would overlap by more than they save.

    >>> [(s.start, s.stop) for s in spans(384, core=128, halo=64, multiple=64)]
    [(0, 128), (128, 256), (256, 384)]
    """
    if size <= core + 2 * halo:
        return [Span(0, size, 0, size)]
    count = -(-size // core)
    length = padded_size(-(-size // count), multiple)
    starts = range(0, size, length)
    return [
        Span(start, min(start + length, size), max(start - halo, 0), min(start + length + halo, size))
        for start in starts
    ]


def windows(height: int, width: int, *, core: int, halo: int, multiple: int) -> Iterator[tuple[Span, Span]]:
    """Rows and columns of every window of a padded picture, row by row."""
    for rows in spans(height, core=core, halo=halo, multiple=multiple):
        for columns in spans(width, core=core, halo=halo, multiple=multiple):
            yield rows, columns
