"""HEIC and HEIF files, through pillow-heif where it is installed: Pillow itself does not read them."""

from __future__ import annotations

from types import ModuleType
from typing import IO, Any

import numpy as np

from bifocal.errors import PictureError
from bifocal.pictures.arrays import check_size, from_array
from bifocal.pictures.convert import without_excess
from bifocal.pictures.exif import EXIF_PREFIX
from bifocal.types import Picture

#: Brands of files with pictures coded as HEVC. AVIF, of the same family, is read by Pillow.
_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")


def is_heif(head: bytes) -> bool:
    """Whether a file that begins with ``head``, of at least 12 bytes, is HEIF and not AVIF.

    >>> is_heif(b"\\0\\0\\0\\x18ftypheic")
    True
    """
    return head[4:8] == b"ftyp" and head[8:12] in _BRANDS and b"avif" not in head[12:64]


def read_heif(file: IO[bytes], name: str, max_pixels: int, strict: bool) -> Picture:
    """The main picture of a HEIF file, upright: pillow-heif applies the transformations of the file, and the
    standard gives orientation in EXIF no effect.

    :raises PictureError: if pillow-heif is not installed, or the file holds more than ``max_pixels`` pixels
        or several pictures.
    """
    heif = _pillow_heif().open_heif(file, convert_hdr_to_8bit=False)
    if len(heif) > 1:
        raise PictureError(f"it holds {len(heif)} pictures; Bifocal codes one. Extract one first.")
    width, height = heif.size
    check_size(width, height, max_pixels)
    image = heif[heif.primary_index]
    pixels, bits = np.asarray(image), int(image.info["bit_depth"])
    if pixels.dtype != np.uint8:  # 10 or 12 bits, moved to the upper ones of 16: white is less than 65535
        pixels = (pixels.astype(np.uint32) * 65535 // ((1 << 16) - (1 << 16 - bits))).astype(np.uint16)
    if image.premultiplied_alpha:
        pixels = _divided(pixels)
    info: dict[str, Any] = image.info
    found = {"icc": info.get("icc_profile"), "exif": info.get("exif"), "xmp": info.get("xmp")}
    metadata = {key: bytes(value) for key, value in found.items() if value}
    if "exif" in metadata:
        metadata["exif"] = metadata["exif"].removeprefix(EXIF_PREFIX)
    return from_array(pixels, without_excess(metadata, name), name=name, strict=strict, bits=bits)


def _pillow_heif() -> ModuleType:
    try:
        import pillow_heif
    except ImportError as error:
        raise PictureError(
            "HEIC is read with pillow-heif, which is not installed: pip install pillow-heif."
        ) from error
    module: ModuleType = pillow_heif
    return module


def _divided(pixels: Any) -> Any:
    """Colours that were multiplied by alpha, as they were before."""
    most = np.iinfo(pixels.dtype).max
    alpha = np.maximum(pixels[:, :, 3:].astype(np.float64), 1) / most
    colours = np.rint(np.minimum(pixels[:, :, :-1] / alpha, most)).astype(pixels.dtype)
    return np.concatenate([colours, pixels[:, :, -1:]], 2)
