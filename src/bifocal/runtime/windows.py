"""Padding and windows: how a picture of any size passes through networks of bounded memory.

Float networks see a picture window by window. A window is a core, which is kept, and a halo around it, which
is computed and thrown away: with a halo as wide as the receptive field reaches, cores meet without a seam.
Which windows are used is not part of the format: they change no decoded latent, and pixels only by float
rounding. They depend on the size of the picture alone, so a part of it is decoded to the very pixels of the
whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Left, top, right and bottom in pixels, right and bottom exclusive: as Pillow counts.
Box = tuple[int, int, int, int]


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


def cut_padded(pixels: NDArray[np.uint8], rows: slice, columns: slice) -> NDArray[np.uint8]:
    """``pixels[rows, columns]`` of ``[h, w, ...]``, where the last row and column go on beyond the edge.

    The slices start inside the picture. Only what lies beyond costs a copy.

    >>> cut_padded(np.array([[1, 2], [3, 4]], np.uint8), slice(0, 2), slice(1, 4))
    array([[2, 2, 2],
           [4, 4, 4]], dtype=uint8)
    """
    part = pixels[rows, columns]
    below = rows.stop - rows.start - part.shape[0]
    right = columns.stop - columns.start - part.shape[1]
    if not below and not right:
        return part
    return np.pad(part, [(0, below), (0, right)] + [(0, 0)] * (pixels.ndim - 2), mode="edge")


def spans(
    size: int, *, core: int, halo: int, multiple: int, start: int = 0, stop: int | None = None
) -> list[Span]:
    """Cut ``start..stop`` of ``size`` pixels into cores of at most ``core``, about equally long.

    All are multiples of ``multiple``; ``halo`` need not be. Halos end at the edges of the picture. A stretch
    not longer than ``core + 2·halo`` stays in one piece, since its windows would overlap by more than they
    save.

    >>> [(s.start, s.stop) for s in spans(384, core=128, halo=64, multiple=64)]
    [(0, 128), (128, 256), (256, 384)]
    """
    stop = size if stop is None else stop
    length = stop - start
    if length > core + 2 * halo:
        length = padded_size(-(-length // -(-length // core)), multiple)
    return [
        Span(first, last := min(first + length, stop), max(first - halo, 0), min(last + halo, size))
        for first in range(start, stop, length)
    ]


def windows(
    height: int, width: int, *, core: int, halo: int, multiple: int, box: Box | None = None
) -> Iterator[tuple[Span, Span]]:
    """Rows and columns of every window of a padded picture, or of a ``box`` of it, row by row."""
    left, top, right, bottom = box or (0, 0, width, height)
    for rows in spans(height, core=core, halo=halo, multiple=multiple, start=top, stop=bottom):
        for columns in spans(width, core=core, halo=halo, multiple=multiple, start=left, stop=right):
            yield rows, columns


def boxes(width: int, height: int, side: int) -> Iterator[Box]:
    """Boxes of at most ``side × side`` pixels that cover a picture, row by row.

    >>> list(boxes(130, 64, 64))
    [(0, 0, 64, 64), (64, 0, 128, 64), (128, 0, 130, 64)]
    """
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield left, top, min(left + side, width), min(top + side, height)
