"""Which picture formats are read and written, by which suffix, and what each can hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

#: Suffixes of picture files.
READ_SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .avif .bmp .dib .gif .tif .tiff .ppm .pgm .pnm .pbm .jp2 "
    ".j2k .j2c .jpx .jpf .jpc .tga .vda .icb .vst .qoi .ico .heic .heif .hif".split()
)

#: Largest picture read by default, in pixels. The size in the header is checked before memory is allocated.
MAX_PIXELS = 1 << 27

#: What Pillow may open. Others are left out: EPS runs a program, and the rest are hardly met.
FORMATS = tuple("JPEG PNG WEBP AVIF BMP DIB GIF TIFF PPM JPEG2000 TGA QOI ICO".split())

#: The formats that are read, for messages.
FORMAT_NAMES = "JPEG, PNG, WebP, AVIF, TIFF, GIF, BMP, PPM, JPEG 2000, TGA, QOI, ICO and HEIC are"

_JPEG = ("JPEG", {"quality": 95, "subsampling": 0})
_TIFF = ("TIFF", {"compression": "tiff_adobe_deflate"})
_PNG = ("PNG", {"compress_level": 3})  # as small as at the default level, and faster
_J2K = ("JPEG2000", {"no_jp2": True})  # a codestream without the boxes of a JP2 file

#: Suffix of an output file to Pillow's format and settings.
WRITE_FORMATS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    ".png": _PNG,
    ".apng": _PNG,
    ".ppm": ("PPM", {}),
    ".pgm": ("PPM", {}),
    ".pnm": ("PPM", {}),
    ".bmp": ("BMP", {}),
    ".dib": ("DIB", {}),
    ".tif": _TIFF,
    ".tiff": _TIFF,
    **dict.fromkeys((".tga", ".vda", ".icb", ".vst"), ("TGA", {"compression": "tga_rle"})),
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
    **dict.fromkeys((".jp2", ".jpx", ".jpf"), ("JPEG2000", {})),
    **dict.fromkeys((".j2k", ".j2c", ".jpc"), _J2K),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".jpe": _JPEG,
    ".jfif": _JPEG,
    ".avif": ("AVIF", {"quality": 95, "subsampling": "4:4:4"}),
    ".gif": ("GIF", {}),
}

#: Formats that hold transparency.
ALPHA_FORMATS = ("PNG", "TIFF", "WEBP", "AVIF", "JPEG2000", "TGA")

#: Formats that hold no gray: it becomes RGB.
RGB_FORMATS = ("WEBP", "AVIF")

#: Most bytes of metadata that a picture keeps: as many as a stream holds.
MOST_METADATA = 1 << 24

#: Formats of which further frames are previews or gain maps.
MANY_FRAMES_ARE_ONE_PICTURE = ("MPO", "ICO")


def is_picture_name(path: PurePath) -> bool:
    """Whether a file is named like a picture of a format that is read."""
    return path.suffix.lower() in READ_SUFFIXES
