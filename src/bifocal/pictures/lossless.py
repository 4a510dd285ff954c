"""Pixels without loss: a WebP file (VP8L, Google's lossless coding), through Pillow. For tiles of streams.

Where a picture has few colours and hard edges, screens, charts, pixel art, a transform codec needs more bytes
for a worse picture. VP8L is exact integers everywhere.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import PictureError

#: How hard libwebp searches, of 6; its largest quality would double the time for less than a percent.
_SETTINGS: dict[str, Any] = {"lossless": True, "method": 4, "quality": 90, "exact": True}
#: A file with one lossless picture and nothing else begins so, the size between the two.
_RIFF, _VP8L = b"RIFF", b"WEBPVP8L"


def encode_lossless(pixels: NDArray[np.uint8]) -> bytes:
    """The WebP file of ``pixels`` ``[h, w, 3]`` or ``[h, w]``."""
    from PIL import Image, WebPImagePlugin  # the plug-in by name: Pillow need not look for it among all

    assert WebPImagePlugin
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB").save(file, "WEBP", **_SETTINGS)
    return file.getvalue()


def decode_lossless(data: bytes, h: int, w: int, *, gray: bool) -> NDArray[np.uint8]:
    """Pixels ``[h, w, 3]``, or ``[h, w]`` if ``gray``, of a file by :func:`encode_lossless`.

    :raises PictureError: if it is no lossless WebP file of this size.
    """
    from bifocal.pictures.reading import opened

    if data[:4] != _RIFF or data[8:16] != _VP8L:
        raise PictureError("it is no lossless WebP file")
    try:
        with opened(io.BytesIO(data), ["WEBP"], h * w) as (image, _):
            if image.size != (w, h):
                raise PictureError(f"it has {image.width}×{image.height} pixels, not {w}×{h}")
            pixels: NDArray[np.uint8] = np.array(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise PictureError(f"it cannot be read ({error})") from error
    return np.ascontiguousarray(pixels[:, :, 0]) if gray else pixels
