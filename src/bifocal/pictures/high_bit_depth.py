"""Pictures with more than 8 bits a channel: found, read exactly, and rounded to the 8 that Bifocal codes.

Pillow has no 16-bit colour: it silently drops the low byte of every channel. So the file is read twice,
once as big-endian and once as little-endian numbers, which gives both bytes; 16 bits are then rounded to 8.
A picture of which only the upper bytes can be had is refused.
"""

from __future__ import annotations

import re
import sys
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import PictureError
from bifocal.pictures.arrays import rounded

if TYPE_CHECKING:
    from PIL import Image

_COLOUR = re.compile(r"(RGB|RGBA|RGBX|RGBa);16([BLN])")
_OTHER_END = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_WHITE_IS_ZERO, _SEPARATE_PLANES = 0, 2
_BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANAR = 258, 262, 284


def raw_mode(image: Image.Image) -> str:
    """How Pillow will unpack the file's pixels, such as ``RGB;16B``; empty once the image is loaded.

    >>> from PIL import Image
    >>> raw_mode(Image.new("RGB", (2, 2)))
    ''
    """
    for tile in getattr(image, "tile", ()):
        arguments = tile[3]
        first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
        return first if isinstance(first, str) else ""
    return ""


def bits_per_channel(image: Image.Image, file: IO[bytes] | None = None) -> int:
    """Bits a channel of a picture that is open and not yet loaded; 8 stands for 8 and fewer.

    For AVIF and JPEG 2000 it is read from ``file``, which is left at its beginning.
    """
    if image.format == "TIFF":
        return max(8, *_sizes(image))
    if image.mode.startswith("I;16") or ";16" in raw_mode(image).replace("BGR;16", ""):
        return 16
    for tile in getattr(image, "tile", ()):
        if tile[0] == "SGI16" or (tile[0].startswith("ppm") and tile[3][1] > 255):
            return 16
    if image.mode == "I" and image.format in ("PPM", "PNG"):
        return 16
    if file is not None and image.format in ("AVIF", "JPEG2000"):
        file.seek(0)
        head = file.read(1 << 16)
        file.seek(0)
        return _bits_of_avif(head) if image.format == "AVIF" else _bits_of_jpeg2000(head)
    return 8


def _sizes(image: Any) -> tuple[int, ...]:
    """BitsPerSample of a TIFF: what Pillow unpacks as can be less, where planes are separate."""
    sizes = image.tag_v2.get(_BITS_PER_SAMPLE, (1,))
    return tuple(int(size) for size in sizes) if isinstance(sizes, tuple) else (int(sizes),)


def _bits_of_avif(head: bytes) -> int:
    """The AV1 configuration box: its third byte flags high bit depth, then twelve bits."""
    at = head.find(b"av1C")
    flags = head[at + 6] if 0 <= at < len(head) - 6 else 0
    return 12 if flags & 0x60 == 0x60 else 10 if flags & 0x40 else 8


def _bits_of_jpeg2000(head: bytes) -> int:
    """The SIZ marker: 38 bytes after the start of the codestream, depth of the first channel less one."""
    at = head.find(b"\xff\x4f\xff\x51") + 42
    return max(8, (head[at] & 0x7F) + 1) if 42 <= at < len(head) else 8


def gray_of_16_bits(image: Image.Image, raw: str = "") -> NDArray[np.uint8]:
    """A loaded gray picture of 16 bits (modes ``I;16…``, or ``I`` of PGM) as 8 bits ``[h, w]``, or with
    alpha ``[h, w, 2]`` where one value is declared transparent.

    ``raw`` is what :func:`raw_mode` returned before it was loaded.
    """
    values = np.asarray(image).astype(np.int64)
    gray = rounded(values * 65535 // (4095 if raw == "I;12" else 65535))
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        gray = 255 - gray  # Pillow inverts 8 bits, and leaves 16 as they are
    clear = image.info.get("transparency")
    return gray if clear is None else np.dstack([gray, np.where(values == clear, 0, 255).astype(np.uint8)])


def colour_of_16_bits(image: Any, file: IO[bytes]) -> NDArray[np.uint8] | None:
    """An open PNG or TIFF of 16 bits as 8 bits ``[h, w, 2]`` (gray, alpha), ``[h, w, 3]`` or ``[h, w, 4]``.

    None if the picture is not one of those; ``file`` is what ``image`` was opened from.

    :raises PictureError: if the low bytes cannot be had.
    """
    raw = raw_mode(image)
    if raw == "LA;16B":
        image.tile = [image.tile[0]._replace(args="RGBA")]  # four bytes a pixel, as they are
        both = np.asarray(image).astype(np.uint16)
        return rounded(both[:, :, ::2] << 8 | both[:, :, 1::2])
    if getattr(image, "tag_v2", {}).get(_PLANAR) == _SEPARATE_PLANES:
        raise PictureError(
            "it has 16 bits a channel in separate planes, of which Pillow reads the upper 8 only. Save it as "
            "PNG, or as TIFF with interleaved channels."
        )
    kind = _COLOUR.fullmatch(raw)
    if kind is None or image.format not in ("PNG", "TIFF"):
        return None
    values = _load(image, raw).astype(np.uint16) << 8
    file.seek(0)
    with type(image)(file) as other:  # by the same copy of Pillow, whose limit of size it has passed
        values |= _load(other, f"{kind[1]};16{_OTHER_END[kind[2]]}")
    if kind[1] == "RGBa":
        share = np.maximum(values[:, :, 3:].astype(np.float64), 1) / 65535  # colours are multiplied by alpha
        values[:, :, :3] = np.rint(np.minimum(values[:, :, :3] / share, 65535))
    clear = image.info.get("transparency")
    if clear is not None and values.shape[2] == 3:
        opaque = (values != np.asarray(clear)).any(2, keepdims=True)
        values = np.concatenate([values, opaque.astype(np.uint16) * 65535], 2)
    return rounded(values)


def _load(image: Any, raw: str) -> NDArray[np.uint8]:
    """The upper byte of every channel, if its numbers are in the byte order of ``raw``."""
    raw = raw.replace("RGBa", "RGBA")  # not divided by alpha: that is done on all 16 bits
    image.tile = [
        tile._replace(args=(raw, *tile.args[1:]) if isinstance(tile.args, tuple) else raw)
        for tile in image.tile
    ]
    image.load()
    return np.asarray(image)
