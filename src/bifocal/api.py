"""The product in one short file: encode a picture, decode a stream, say what is in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import index
from pathlib import Path
from typing import SupportsIndex

from bifocal.errors import ModelMissing, OptionError, OutputError
from bifocal.pictures.convert import PictureLike, as_picture
from bifocal.pictures.files import is_picture_name, read_picture, write_atomically, write_picture
from bifocal.runtime.model import Model
from bifocal.runtime.registry import DEFAULT_MODEL, find_card, model_folder
from bifocal.stream import container
from bifocal.stream.latents import encode_latents, unpack
from bifocal.stream.limits import DEFAULT_LIMITS, Limits
from bifocal.types import Picture

#: A model: an installed name, the folder of a packed one, or one already loaded.
ModelLike = str | os.PathLike[str] | Model

#: Side of a tile in pixels: pictures of up to four megapixels are one tile.
TILE = 2048


@dataclass(frozen=True)
class StreamInfo:
    """What a stream says of itself.

    ``width`` and ``height`` in pixels, ``quality`` 1 to 100, ``tile`` the side of its ``tiles`` in pixels;
    ``bytes`` of the whole stream and ``bpp``, its bits per pixel; ``metadata`` the size of each chunk in
    bytes; ``model`` the name of the installed model that reads it, or None; ``release`` the Bifocal release
    that first shipped that model.
    """

    width: int
    height: int
    gray: bool
    quality: int
    bytes: int
    bpp: float
    tile: int
    tiles: int
    metadata: Mapping[str, int]
    model: str | None
    wire_id: int
    fingerprint: str
    release: str


def encode(
    picture: PictureLike, quality: int = 60, *, model: ModelLike = DEFAULT_MODEL, tile: int = TILE
) -> bytes:
    """Encode a picture as a Bifocal stream.

    :param picture: uint8 array ``[h, w, 3]`` (RGB) or ``[h, w]`` (gray), Pillow image or :class:`Picture`.
    :param quality: 1 (smallest file) to 100 (best picture).
    :param tile: side of the independently coded tiles in pixels, a multiple of 64; no tile may exceed 4 Mi
        pixels.
    :raises PictureError: if the picture is of a kind that is not coded (alpha, 16 bits, CMYK).
    :raises OptionError: if ``quality`` or ``tile`` is out of range.

    >>> import numpy
    >>> len(encode(numpy.zeros((64, 64), numpy.uint8), quality=10)) < 200
    True
    """
    taken = as_picture(picture)
    quality = _whole(quality)
    container.check_options(taken.width, taken.height, quality, tile)
    loaded = _load(model)
    y, z = loaded.analyse(taken.pixels, quality)
    data, _ = encode_latents(
        y,
        z,
        width=taken.width,
        height=taken.height,
        gray=taken.gray,
        quality=quality,
        tile=tile,
        model=loaded.entropy,
        backend=loaded.backend,
        metadata=taken.metadata,
    )
    return data


def decode(data: bytes, *, model: ModelLike | None = None, limits: Limits = DEFAULT_LIMITS) -> Picture:
    """Decode a Bifocal stream.

    Pixels of the result are uint8, ``[h, w, 3]`` (RGB) or ``[h, w]`` (gray); NumPy takes the picture itself
    for that array, and :func:`bifocal.to_pillow` makes a Pillow image of it, colour profile included.

    :param model: the model that made the stream; found among the installed ones by default.
    :param limits: what to refuse before any work is done.
    :raises StreamError: if the stream is damaged, cut short, beyond ``limits`` or not Bifocal's.
    :raises ModelMissing: if its model is not installed; the message says which release has it.

    >>> import numpy
    >>> picture = decode(encode(numpy.full((30, 50, 3), 90, numpy.uint8)))
    >>> picture.pixels.shape
    (30, 50, 3)
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise OptionError(
            f"decode takes the bytes of a stream, not a {type(data).__name__}. For a file: decode_file(path)."
        )
    parsed = container.read(data, limits)
    header = parsed.header
    if model is None:
        model = find_card(header.wire_id, header.fingerprint, header.release).folder
    loaded = _load(model)
    latents = unpack(data, loaded.entropy, loaded.backend, limits)
    return Picture(loaded.synthesise(latents), parsed.metadata)


def info(data: bytes, *, limits: Limits = DEFAULT_LIMITS) -> StreamInfo:
    """Say what is in a stream, from its header and index alone: no network runs.

    :raises StreamError: if the header or index is damaged or the stream is not Bifocal's.

    >>> import numpy
    >>> info(encode(numpy.zeros((30, 50), numpy.uint8), quality=7)).quality
    7
    """
    parsed = container.read(data, limits)
    header = parsed.header
    return StreamInfo(
        width=header.width,
        height=header.height,
        gray=header.gray,
        quality=header.quality,
        bytes=len(data),
        bpp=8 * len(data) / (header.width * header.height),
        tile=header.tile,
        tiles=len(parsed.tiles),
        metadata={key: len(value) for key, value in parsed.metadata.items()},
        model=_name(header),
        wire_id=header.wire_id,
        fingerprint=header.fingerprint.hex(),
        release=".".join(map(str, header.release)),
    )


def encode_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    quality: int = 60,
    *,
    model: ModelLike = DEFAULT_MODEL,
    tile: int = TILE,
) -> StreamInfo:
    """Encode a picture file into a stream file, written whole or not at all; say what was written.

    :raises OutputError: if ``target`` cannot be written, is ``source``, or is named like a picture.
    """
    _refuse_same(source, target)
    if is_picture_name(Path(target)):
        raise OutputError(
            f"{os.fspath(target)} is named like a picture, but a stream is written. Call it .bfc."
        )
    data = encode(read_picture(source), quality, model=model, tile=tile)
    write_atomically(target, data)
    return info(data)


def decode_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    *,
    model: ModelLike | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Picture:
    """Decode a stream file; with ``target``, write the picture too, in the format that its suffix names.

    :raises OutputError: if ``target`` cannot be written, or is ``source``.
    """
    if target is not None:
        _refuse_same(source, target)
    picture = decode(read_stream(source, limits), model=model, limits=limits)
    if target is not None:
        write_picture(picture, target)
    return picture


def read_stream(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The bytes of a stream file; never more than ``limits`` allow, plus one that :func:`decode` refuses."""
    with open(path, "rb") as file:
        return file.read(limits.stream_bytes + 1)


def _whole(quality: SupportsIndex) -> int:
    try:
        return index(quality)
    except TypeError as error:
        raise OptionError(
            f"quality is {quality!r}; choose a whole number from 1 (smallest file) to 100 (best picture)."
        ) from error


def _refuse_same(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    if Path(source).resolve() == Path(target).resolve():
        raise OutputError(f"{os.fspath(target)} is the input; it is never overwritten. Name another output.")


def _load(model: ModelLike) -> Model:
    return model if isinstance(model, Model) else _loaded(model_folder(model).resolve())


@lru_cache(maxsize=4)
def _loaded(folder: Path) -> Model:
    """Loading costs more than a small picture: keep the last few models."""
    return Model.load(folder)


def _name(header: container.Header) -> str | None:
    try:
        return find_card(header.wire_id, header.fingerprint, header.release).name
    except ModelMissing:
        return None
