"""Picture files read, by Pillow's readers with settings of our own: sizes are checked before pixels are
allocated, and half a file is never taken for a whole one.

Some settings of Pillow hold for the whole process, and programs change them: with
``ImageFile.LOAD_TRUNCATED_IMAGES`` half a file is taken for a whole one, in every format, and
``Image.MAX_IMAGE_PIXELS`` refuses pictures of a size that we take. Changing them while we read would change
them for every other thread. So files are read by a second copy of Pillow's Python modules, made here from
the same files and under another name; the compiled modules are shared. In the copy, truncated files are
always refused, and ``max_pixels`` of :func:`opened` is the only limit. The program's own Pillow is not
touched.

Two more things differ in the copy. Text in PNG is read only where it is metadata that we keep, and a
compressed piece that is too large or damaged is left out with a note, where Pillow refuses the file. And
the copy gives no warnings: what matters is an error or a :class:`~bifocal.errors.PictureWarning` of ours.

What is taken from a file, and what is refused, is written down in pictures/convert.py. The copy costs time:
this module is imported when a file is read.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import IO, Any

import PIL

from bifocal.errors import BifocalError, OptionError, PictureError, PictureWarning, reason
from bifocal.pictures.arrays import check_size
from bifocal.pictures.convert import from_open_image
from bifocal.pictures.formats import (
    FORMAT_NAMES,
    FORMATS,
    MANY_FRAMES_ARE_ONE_PICTURE,
    MAX_PIXELS,
    MOST_METADATA,
)
from bifocal.types import Picture

_COPY = f"{__name__}.PIL"
_COMPILED = ("_imaging", "_imagingmath", "_webp", "_avif")
_PLUGINS = "Bmp Gif Jpeg Mpo Ppm Png WebP Avif Tiff Jpeg2K Tga Qoi Ico".split()

#: Text of PNG that is metadata which a stream keeps.
_PNG_TEXT = (b"XML:com.adobe.xmp", b"Raw profile type exif", b"exif")

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
        raise PictureError(
            f"{name} cannot be read as a picture ({reason(error)}). It is damaged or cut short: fetch it "
            "again."
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


@dataclass
class _Reading:
    """What holds while one file is read, in one thread."""

    max_pixels: int
    notes: list[str] = field(default_factory=list)


_reading: ContextVar[_Reading] = ContextVar("reading")


@contextmanager
def opened(file: IO[bytes], formats: Sequence[str], max_pixels: int) -> Iterator[tuple[Any, list[str]]]:
    """Open a picture file as an image of the copy; nothing larger than ``max_pixels`` is opened or loaded.

    Yields the image, and a list that gets a sentence for each piece of metadata that had to be left out.

    :raises PictureError: if it declares more pixels.
    """
    reading = _Reading(max_pixels)
    token = _reading.set(reading)
    try:
        with _image.open(file, formats=formats) as image:
            yield image, reading.notes
    finally:
        _reading.reset(token)


def _check_declared_size(size: tuple[int, int], **_: object) -> None:
    check_size(*size, _reading.get().max_pixels)


def _decompress(data: bytes) -> bytes:
    """A compressed piece of metadata in PNG; empty, and a note, if it cannot be had."""
    unpacker = zlib.decompressobj()
    try:
        plain = unpacker.decompress(data, MOST_METADATA)
    except zlib.error:
        _reading.get().notes.append("its compressed metadata is damaged and is left out")
        return b""
    if unpacker.unconsumed_tail:
        _reading.get().notes.append(f"metadata of more than {MOST_METADATA} bytes is left out")
        return b""
    return plain


def _metadata_only(method: Callable[[Any, int, int], bytes]) -> Callable[[Any, int, int], bytes]:
    """A reader of PNG's text chunks, ``method``, that skips those which are no metadata of ours."""

    def chunk(self: Any, position: int, length: int) -> bytes:
        data: bytes = self.fp.read(length)
        if data.partition(b"\0")[0] not in _PNG_TEXT:
            return data
        self.fp.seek(position)
        return method(self, position, length)

    return chunk


def _copy_pillow() -> None:
    """Import Pillow's Python modules under the name of the copy."""
    for name in _COMPILED:
        try:
            sys.modules[f"{_COPY}.{name}"] = importlib.import_module(f"PIL.{name}")
        except ImportError:  # Pillow can be built without WebP or AVIF
            pass
    assert PIL.__file__ is not None
    spec = importlib.util.spec_from_file_location(
        _COPY, PIL.__file__, submodule_search_locations=list(PIL.__path__)
    )
    assert spec is not None and spec.loader is not None
    package = importlib.util.module_from_spec(spec)
    sys.modules[_COPY] = package
    spec.loader.exec_module(package)
    for name in ("Image", *(f"{name}ImagePlugin" for name in _PLUGINS)):
        importlib.import_module(f"{_COPY}.{name}")


def _set_up(image: Any, png: Any) -> None:
    """Our settings, in the modules ``Image`` and ``PngImagePlugin`` of the copy."""
    for name, module in list(sys.modules.items()):
        if name.startswith(f"{_COPY}.") and hasattr(module, "warnings"):
            module.warnings = SimpleNamespace(warn=lambda *_, **__: None)  # type: ignore[attr-defined]
    image._decompression_bomb_check = _check_declared_size
    png._safe_zlib_decompress = _decompress
    png.PngStream.check_text_memory = lambda *_: None
    for name in ("chunk_tEXt", "chunk_zTXt", "chunk_iTXt"):
        setattr(png.PngStream, name, _metadata_only(getattr(png.PngStream, name)))


_copy_pillow()
_image, _png = sys.modules[f"{_COPY}.Image"], sys.modules[f"{_COPY}.PngImagePlugin"]
_set_up(_image, _png)

UnidentifiedImageError: type[OSError] = sys.modules[_COPY].UnidentifiedImageError
