"""Formats that Pillow writes and that have no settings here, such as QOI, SGI or PDF.

What Pillow makes of them is read back: another size, or transparency that is gone, is refused, and other
colours are said with a warning.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from PIL import Image

from bifocal.errors import OutputError, PictureWarning

#: Names that promise other pixels than ours, and our own.
_REFUSED = (".bfc", ".pbm", ".pfm")
#: What Pillow reads by calling another program.
_NOT_READ_BACK = ("EPS",)


def pillow_format(suffix: str) -> str | None:
    """The format that Pillow writes for a suffix, or None.

    >>> pillow_format(".sgi"), pillow_format(".xyz")
    ('SGI', None)
    """
    Image.init()
    kind = Image.EXTENSION.get(suffix)
    return kind if suffix not in _REFUSED and kind in Image.SAVE else None


def encode_as(image: Image.Image, kind: str, name: str) -> bytes:
    """The bytes of ``image``, of mode L, LA, RGB or RGBA, in a format of Pillow.

    :raises OutputError: if the format changes its size or drops its transparency.
    """
    try:
        data = _saved(image, kind)
    except (OSError, ValueError):  # most formats lack a mode or two
        data = _saved(image.convert("RGBA" if _has_alpha(image) else "RGB"), kind)
    back = _read_back(data, kind)
    if _has_alpha(image) and (back is None or not _same(image, back, "A")):
        raise OutputError(
            f"{name}: the picture is transparent in places, and {kind} does not hold that. Choose .png, "
            ".webp or .tif."
        )
    if back is not None and back.size != image.size:
        raise OutputError(
            f"{name}: {kind} holds {back.width}×{back.height} pixels of {image.width}×{image.height}. Choose "
            "another format, or decode a smaller picture with --scale."
        )
    if back is None or not _same(image, back, "RGB"):
        warnings.warn(f"{name}: {kind} is not lossless here.", PictureWarning, stacklevel=4)
    return data


def _saved(image: Image.Image, kind: str) -> bytes:
    settings: dict[str, Any] = {"sizes": [image.size]} if kind == "ICO" else {}
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def _read_back(data: bytes, kind: str) -> Image.Image | None:
    """What is in a file, or None where Pillow cannot say."""
    if kind in _NOT_READ_BACK or kind not in Image.OPEN:
        return None
    try:
        image = Image.open(io.BytesIO(data), formats=[kind])
        image.load()
        return image
    except Exception:  # Pillow raises a dozen kinds
        return None


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in ("LA", "RGBA")


def _same(image: Image.Image, back: Image.Image, channels: str) -> bool:
    """Whether two images have the same transparency (``A``) or colours (``RGB``)."""
    one, two = (np.asarray(each.convert("RGBA")) for each in (image, back))
    part = np.s_[..., 3] if channels == "A" else np.s_[..., :3]
    return one.shape == two.shape and np.array_equal(one[part], two[part])
