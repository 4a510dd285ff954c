"""Streams in imageio: ``iio.imread("x.bfc")`` and ``iio.imwrite("x.bfc", array)``.

A plugin of imageio's third interface; :func:`bifocal.register_imageio` makes it known. ``imread`` takes
``model``, ``box`` and ``scale``, ``imwrite`` the options of :func:`bifocal.encode` and ``metadata``;
``improps`` and ``immeta`` read the header alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import EllipsisType
from typing import Any

import numpy as np
from imageio.core.request import RETURN_BYTES, InitializationError, IOMode, Request
from imageio.core.v3_plugin_api import ImageProperties, PluginV3
from numpy.typing import NDArray

import bifocal
from bifocal.api.decoding import picture_caption
from bifocal.apps.plugins.options import check_options, known_options
from bifocal.apps.plugins.register import SUFFIX
from bifocal.errors import OptionError, PictureError
from bifocal.pictures.convert import caption_info
from bifocal.pictures.metadata import pillow_info
from bifocal.pictures.pillow_images import as_picture
from bifocal.stream import container
from bifocal.stream.source import FileBytes
from bifocal.types import Picture


class BifocalPlugin(PluginV3):
    """One stream, for reading or for writing; it holds one picture."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        reading = request.mode.io_mode == IOMode.read
        known = (
            request.firstbytes.startswith(container.MAGIC)
            if reading
            else (request.extension or "").lower() == SUFFIX
        )
        if not known:
            raise InitializationError("Bifocal reads streams, and writes files named .bfc.")
        self._written = False

    def read(self, *, index: int | EllipsisType | None = 0, **options: Any) -> NDArray[np.uint8]:
        """The picture as uint8 ``[h, w]``, ``[h, w, 2]`` (gray, alpha), ``[h, w, 3]`` or ``[h, w, 4]``; with
        ``index=...`` as a stack of one. ``options`` are those of :func:`bifocal.decode`."""
        _check_index(index)
        check_options(options, known_options(bifocal.decode))
        picture = bifocal.decode(self.request.get_file(), **options)
        pixels = picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])
        return pixels[None] if index is ... else pixels

    def iter(self, **options: Any) -> Iterator[NDArray[np.uint8]]:
        """Its one picture."""
        yield self.read(**options)

    def write(
        self,
        ndimage: Any,
        *,
        is_batch: bool = False,
        quality: int | None = None,
        metadata: Mapping[str, bytes] | None = None,
        **options: Any,
    ) -> bytes | None:
        """Encode an array ``[h, w]`` or ``[h, w, c]``, c up to 4, or a batch or list of exactly one of them.

        ``metadata`` has the keys icc, exif and xmp; ``options`` are those of :func:`bifocal.encode`.

        :raises OptionError: if an option is not known or out of range.
        :raises PictureError: if it is no picture, more than one, or the second that is written to this file.
        """
        check_options(options, known_options(bifocal.encode))
        if isinstance(ndimage, list | tuple) or is_batch:
            if len(ndimage) != 1:
                raise PictureError(
                    f"{len(ndimage)} pictures do not fit: a stream holds one. Write one at a time."
                )
            ndimage = ndimage[0]
        if self._written:
            raise PictureError(
                "a stream holds one picture, and one is written. Write the next to another file."
            )
        taken = as_picture(_as_array(ndimage), strict=options.get("strict", False))
        data = bifocal.encode(
            Picture(taken.pixels, {} if metadata is None else metadata, taken.alpha), quality, **options
        )
        self._written = True
        self.request.get_file().write(data)
        return data if self.request.raw_uri == RETURN_BYTES else None

    def properties(self, index: int | EllipsisType | None = 0) -> ImageProperties:
        """Shape and type, from the header alone."""
        _check_index(index)
        stream = self._stream()
        planes = (1 if stream.header.gray else 3) + (container.ALPHA in stream.metadata)
        shape = (stream.header.height, stream.header.width) + ((planes,) if planes > 1 else ())
        if index is ...:
            return ImageProperties((1, *shape), np.dtype(np.uint8), n_images=1, is_batch=True)
        return ImageProperties(shape, np.dtype(np.uint8))

    def metadata(self, index: int | EllipsisType | None = 0, exclude_applied: bool = True) -> dict[str, Any]:
        """``icc_profile``, ``exif`` and ``xmp`` as bytes, ``caption`` as text, and the fields of the header.

        With ``exclude_applied``, orientation in EXIF and XMP is 1, since pixels are upright; without, they
        are the bytes of the source.
        """
        _check_index(index)
        stream = self._stream()
        names = {"icc": "icc_profile"}
        hidden = {*container.PARTS, container.CAPTION}
        chunks: dict[str, Any] = {
            names.get(key, key): value for key, value in stream.metadata.items() if key not in hidden
        }
        chunks |= caption_info(picture_caption(stream))
        if exclude_applied:
            chunks |= pillow_info(stream.metadata)
        header = stream.header
        return {"quality": header.quality, "tile": header.tile, "model": header.fingerprint.hex(), **chunks}

    def _stream(self) -> container.Container:
        return container.read(FileBytes(self.request.get_file()))


def _check_index(index: int | EllipsisType | None) -> None:
    if index is not None and index is not ... and not (isinstance(index, int) and index == 0):
        raise OptionError(f"index is {index}; a stream holds one picture, number 0.")


def _as_array(given: Any) -> NDArray[Any]:
    try:
        return np.asarray(given)
    except ValueError as error:  # rows of different lengths
        raise PictureError(f"this is no array of pixels: {error}.") from error
