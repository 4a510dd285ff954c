"""Streams in Pillow: ``Image.open("x.bfc")`` and ``image.save("x.bfc")``.

:func:`bifocal.register_pillow` makes them known. Opening reads the header, the metadata and the index; pixels
are decoded when they are first needed, and then whole. Rules that are Pillow's are kept: its file is closed
once it is loaded, a file object of the user never; what is wrong with a file is an ``OSError``. Pixels are
upright, and the metadata in ``info`` says so.
"""

from __future__ import annotations

from threading import Lock
from typing import IO, Any

from PIL import Image, ImageFile

from bifocal import api
from bifocal.errors import BifocalError, NotAStream, OptionError
from bifocal.pictures.convert import from_pillow, to_pillow
from bifocal.pictures.exif import EXIF_PREFIX
from bifocal.pictures.metadata import pillow_info, read_metadata
from bifocal.runtime.decoding import decode_transparency
from bifocal.runtime.model import Model, available_reductions, reduce_box
from bifocal.runtime.registry import find_card, model_folder
from bifocal.stream import container
from bifocal.stream.source import FileBytes
from bifocal.types import Picture

FORMAT = "BIFOCAL"

#: What ``save`` takes besides the options of :func:`bifocal.encode`: metadata, instead of the image's own.
_METADATA = {"icc_profile": "icc", "exif": "exif", "xmp": "xmp"}
_OPTIONS = ("model", "tile", "strict", "effort", "size", "psnr", "quality_map")


def accept(prefix: bytes) -> bool:
    """Whether a file that begins so may be a stream."""
    return prefix.startswith(container.MAGIC)


class BifocalImageFile(ImageFile.ImageFile):
    """An open stream.

    For a stream of a model that is not installed, set ``model`` to it before the first access to pixels.
    """

    format = FORMAT
    format_description = "Bifocal stream"
    model: api.ModelLike | None = None

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
            picture = api.decode(self.fp, model=self.model, scale=1 / self._reduction)
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
            return ()  # loading will say what is wrong

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
    """Write an image as a stream, upright; its metadata is kept unless the caller gives another."""
    settings = image.encoderinfo
    options = {name: settings[name] for name in _OPTIONS if name in settings}
    try:
        data = api.encode(_picture(image, settings), settings.get("quality"), **options)
    except OptionError:
        raise  # a ValueError: an option is wrong, not the file
    except BifocalError as error:
        raise OSError(f"cannot write this image as {FORMAT}: {error}") from error
    file.write(data)


def _picture(image: Image.Image, settings: dict[str, Any]) -> Picture:
    """The image with the metadata that was asked for: what is turned is turned as this EXIF says."""
    metadata = read_metadata(image)
    for name, key in _METADATA.items():
        if name in settings:
            given = settings[name]
            metadata[key] = given.tobytes() if isinstance(given, Image.Exif) else bytes(given or b"")
    copy = image.copy()  # of the caller's image, nothing is changed
    for name in _METADATA:
        copy.info.pop(name, None)
    if "exif" in metadata:
        metadata["exif"] = metadata["exif"].removeprefix(EXIF_PREFIX)
    for name, key in _METADATA.items():
        if metadata.get(key):
            copy.info[name] = (EXIF_PREFIX if key == "exif" else b"") + metadata[key]
    return from_pillow(copy, strict=bool(settings.get("strict", False)))
