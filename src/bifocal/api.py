"""The product in one short file: encode a picture, decode a stream, say what is in it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from operator import index
from pathlib import Path
from typing import SupportsIndex

from bifocal.errors import ModelMissing, OptionError, OutputError
from bifocal.pictures import remote
from bifocal.pictures.convert import PictureLike, as_picture
from bifocal.pictures.files import is_picture_name, read_picture, write_atomically, write_picture
from bifocal.pictures.transparent import fill_transparent
from bifocal.runtime.decoding import check_box, check_scale, decode_pixels, decode_transparency
from bifocal.runtime.encoding import Encoder
from bifocal.runtime.model import Model
from bifocal.runtime.registry import DEFAULT_MODEL, find_card, model_folder
from bifocal.stream import container
from bifocal.stream.alpha import encode_alpha
from bifocal.stream.limits import DEFAULT_LIMITS, Limits
from bifocal.stream.source import FileBytes, SeekableFile, Source
from bifocal.types import Picture

#: A model: an installed name, the folder of a packed one, or one already loaded.
ModelLike = str | os.PathLike[str] | Model

#: A stream: its bytes, or a file open for reading in binary that can seek.
StreamLike = bytes | bytearray | memoryview | SeekableFile

#: Side of a tile in pixels: pictures of up to four megapixels are one tile.
TILE = 2048


@dataclass(frozen=True)
class StreamInfo:
    """What a stream says of itself.

    ``width`` and ``height`` in pixels, ``quality`` 1 to 100, ``tile`` the side of its ``tiles`` in pixels;
    ``bytes`` of the whole stream and ``bpp``, its bits per pixel; ``metadata`` the size of each chunk in
    bytes, ``alpha`` that of its transparency, 0 for an opaque picture; ``model`` the name of the installed
    model that reads it, or None; ``release`` the Bifocal release that first shipped that model.
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
    alpha: int
    model: str | None
    wire_id: int
    fingerprint: str
    release: str


def encode(
    picture: PictureLike,
    quality: int = 60,
    *,
    model: ModelLike = DEFAULT_MODEL,
    tile: int = TILE,
    strict: bool = False,
) -> bytes:
    """Encode a picture as a Bifocal stream.

    Transparency is coded without loss; colours under fully transparent pixels are not kept.

    :param picture: uint8 array ``[h, w, 3]`` (RGB), ``[h, w, 4]`` (RGBA) or ``[h, w]`` (gray), Pillow image
        or :class:`Picture`.
    :param quality: 1 (smallest file) to 100 (best picture).
    :param tile: side of the independently coded tiles in pixels, a multiple of 64; no tile may exceed 4 Mi
        pixels.
    :param strict: refuse a picture of more than 8 bits a channel, which is otherwise rounded to 8 with a
        :class:`~bifocal.errors.PictureWarning`.
    :raises PictureError: if the picture is of a kind that is not coded (CMYK, floating point).
    :raises OptionError: if ``quality`` or ``tile`` is out of range.

    >>> import numpy
    >>> len(encode(numpy.zeros((64, 64), numpy.uint8), quality=10)) < 200
    True
    """
    taken = as_picture(picture, strict=strict)
    quality = _whole(quality)
    container.check_options(taken.width, taken.height, quality, tile)
    encoder = Encoder(fill_transparent(taken.pixels, taken.alpha), _load(model), tile=tile)
    return encoder.encode(quality, metadata=_chunks(taken, tile))


def decode(
    data: StreamLike,
    *,
    model: ModelLike | None = None,
    limits: Limits = DEFAULT_LIMITS,
    box: Sequence[int] | None = None,
    scale: float | Fraction = 1,
) -> Picture:
    """Decode a Bifocal stream, a part of it, or a smaller picture.

    Pixels of the result are uint8, ``[h, w, 3]`` (RGB) or ``[h, w]`` (gray); NumPy takes the picture itself
    for that array, and :func:`bifocal.to_pillow` makes a Pillow image of it, colour profile included.

    :param data: the bytes of a stream, or a seekable binary file, of which only what is needed is read.
    :param model: the model that made the stream; found among the installed ones by default.
    :param limits: what to refuse before any work is done.
    :param box: (left, top, right, bottom) in pixels of the full picture. The result holds the very pixels
        that decoding everything gives there; tiles that do not matter to them are neither read nor decoded.
    :param scale: 1, or 1/2, 1/4, 1/8 or 1/16 of the full size, rounded up; a box is then rounded outwards.
    :raises OptionError: if ``box`` is not inside the picture or there is no such ``scale``.
    :raises StreamError: if the stream is damaged, cut short, beyond ``limits`` or not Bifocal's.
    :raises ModelMissing: if its model is not installed; the message says which release has it.
    :raises ModelError: if its model cannot decode at ``scale``.

    >>> import numpy
    >>> data = encode(numpy.full((30, 50, 3), 90, numpy.uint8))
    >>> decode(data).pixels.shape, decode(data, box=(10, 0, 26, 8)).pixels.shape
    ((30, 50, 3), (8, 16, 3))
    """
    parsed = container.read(_source(data), limits)
    header = parsed.header
    box, reduction = check_box(box, header.width, header.height), check_scale(scale)
    if model is None:
        model = find_card(header.wire_id, header.fingerprint, header.release).folder
    alpha = decode_transparency(parsed, box=box, reduction=reduction)
    pixels = decode_pixels(parsed, _load(model), box=box, reduction=reduction)
    metadata = {key: value for key, value in parsed.metadata.items() if key != container.ALPHA}
    return Picture(pixels, metadata, alpha)


def info(data: StreamLike, *, limits: Limits = DEFAULT_LIMITS) -> StreamInfo:
    """Say what is in a stream or a seekable binary file, from its header and index alone: no network runs.

    :raises StreamError: if the header or index is damaged or the stream is not Bifocal's.

    >>> import numpy
    >>> info(encode(numpy.zeros((30, 50), numpy.uint8), quality=7)).quality
    7
    """
    source = _source(data)
    parsed = container.read(source, limits)
    header, sizes = parsed.header, {key: len(value) for key, value in parsed.metadata.items()}
    return StreamInfo(
        width=header.width,
        height=header.height,
        gray=header.gray,
        quality=header.quality,
        bytes=len(source),
        bpp=8 * len(source) / (header.width * header.height),
        tile=header.tile,
        tiles=len(parsed.tiles),
        metadata={key: size for key, size in sizes.items() if key != container.ALPHA},
        alpha=sizes.get(container.ALPHA, 0),
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
    strict: bool = False,
) -> StreamInfo:
    """Encode a picture file into a stream file, written whole or not at all; say what was written.

    Both may be URLs (``s3://…``, ``https://…``), with the ``remote`` extra.

    :raises OutputError: if ``target`` cannot be written, is ``source``, or is named like a picture.
    """
    _refuse_same(source, target)
    if is_picture_name(Path(target)):
        raise OutputError(
            f"{os.fspath(target)} is named like a picture, but a stream is written. Call it .bfc."
        )
    with remote.fetched(source) as file:
        data = encode(read_picture(file, strict=strict), quality, model=model, tile=tile)
    with remote.sent(target) as file:
        write_atomically(file, data)
    return info(data)


def decode_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    *,
    model: ModelLike | None = None,
    limits: Limits = DEFAULT_LIMITS,
    box: Sequence[int] | None = None,
    scale: float | Fraction = 1,
) -> Picture:
    """Decode a stream file; with ``target``, write the picture too, in the format that its suffix names.

    ``box`` and ``scale`` as in :func:`decode`; only the ranges of the file that they need are read. Both
    files may be URLs, with the ``remote`` extra.

    :raises OutputError: if ``target`` cannot be written, or is ``source``.
    """
    if target is not None:
        _refuse_same(source, target)
    with remote.opened(source) as stream:
        picture = decode(stream, model=model, limits=limits, box=box, scale=scale)
    if target is not None:
        with remote.sent(target) as file:
            write_picture(picture, file)
    return picture


def read_stream(path: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The bytes of a stream file; never more than ``limits`` allow, plus one that :func:`decode` refuses."""
    with open(path, "rb") as file:
        return file.read(limits.stream_bytes + 1)


def _source(data: StreamLike) -> Source:
    if isinstance(data, bytes | bytearray | memoryview):
        return memoryview(data)
    if isinstance(data, SeekableFile):
        return FileBytes(data)
    raise OptionError(
        f"a stream is given as bytes or as a seekable binary file, not as a {type(data).__name__}. For a "
        "path: decode_file(path)."
    )


def _chunks(picture: Picture, tile: int) -> Mapping[str, bytes]:
    """What the stream holds beside the pixels: metadata, and transparency if there is any."""
    alpha = b"" if picture.alpha is None else encode_alpha(picture.alpha, tile)
    return {**picture.metadata, container.ALPHA: alpha} if alpha else picture.metadata


def _whole(quality: SupportsIndex) -> int:
    try:
        return index(quality)
    except TypeError as error:
        raise OptionError(
            f"quality is {quality!r}; choose a whole number from 1 (smallest file) to 100 (best picture)."
        ) from error


def _refuse_same(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    one, other = remote.plain(source), remote.plain(target)
    if one == other or (
        not remote.is_url(one) and not remote.is_url(other) and Path(one).resolve() == Path(other).resolve()
    ):
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
