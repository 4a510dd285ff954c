"""Picture files, through Pillow: sizes checked before pixels are allocated, outputs whole or not at all.

What is taken from a file, and what is refused, is written down in pictures/convert.py; which metadata goes
where, and the rule of orientation, in pictures/metadata.py.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any

from bifocal.errors import OutputError, PictureError, PictureWarning
from bifocal.pictures.convert import from_pillow, to_pillow
from bifocal.pictures.metadata import save_settings
from bifocal.pictures.png_check import check_png
from bifocal.storage.whole_files import write_atomically
from bifocal.types import Picture

if TYPE_CHECKING:
    from PIL import Image

#: Suffixes of files that are looked for in folders.
READ_SUFFIXES = frozenset(
    ".jpg .jpeg .png .webp .avif .bmp .gif .tif .tiff .ppm .pgm .pnm .pbm .jp2 .j2k .tga .qoi .mpo".split()
)

#: Suffix of an output file to Pillow's format and settings. PNG at level 3 is as small as at the default and
#: faster.
WRITE_FORMATS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    ".png": ("PNG", {"compress_level": 3}),
    ".ppm": ("PPM", {}),
    ".pgm": ("PPM", {}),
    ".pnm": ("PPM", {}),
    ".bmp": ("BMP", {}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".webp": ("WEBP", {"lossless": True, "exact": True}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
}

#: Largest picture read by default, in pixels. The header says the size; nothing is allocated beyond this.
MAX_PIXELS = 1 << 27

#: What Pillow may open. Others are left out: EPS runs a program, and most were never met by anyone here.
_FORMATS = tuple("JPEG PNG WEBP AVIF BMP DIB GIF TIFF PPM JPEG2000 TGA QOI ICO".split())

_MANY_FRAMES_ARE_ONE_PICTURE = ("MPO", "ICO")  # further frames are previews or gain maps

#: Formats with a place for transparency.
_ALPHA_FORMATS = ("PNG", "TIFF", "WEBP")


def is_picture_name(path: PurePath) -> bool:
    """Whether a file's name says that it is a picture that we read."""
    return path.suffix.lower() in READ_SUFFIXES


def read_picture(
    source: str | os.PathLike[str] | IO[bytes], *, max_pixels: int = MAX_PIXELS, strict: bool = False
) -> Picture:
    """Read a picture file, upright, with its transparency and metadata.

    :param source: a path, or a binary file that can seek.
    :param max_pixels: refuse a file whose header declares more pixels than this, before decoding it.
    :param strict: refuse a picture with more than 8 bits a channel, which is otherwise rounded to 8 with a
        :class:`~bifocal.errors.PictureWarning`.
    :raises PictureError: if the file is no picture, is damaged, too large, or of a kind that Bifocal does not
        code.
    :raises OSError: if the file cannot be opened.
    """
    if not isinstance(source, str | os.PathLike):
        return _read(source, str(getattr(source, "name", "the file")), max_pixels, strict)
    with open(source, "rb") as file:
        return _read(file, os.fspath(source), max_pixels, strict)


def _read(file: IO[bytes], name: str, max_pixels: int, strict: bool) -> Picture:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file, formats=_FORMATS) as image:
            _check_header(image, max_pixels)
            if image.format == "PNG":
                place = file.tell()
                check_png(file)
                file.seek(place)
            return from_pillow(image, file=file, name=name, strict=strict)
    except PictureError as error:
        raise PictureError(f"{name}: {error}") from error
    except MemoryError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureError(
            f"{name}: it declares more pixels than Pillow opens ({error}). Scale the picture down."
        ) from error
    except UnidentifiedImageError as error:
        raise PictureError(
            f"{name} is no picture that can be read: {_FORMAT_NAMES}. Is it complete?"
        ) from error
    except Exception as error:  # damaged files make Pillow raise errors of a dozen kinds
        reason = str(error) or type(error).__name__
        raise PictureError(
            f"{name} cannot be read as a picture ({reason}). It is damaged or cut short: fetch it again."
        ) from error


_FORMAT_NAMES = "JPEG, PNG, WebP, AVIF, TIFF, GIF, BMP, PPM, JPEG 2000, TGA, QOI and ICO are"


def _check_header(image: Image.Image, max_pixels: int) -> None:
    pixels = image.width * image.height
    if pixels > max_pixels:
        raise PictureError(
            f"{image.width}×{image.height} is {pixels} pixels, above the limit of {max_pixels}. Scale the "
            "picture down or raise max_pixels."
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format not in _MANY_FRAMES_ARE_ONE_PICTURE:
        raise PictureError(
            f"it holds {frames} frames; Bifocal codes still pictures. Extract one frame first."
        )


def write_picture(picture: Picture, path: str | os.PathLike[str]) -> None:
    """Write a picture in the format that the suffix names; an existing file is replaced in one step.

    PNG, PPM, BMP, TIFF and WebP are written without loss, JPEG at quality 95 (4:4:4). Metadata that the
    format has no place for is left out with a :class:`~bifocal.errors.PictureWarning`; transparency is not.

    :raises OutputError: if the suffix is none of these, the format cannot hold the picture's transparency, or
        the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITE_FORMATS:
        known = " ".join(sorted(WRITE_FORMATS))
        raise OutputError(f"{path}: cannot write a picture as '{path.suffix}'. Choose one of {known}.")
    kind, settings = WRITE_FORMATS[path.suffix.lower()]
    if picture.alpha is not None and kind not in _ALPHA_FORMATS:
        raise OutputError(
            f"{path}: the picture is transparent in places, and {kind} cannot say so. Choose .png, "
            ".webp or .tif."
        )
    kept, left_out = save_settings(picture.metadata, kind)
    for reason in left_out:
        warnings.warn(f"{path}: {reason}.", PictureWarning, stacklevel=2)
    buffer = io.BytesIO()
    try:
        to_pillow(picture).save(buffer, kind, **{**settings, **kept})
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: Pillow cannot write it as {kind}: {error}.") from error
    write_atomically(path, buffer.getvalue())
