"""Picture files read, by the readers of :mod:`bifocal.pictures.own_pillow`.

What is taken from a file, and what is refused, is written down in pictures/convert.py.
"""

from __future__ import annotations

import io
import os
import warnings
import zlib
from typing import IO

from bifocal.errors import BifocalError, OptionError, PictureError, PictureWarning
from bifocal.pictures.arrays import check_size
from bifocal.pictures.convert import from_open_image
from bifocal.pictures.formats import (
    FORMAT_NAMES,
    FORMATS,
    MANY_FRAMES_ARE_ONE_PICTURE,
    MAX_PIXELS,
)
from bifocal.pictures.own_pillow import UnidentifiedImageError, opened
from bifocal.types import Picture

#: Raw files of cameras: most are TIFF inside, but their first picture is a small preview.
_RAW_SUFFIXES = frozenset(
    ".3fr .ari .arw .bay .cr2 .cr3 .crw .dcr .dng .erf .fff .iiq .k25 .kdc .mdc .mef .mos .mrw .nef .nrw "
    ".orf .pef .ptx .raf .raw .rw2 .rwl .sr2 .srf .srw .x3f".split()
)

#: Formats without a signature: only its name shows that a file is one.
_UNMARKED = frozenset({"TGA"})

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_STEP = 1 << 20


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


def is_picture_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins like a picture of a format that :func:`read_picture` reads.

    Raw files of cameras do not count.

    :raises OSError: if it cannot be opened.
    """
    from bifocal.pictures.heif import is_heif

    path = os.fspath(path)
    if os.path.splitext(path)[1].lower() in _RAW_SUFFIXES:
        return False
    with open(path, "rb") as file:
        if is_heif(file.read(64)):
            return True
        try:
            with opened(file, [name for name in FORMATS if name not in _UNMARKED], MAX_PIXELS):
                return True
        except PictureError:
            return True  # a picture, if too large: reading it will refuse it
        except Exception:  # damaged files make Pillow raise errors of a dozen kinds
            return False


def check_png(file: IO[bytes]) -> None:
    """Check the CRC of every critical chunk of a PNG; leaves ``file`` at its beginning.

    Pillow does not, so a damaged file could come out as a plausible picture with garbage in it. Files cut
    short need no check: for every format that we read, Pillow gives all pixels or an error
    (tests/promises/test_pictures_damage.py cuts them everywhere).

    A file that ends after its pixels, before ``IEND``, passes: nothing of the picture is missing.

    :raises PictureError: if a chunk is damaged or cut short.
    """
    file.seek(len(_PNG_SIGNATURE))
    while len(head := file.read(8)) == 8:
        size, name = int.from_bytes(head[:4], "big"), head[4:]
        if name[:1].islower():
            file.seek(size + 4, 1)  # ancillary: not pixels
            continue
        crc = zlib.crc32(name)
        while size > 0:
            part = file.read(min(size, _STEP))
            if not part:
                raise PictureError(
                    f"the file ends inside its {name.decode('latin-1')} chunk: it is cut short."
                )
            crc, size = zlib.crc32(part, crc), size - len(part)
        if name == b"IEND":
            break
        if int.from_bytes(file.read(4), "big") != crc:
            raise PictureError(
                f"the checksum of its {name.decode('latin-1')} chunk differs: the file is damaged. "
                "Fetch it again."
            )
    file.seek(0)
