"""Streams in Pillow: ``Image.open("x.bfc")`` and ``image.save("x.bfc")``.

:func:`bifocal.register_pillow` makes them known. Opening reads the header, the metadata and the index; pixels
are decoded when they are first needed, and then whole. Rules that are Pillow's are kept: its file is closed
once it is loaded, a file object of the user never; what is wrong with a file is an ``OSError``. Pixels are
upright, and so is the orientation in ``info``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from threading import Lock
from typing import IO, Any

from PIL import Image, ImageFile

import bifocal
from bifocal.api.decoding import picture_caption
from bifocal.apps.plugins.options import check_options, known_options
from bifocal.errors import BifocalError, NotAStream, OptionError
from bifocal.pictures.convert import caption_info, read_metadata
from bifocal.pictures.exif import EXIF_PREFIX
from bifocal.pictures.metadata import pillow_info
from bifocal.pictures.pillow_images import from_pillow, to_pillow
from bifocal.runtime.cards import find_card
from bifocal.runtime.decoding import decode_transparency
from bifocal.runtime.model import Model, ModelLike, model_folder
from bifocal.runtime.rendering import available_reductions, reduce_box
from bifocal.stream import container
from bifocal.stream.source import FileBytes
from bifocal.types import Picture

FORMAT = "BIFOCAL"

#: What ``save`` takes besides the options of :func:`bifocal.encode`: metadata, instead of the image's own.
_METADATA = {"icc_profile": "icc", "exif": "exif", "xmp": "xmp"}


def accept(prefix: bytes) -> bool:
    """Whether a file that begins so may be a stream."""
    return prefix.startswith(container.MAGIC)


class BifocalImageFile(ImageFile.ImageFile):
    """An open stream.

    For a stream of a model that is not installed, set ``model`` to it before the first access to pixels.
    """

    format = FORMAT
    format_description = "Bifocal stream"
    model: ModelLike | None = None

    def _open(self) -> None:
        self._loading, self._reduction = Lock(), 1
        assert self.fp is not None
        try:
            self._stream = container.read(FileBytes(self.fp))
        except NotAStream as error:
            raise SyntaxError(str(error)) from error  # Pillow then asks its other plugins
        except BifocalError as error:
            raise OSError(str(error)) from error
        header = self._stream.header
        self._size = header.width, header.height
        self._mode = ("L" if header.gray else "RGB") + (
            "A" if container.ALPHA in self._stream.metadata else ""
        )
        self.info.update(pillow_info(self._stream.metadata))
        self.info.update(caption_info(picture_caption(self._stream)))

    def load(self) -> Any:
        """Decode the pixels, once. Raises ``OSError`` if the stream is damaged or its model is not here."""
        if self._im is None:
            with self._loading:  # several threads may share an image; one of them decodes it
                if self._im is None:
                    self._decode()
        return super().load()

    def _decode(self) -> None:
        if self.fp is None:
            raise ValueError("Operation on closed image")
        try:
            picture = bifocal.decode(self.fp, model=self.model, scale=1 / self._reduction)
        except BifocalError as error:
            raise OSError(str(error)) from error
        self.im = to_pillow(Picture(picture.pixels, alpha=picture.alpha)).im
        if self._exclusive_fp:
            self.fp.close()
        self.fp = None

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> Any:
        """Decode at 1/2, 1/4, 1/8 or 1/16 of the size, if that is still at least ``size`` and the model can.

        As for JPEG: before the pixels are loaded; the mode stays. ``thumbnail`` asks for it by itself.
        """
        if size is None or self._im is not None or self._reduction != 1:
            return None
        whole = (0, 0, *self._size)
        for reduction in sorted(self._reductions(), reverse=True):
            smaller = reduce_box(whole, reduction)[2:]
            if reduction > 1 and smaller[0] >= size[0] and smaller[1] >= size[1]:
                box = 0, 0, self._size[0] / reduction, self._size[1] / reduction
                self._reduction, self._size = reduction, smaller
                return self.mode, box
        return None

    def _reductions(self) -> tuple[int, ...]:
        header = self._stream.header
        if isinstance(self.model, Model):
            return available_reductions(self.model.folder)
        try:
            if self.model is not None:
                return available_reductions(model_folder(self.model))
            return available_reductions(find_card(header.wire_id, header.fingerprint, header.release).folder)
        except BifocalError:
            return ()  # loading raises the error

    def verify(self) -> None:
        """Check every checksum, and the transparency, without decoding pixels; ``OSError`` if one differs."""
        if self.fp is None:
            raise RuntimeError("verify must be called directly after open")
        try:
            for number in range(len(self._stream.tiles)):
                self._stream.payload(number)
            decode_transparency(self._stream)
        except BifocalError as error:
            raise OSError(str(error)) from error
        super().verify()


def save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """Write an image as a stream, upright; its metadata is kept unless the caller gives another.

    :raises OptionError: if an option is not known or out of range.
    :raises OSError: if the image cannot be encoded.
    """
    settings = dict(image.encoderinfo)
    known = known_options(bifocal.encode)
    check_options(settings, [*known, *_METADATA])
    options = {name: settings[name] for name in known if name in settings}
    try:
        picture = from_pillow(
            image, metadata=_given_metadata(image, settings), strict=settings.get("strict", False)
        )
        data = bifocal.encode(picture, **options)
    except OptionError:
        raise  # a ValueError: an option is wrong, not the file
    except BifocalError as error:
        raise OSError(f"cannot write this image as {FORMAT}: {error}") from error
    file.write(data)


def save_all(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """``save(..., save_all=True)``: as :func:`save`, for an image of one frame.

    :raises OptionError: if there are more: a stream holds one picture.
    """
    more = image.encoderinfo.pop("append_images", None) or []
    if not isinstance(more, Iterable):
        raise OptionError(f"append_images is a {type(more).__name__}; it is a list of images.")
    frames = getattr(image, "n_frames", 1) + len(list(more))
    if frames > 1:
        raise OptionError(
            f"{frames} frames do not fit: a stream holds one picture. Save each frame by itself."
        )
    save(image, file, filename)


def _given_metadata(image: Image.Image, settings: Mapping[str, Any]) -> dict[str, bytes] | None:
    """The image's metadata with what the caller gives instead; None if nothing is given.

    The orientation of given EXIF is applied, as that of the image's own would be.
    """
    if not _METADATA.keys() & settings.keys():
        return None
    metadata = read_metadata(image)
    for name, key in _METADATA.items():
        if name in settings:
            metadata[key] = _as_bytes(name, settings[name]).removeprefix(
                EXIF_PREFIX if key == "exif" else b""
            )
    return {key: value for key, value in metadata.items() if value}


def _as_bytes(name: str, given: Any) -> bytes:
    if given is None:
        return b""
    if isinstance(given, Image.Exif):
        return given.tobytes()
    if isinstance(given, str) and name == "xmp":
        return given.encode()
    if isinstance(given, bytes | bytearray | memoryview):
        return bytes(given)
    raise OptionError(f"{name} is a {type(given).__name__}; give bytes, or None to leave it out.")
