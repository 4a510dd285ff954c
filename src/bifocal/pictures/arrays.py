"""Arrays of pixels to :class:`~bifocal.types.Picture`: channels split, 16 bits rounded, booleans spread; and
the limits of depth and size that hold for pictures from anywhere."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import PictureError, PictureWarning
from bifocal.types import Picture

_ADVICE = {
    "f": "Which value is white is not known: scale to 0 to 255 and convert with .round().astype(numpy.uint8)",
    "i": "Convert it to uint8, from 0 (black) to 255 (white)",
    "u": "Scale it to 0 to 255 and convert it to uint8",
}


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture of more than ``max_pixels`` pixels.

    :raises PictureError: if it is one.
    """
    if width * height > max_pixels:
        raise PictureError(
            f"{width}×{height} is {width * height} pixels, above the limit of {max_pixels}. Scale the "
            "picture down or raise max_pixels."
        )


def from_array(
    array: NDArray[Any],
    metadata: Mapping[str, bytes] | None = None,
    *,
    name: str = "this picture",
    strict: bool = False,
    bits: int = 16,
) -> Picture:
    """A picture of ``[h, w]`` or ``[h, w, 1]`` gray, ``[h, w, 2]`` gray and alpha, ``[h, w, 3]`` RGB or
    ``[h, w, 4]`` RGBA; pixels of uint8 without alpha are shared, not copied.

    uint16, where 65535 is white, is rounded to 8 bits with a :class:`~bifocal.errors.PictureWarning`; in an
    array of bool, True is white. ``bits`` is what its source had, for the message.

    :raises PictureError: if the array has another type or shape, or 16 bits and ``strict`` is set.

    >>> from_array(np.array([[False, True]])).pixels.tolist()
    [[0, 255]]
    """
    deep = array.dtype.kind == "u" and array.dtype.itemsize == 2
    if deep:
        check_depth(bits, strict)
    values, alpha = rounded(array) if deep else _eight_bit_values(array), None
    if values.ndim == 3 and values.shape[2] in (2, 4) and values.size:
        values, alpha = np.ascontiguousarray(values[:, :, :-1]), values[:, :, -1]
        alpha = None if alpha.min() == 255 else np.ascontiguousarray(alpha)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    picture = Picture(values, metadata or {}, alpha)
    if deep:
        warn_of_depth(bits, name)
    return picture


def _eight_bit_values(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.view(np.uint8) * np.uint8(255)
    advice = _ADVICE.get(array.dtype.kind, "Convert it to uint8")
    raise PictureError(f"an array of {array.dtype} is not taken: pixels are uint8, uint16 or bool. {advice}.")


def check_depth(bits: int, strict: bool) -> None:
    """Refuse more than 8 bits a channel if ``strict`` is set.

    :raises PictureError: if so.
    """
    if bits > 8 and strict:
        raise PictureError(
            f"it has {bits} bits a channel; Bifocal codes 8, and strict=True (--strict) or lossless refuses "
            "to round. Leave them out to have it rounded, or convert it first."
        )


def warn_of_depth(bits: int, name: str) -> None:
    """Warn that a picture of more than 8 bits a channel is rounded."""
    if bits > 8:
        warnings.warn(
            f"{name} has {bits} bits a channel; it is coded at 8, rounded (strict refuses instead).",
            PictureWarning,
            stacklevel=4,
        )


def rounded(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Integers of 0 to 65535, rounded to 0 to 255: 65535 is 255, so ``v / 257``.

    >>> rounded(np.array([0, 128, 129, 32767, 65535], np.uint16)).tolist()
    [0, 0, 1, 127, 255]
    """
    return np.asarray((np.clip(values, 0, 65535).astype(np.uint32) + 128) // 257, np.uint8)
