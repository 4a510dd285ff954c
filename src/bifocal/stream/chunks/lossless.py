"""Tiles that are stored without loss: a WebP file each (VP8L, Google's lossless coding), through Pillow.

Where a picture has few colours and hard edges, screens, charts, pixel art, a transform codec needs more bytes
for a worse picture. VP8L is exact integers everywhere. The chunk ``Code`` says which tiles are stored so; a
reader that does not know it refuses the stream, since its first letter is upper case.
"""

from __future__ import annotations

import io
import zlib

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import DamagedStream

#: How hard libwebp searches, of 6; its largest quality would double the time for less than a percent.
_SETTINGS = {"lossless": True, "method": 4, "quality": 90, "exact": True}
#: A file with one lossless picture and nothing else begins so, the size between the two.
_RIFF, _VP8L = b"RIFF", b"WEBPVP8L"


def encode_lossless(pixels: NDArray[np.uint8]) -> tuple[bytes, int]:
    """The WebP file of ``pixels`` ``[h, w, 3]`` or ``[h, w]``, and the CRC-32 of the pixels."""
    from PIL import Image, WebPImagePlugin  # the plug-in by name: Pillow need not look for it among all

    assert WebPImagePlugin
    file = io.BytesIO()
    pixels = np.ascontiguousarray(pixels)
    Image.fromarray(pixels).convert("RGB").save(file, "WEBP", **_SETTINGS)
    return file.getvalue(), zlib.crc32(pixels.tobytes())


def decode_lossless(data: bytes, h: int, w: int, *, gray: bool, crc: int) -> NDArray[np.uint8]:
    """Pixels ``[h, w, 3]``, or ``[h, w]`` if ``gray``, of a stored tile.

    :raises DamagedStream: if it is no lossless WebP file of this size, or decodes to other pixels.
    """
    from PIL.WebPImagePlugin import WebPImageFile  # not Image.open: the program's limit of pixels is not ours

    if data[:4] != _RIFF or data[8:16] != _VP8L:
        raise DamagedStream("a tile that is stored without loss is no WebP file: the stream is damaged.")
    try:
        with WebPImageFile(io.BytesIO(data)) as image:
            if image.size != (w, h):
                raise DamagedStream(
                    f"a tile stored without loss has {image.width}×{image.height} pixels, not {w}×{h}: the "
                    "stream is damaged."
                )
            pixels = np.array(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise DamagedStream(
            f"a tile that is stored without loss cannot be read ({error}): the stream is damaged."
        ) from error
    if gray:
        pixels = np.ascontiguousarray(pixels[:, :, 0])
    if zlib.crc32(pixels.tobytes()) != crc:
        raise DamagedStream("a tile that is stored without loss decodes to other pixels: it is damaged.")
    return pixels
