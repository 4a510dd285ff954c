"""A copy of Pillow's readers with settings of our own: sizes are checked before pixels are allocated, and
half a file is never taken for a whole one.

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

The copy costs time: this module is imported when a file is read.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import IO, Any

import PIL

from bifocal.pictures.arrays import check_size
from bifocal.pictures.formats import MOST_METADATA

_COPY = f"{__name__}.PIL"
_COMPILED = ("_imaging", "_imagingmath", "_webp", "_avif")
_PLUGINS = "Bmp Gif Jpeg Mpo Ppm Png WebP Avif Tiff Jpeg2K Tga Qoi Ico".split()

#: Text of PNG that is metadata which a stream keeps.
_PNG_TEXT = (b"XML:com.adobe.xmp", b"Raw profile type exif", b"exif")


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
