"""Picture files, through Pillow: sizes checked before pixels are allocated, outputs whole or not at all.

What is taken from a file, and what is refused, is written down in pictures/convert.py; which metadata goes
where, and the rule of orientation, in pictures/metadata.py.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import IO, Any

from bifocal.errors import BifocalError, OptionError, OutputError, PictureError, PictureWarning
from bifocal.pictures.convert import PictureLike, as_picture, from_open_image, to_pillow
from bifocal.pictures.formats import (
    ALPHA_FORMATS,
    FORMAT_NAMES,
    FORMATS,
    MANY_FRAMES_ARE_ONE_PICTURE,
    READ_SUFFIXES,
    RGB_FORMATS,
    WRITE_FORMATS,
    is_picture_name,
)
from bifocal.pictures.metadata import save_settings
from bifocal.pictures.png_check import check_png
from bifocal.pictures.profiles import matching_profile
from bifocal.storage.whole_files import write_atomically
from bifocal.types import Picture

__all__ = ["MAX_PIXELS", "READ_SUFFIXES", "is_picture_name", "read_picture", "write_picture"]

#: Largest picture read by default, in pixels. The size in the header is checked before memory is allocated.
MAX_PIXELS = 1 << 27


def read_picture(
    source: str | os.PathLike[str] | IO[bytes], *, max_pixels: int = MAX_PIXELS, strict: bool = False
) -> Picture:
    """Read a picture file, upright, with its transparency and metadata.

    Settings of the program's Pillow, such as ``ImageFile.LOAD_TRUNCATED_IMAGES`` and
    ``Image.MAX_IMAGE_PIXELS``, change nothing here. HEIC needs the package pillow-heif.

    :param source: a path, or a binary file that can seek.
    :param max_pixels: refuse a file whose header declares more pixels than this, before decoding it.
    :param strict: refuse a picture with more than 8 bits a channel, which is otherwise rounded to 8 with a
        :class:`~bifocal.errors.PictureWarning`.
    :raises PictureError: if the file is no picture, is damaged, too large, or of a kind that Bifocal does not
        code.
    :raises OptionError: if ``max_pixels`` is not a number of pixels.
    :raises OSError: if the file cannot be opened.
    """
    if isinstance(max_pixels, bool) or not isinstance(max_pixels, int) or max_pixels < 1:
        raise OptionError(f"max_pixels is {max_pixels!r}; it is a number of pixels, 1 or more.")
    if not isinstance(source, str | os.PathLike):
        return _read(source, str(getattr(source, "name", "the file")), max_pixels, strict)
    try:
        opened = open(source, "rb")
    except ValueError as error:  # a null character
        raise PictureError(f"{source!r} is not a name that a file can have: {error}.") from error
    with opened as file:
        return _read(file, os.fspath(source), max_pixels, strict)


def _read(file: IO[bytes], name: str, max_pixels: int, strict: bool) -> Picture:
    from bifocal.pictures.own_pillow import UnidentifiedImageError

    head = _head(file, name)
    try:
        if head[4:8] == b"ftyp":  # HEIF or AVIF
            from bifocal.pictures.heif import is_heif, read_heif

            if is_heif(head):
                return read_heif(file, name, max_pixels, strict)
        return _read_by_pillow(file, name, max_pixels, strict)
    except PictureError as error:
        raise PictureError(f"{name}: {error}") from error
    except (BifocalError, PictureWarning, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise PictureError(
            f"{name} is no picture that can be read: {FORMAT_NAMES}. Is it complete?"
        ) from error
    except Exception as error:  # damaged files make Pillow raise errors of a dozen kinds
        reason = str(error) or type(error).__name__
        raise PictureError(
            f"{name} cannot be read as a picture ({reason}). It is damaged or cut short: fetch it again."
        ) from error


def _head(file: IO[bytes], name: str) -> bytes:
    """The first bytes of a file, which is left at its beginning."""
    try:
        file.seek(0)
        head = file.read(64)
        file.seek(0)
        if isinstance(head, bytes):
            return head
    except (AttributeError, OSError, TypeError, ValueError) as error:
        if isinstance(error, OSError) and not isinstance(error, io.UnsupportedOperation) and file.seekable():
            raise
    raise PictureError(
        f"{name} is not a path and not an open binary file that can seek. For bytes, or a pipe, give "
        "io.BytesIO(data)."
    )


def _read_by_pillow(file: IO[bytes], name: str, max_pixels: int, strict: bool) -> Picture:
    from bifocal.pictures.own_pillow import check_size, opened

    with opened(file, FORMATS, max_pixels) as (image, notes):
        check_size(image.width, image.height, max_pixels)
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format not in MANY_FRAMES_ARE_ONE_PICTURE:
            raise PictureError(
                f"it holds {frames} frames; Bifocal codes still pictures. Extract one frame first."
            )
        if image.format == "PNG":
            at = file.tell()
            check_png(file)
            file.seek(at)
        picture = from_open_image(image, file=file, source=name, name=name, strict=strict)
    for note in dict.fromkeys(notes):
        warnings.warn(f"{name}: {note}.", PictureWarning, stacklevel=4)
    return picture


def write_picture(
    picture: PictureLike,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    overwrite: bool = True,
) -> None:
    """Write a picture in the format that the suffix names, whole or not at all.

    PNG, PPM, BMP, TIFF, WebP, TGA and JPEG 2000 are written without loss, JPEG and AVIF at quality 95
    (4:4:4), GIF with 256 colours and a :class:`~bifocal.errors.PictureWarning`. Metadata that the format has
    no place for is left out with such a warning; transparency is not.

    :param picture: a :class:`Picture`, or whatever :func:`bifocal.encode` takes.
    :param format: the suffix of another format, such as ``"webp"``, whatever the suffix of ``path``.
    :param overwrite: whether an existing file is replaced.
    :raises OutputError: if the suffix is none of these, the format cannot hold the picture's transparency, or
        the file cannot be written, or exists and ``overwrite`` is False.
    """
    picture = as_picture(picture)
    if not isinstance(path, str | os.PathLike):
        raise OutputError(f"a {type(path).__name__} is not a path to write to. Give a str or a pathlib.Path.")
    name = os.fspath(path)
    kind, settings = format_to_write(name, format)
    write_atomically(name, _encoded(picture, kind, settings, name), overwrite=overwrite)


def format_to_write(path: str | os.PathLike[str], format: str | None = None) -> tuple[str, Mapping[str, Any]]:
    """Pillow's format and settings for a picture file; ``format`` is stronger than the suffix of ``path``.

    :raises OutputError: if there is none.
    """
    suffix = PurePath(path).suffix.lower() if format is None else f".{format.lower().lstrip('.')}"
    if suffix not in WRITE_FORMATS:
        known = " ".join(sorted(WRITE_FORMATS))
        raise OutputError(f"{os.fspath(path)}: cannot write a picture as '{suffix}'. Choose one of {known}.")
    return WRITE_FORMATS[suffix]


def _encoded(picture: Picture, kind: str, settings: Any, name: str) -> bytes:
    """The bytes of a file in Pillow's format ``kind``."""
    if picture.alpha is not None and kind not in ALPHA_FORMATS:
        raise OutputError(
            f"{name}: the picture is transparent in places, and {kind} does not hold that. Choose .png, "
            ".webp or .tif."
        )
    gray = picture.gray and kind not in RGB_FORMATS
    kept, left_out = save_settings(matching_profile(picture.metadata, gray=gray, name=name), kind)
    if kind == "GIF" and not picture.gray:
        left_out.append("GIF holds 256 colours: others become the nearest of them")
    for reason in left_out:
        warnings.warn(f"{name}: {reason}.", PictureWarning, stacklevel=3)
    buffer = io.BytesIO()
    try:
        image = to_pillow(replace(picture, metadata={}))  # some formats write what they find in image.info
        image.save(buffer, kind, **{**settings, **kept})
    except KeyError as error:
        raise OutputError(f"{name}: this Pillow was built without {kind}. Choose another format.") from error
    except MemoryError:
        raise
    except Exception as error:  # a side too long for the format is one of a dozen kinds
        raise OutputError(f"{name}: Pillow cannot write it as {kind}: {error}.") from error
    return buffer.getvalue()
