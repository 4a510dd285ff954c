"""Quality maps: where in a picture errors count, as an array or a picture file."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import OptionError
from bifocal.pictures.reading import read_picture

#: An array ``[h, w]``, or a picture file.
MapLike = NDArray[Any] | str | os.PathLike[str]


def read_map(given: MapLike, width: int, height: int) -> NDArray[np.float32]:
    """A quality map as float32 ``[height, width]`` in 0..1.

    ``given`` is an array ``[h, w]``: bool, uint8 (255 is 1) or float in 0..1; or a picture file, of which the
    mean of the colours counts, black 0 and white 1. A map of another size than the picture is stretched to
    it, bilinearly, whatever its proportions.

    :raises OptionError: if it is not such an array, or zero everywhere.
    :raises PictureError: if the file cannot be read.

    >>> read_map(np.array([[0, 255]], np.uint8), 2, 1).tolist()
    [[0.0, 1.0]]
    """
    if isinstance(given, str | os.PathLike):
        pixels = read_picture(given).pixels
        values = pixels if pixels.ndim == 2 else pixels.mean(axis=2).round().astype(np.uint8)
    else:
        values = _as_array(given)
    kind = values.dtype
    known = kind == np.bool_ or kind == np.uint8 or np.issubdtype(kind, np.floating)
    if values.ndim != 2 or not values.size or not known:
        raise OptionError(
            f"a quality map is an array [h, w] of bool, uint8 or floats from 0 to 1, not {kind} "
            f"{list(values.shape)}."
        )
    weights = values.astype(np.float32) / np.float32(255 if kind == np.uint8 else 1)
    if not (weights.min() >= 0 and weights.max() <= 1):  # also where one is not a number
        raise OptionError("a quality map has values below 0 or above 1. Scale it to 0..1, or give uint8.")
    if weights.shape != (height, width):
        from PIL import Image

        image = Image.fromarray(weights).resize((width, height), Image.Resampling.BILINEAR)
        weights = np.clip(np.asarray(image, np.float32), 0, 1)
    if not weights.any():
        raise OptionError("a quality map is 0 everywhere: nothing would be coded. Mark what matters.")
    return weights


def _as_array(given: Any) -> NDArray[Any]:
    try:
        return np.asarray(given)
    except (TypeError, ValueError) as error:  # rows of different lengths
        raise OptionError(f"a quality map is an array [h, w] or a picture file; {error}.") from error
