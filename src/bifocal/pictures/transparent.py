"""Colours under fully transparent pixels: they are invisible, so they become what is cheapest to code.

What stands there in a file is often the worst case for a codec: leftovers of a background, or noise. It is
replaced by a smooth continuation of the visible colours around it (a pyramid of averages, filled from coarse
to fine: "push-pull", Gortler et al., SIGGRAPH 1996). Visible pixels keep their colours exactly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Side of the blocks that are filled one by one, in pixels, so that memory stays bounded.
_BLOCK = 1024


def fill_transparent(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """``pixels`` ``[h, w, 3]`` or ``[h, w]`` with new colours where ``alpha`` ``[h, w]`` is 0.

    The array itself comes back if nothing is fully transparent, otherwise a changed copy.

    >>> pixels = np.array([[10, 99, 99, 30]], np.uint8)
    >>> fill_transparent(pixels, np.array([[255, 0, 0, 1]], np.uint8)).tolist()
    [[10, 10, 30, 30]]
    """
    if alpha is None or alpha.min() > 0:
        return pixels
    filled = pixels.copy()
    visible = alpha > 0
    far = _mean(pixels, visible)
    for top in range(0, alpha.shape[0], _BLOCK):
        for left in range(0, alpha.shape[1], _BLOCK):
            part = np.s_[top : top + _BLOCK, left : left + _BLOCK]
            seen = visible[part]
            if not seen.any():
                filled[part] = np.rint(far)
            elif not seen.all():
                colours = _pull(pixels[part].astype(np.float32), seen.astype(np.float32), far)
                filled[part][~seen] = np.rint(colours[~seen])
    return filled


def _mean(pixels: NDArray[np.uint8], visible: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Mean colour of what is visible, for blocks where nothing is; middle gray if nothing is anywhere."""
    count = int(visible.sum())
    if not count:
        return np.full(pixels.shape[2:], 128, np.float32)
    where = visible if pixels.ndim == 2 else visible[:, :, None]
    return np.asarray(pixels.sum((0, 1), where=where, dtype=np.float64) / count, np.float32)


def _pull(
    colours: NDArray[np.float32], weight: NDArray[np.float32], far: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Colours where ``weight`` is 1; elsewhere those of the coarser picture of visible ones."""
    if weight.min() > 0:
        return colours
    if not weight.max() > 0:
        return np.broadcast_to(far, colours.shape)
    h, w = weight.shape
    count = _halve(weight)
    wide = weight if colours.ndim == 2 else weight[:, :, None]
    sums = _halve(colours * wide)
    share = np.maximum(count, 1)
    means = np.asarray(sums / (share if colours.ndim == 2 else share[:, :, None]), np.float32)
    coarse = _pull(means, np.minimum(count, 1), far)
    finer = coarse.repeat(2, 0)[:h].repeat(2, 1)[:, :w]
    return np.where(wide > 0, colours, finer)


def _halve(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sums of 2×2 values; an odd last row or column stands alone."""
    h, w = values.shape[:2]
    if h % 2 or w % 2:
        values = np.pad(values, [(0, h % 2), (0, w % 2)] + [(0, 0)] * (values.ndim - 2))
    rows = values[::2] + values[1::2]
    return np.asarray(rows[:, ::2] + rows[:, 1::2])
