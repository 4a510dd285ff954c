"""The product in one short file: encode a picture, decode a stream, label it, say what is in it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

from bifocal.errors import ModelMissing, OptionError, OutputError
from bifocal.pictures.convert import PictureLike, as_picture
from bifocal.pictures.files import is_picture_name, read_picture, write_picture
from bifocal.pictures.quality_map import MapLike, read_map
from bifocal.pictures.transparent import fill_transparent
from bifocal.runtime.budget import QUALITY, check_budget, decoded_psnr, encode_within
from bifocal.runtime.decoding import check_box, check_scale, decode_pixels, decode_transparency
from bifocal.runtime.encoding import Encoder
from bifocal.runtime.engines.float_engines import REFERENCE
from bifocal.runtime.heads.classify import LabelReader, label_latents, read_labels
from bifocal.runtime.heads.file import DEFAULT_HEAD, head_path
from bifocal.runtime.heads.run import Head
from bifocal.runtime.model import Model
from bifocal.runtime.registry import DEFAULT_MODEL, find_card, model_folder
from bifocal.runtime.search import EFFORT, check_effort
from bifocal.storage import remote
from bifocal.storage.whole_files import write_atomically
from bifocal.stream import container
from bifocal.stream.chunks.alpha import encode_alpha
from bifocal.stream.limits import DEFAULT_LIMITS, Limits
from bifocal.stream.source import FileBytes, SeekableFile, Source
from bifocal.types import Labels, Latents, Picture

#: A model: an installed name, the folder of a packed one, or one already loaded.
ModelLike = str | os.PathLike[str] | Model

#: A head: a shipped name, the path of a .bfh file, or one already loaded.
HeadLike = str | os.PathLike[str] | Head

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
    quality: int | None = None,
    *,
    model: ModelLike = DEFAULT_MODEL,
    tile: int = TILE,
    strict: bool = False,
    effort: int = EFFORT,
    size: int | str | None = None,
    psnr: float | None = None,
    quality_map: MapLike | None = None,
) -> bytes:
    """Encode a picture as a Bifocal stream.

    Say how good or how large it shall be by one of ``quality``, ``size`` and ``psnr``; quality is 60 without.
    Transparency is coded without loss; colours under fully transparent pixels are not kept.

    :param picture: uint8 array ``[h, w, 3]`` (RGB), ``[h, w, 4]`` (RGBA) or ``[h, w]`` (gray), Pillow image
        or :class:`Picture`.
    :param quality: 1 (smallest file) to 100 (best picture).
    :param size: the most bytes that the whole stream may have, or text such as ``"50kB"`` or ``"1MiB"``;
        the best quality that fits is taken.
    :param psnr: the least PSNR in dB of the decoded picture; the smallest stream that reaches it is taken.
    :param effort: 0 (fastest) to 9: how hard to search for fewer bits at the same quality; docs/effort.md
        says what each gains and costs. Decoding is the same.
    :param quality_map: where errors count, array ``[h, w]`` of floats 0 to 1, bool or uint8, or a picture
        file: the quality is meant for places at 1, and bits are saved elsewhere. Stretched to the picture.
    :param tile: side of the independently coded tiles in pixels, a multiple of 64; no tile may exceed 4 Mi
        pixels.
    :param strict: refuse a picture of more than 8 bits a channel, which is otherwise rounded to 8 with a
        :class:`~bifocal.errors.PictureWarning`.
    :raises PictureError: if the picture is of a kind that is not coded (CMYK, floating point).
    :raises OptionError: if an argument is out of range, two of ``quality``, ``size`` and ``psnr`` are given,
        or no quality meets ``size`` or ``psnr``: then the message says which can be met.
    :raises ModelError: if the model was packed without what this effort needs.

    >>> import numpy
    >>> len(encode(numpy.zeros((64, 64), numpy.uint8), quality=10)) < 200
    True
    """
    taken = as_picture(picture, strict=strict)
    budget = check_budget(quality, size, psnr)
    container.check_options(taken.width, taken.height, budget.quality or QUALITY, tile)
    weights = None if quality_map is None else read_map(quality_map, taken.width, taken.height)
    loaded, chunks = _load(model).on(REFERENCE), _chunks(taken, tile)  # bytes never depend on a backend
    pixels = fill_transparent(taken.pixels, taken.alpha)
    encoder = Encoder(pixels, loaded, tile=tile, keep=budget.quality is None)

    def stream(quality: int, effort: int) -> bytes:
        return encoder.encode(quality, metadata=chunks, effort=effort, weights=weights)

    if budget.quality is not None:
        return stream(budget.quality, check_effort(effort))
    seen = None if taken.alpha is None else taken.alpha > 0
    return encode_within(
        stream, check_effort(effort), budget, lambda data: decoded_psnr(data, pixels, loaded, seen)
    )


def decode(
    data: StreamLike,
    *,
    model: ModelLike | None = None,
    limits: Limits = DEFAULT_LIMITS,
    box: Sequence[int] | None = None,
    scale: float | Fraction = 1,
    backend: str | None = None,
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
    :param backend: what computes the pixels, such as "openvino"; the model's own, ONNX Runtime, by default.
    :raises OptionError: if ``box`` is not inside the picture, there is no such ``scale``, or the backend does
        not exist or is not installed.
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
    loaded = _model_of(header, model)
    alpha = decode_transparency(parsed, box=box, reduction=reduction)
    loaded = loaded if backend is None else loaded.on(backend)
    pixels = decode_pixels(parsed, loaded, box=box, reduction=reduction)
    return Picture(pixels, _metadata(parsed), alpha)


def analyse(
    data: StreamLike | Latents,
    *,
    head: HeadLike = DEFAULT_HEAD,
    model: ModelLike | None = None,
    limits: Limits = DEFAULT_LIMITS,
    evidence: bool = False,
) -> Labels:
    """Say what a stream shows, from its latents: no picture is rebuilt, and no synthesis weights are read.

    :param data: as for :func:`decode`; or latents that are decoded already.
    :param head: what reads the latents: a shipped head, the file of your own, or a loaded :class:`Head`.
    :param model: the model that made the stream; found among the installed ones by default.
    :param limits: what to refuse before any work is done.
    :param evidence: also collect ``Labels.evidence``, what each token tells of every class.
    :raises HeadError: if there is no such head, it is damaged, or it is for streams of another model.
    :raises StreamError: if the stream is damaged, cut short, beyond ``limits`` or not Bifocal's.
    :raises ModelMissing: if its model is not installed; the message says which release has it.

    >>> import numpy
    >>> labels = analyse(encode(numpy.full((64, 64, 3), 90, numpy.uint8)))
    >>> len(labels.names), labels.name in labels.names
    (10, True)
    """
    if isinstance(data, Latents):
        loaded = _load(data.model if model is None else model)
        return label_latents(data, loaded, load_head(head), evidence=evidence)
    parsed = container.read(_source(data), limits)
    return read_labels(parsed, _model_of(parsed.header, model), load_head(head), evidence=evidence)


def decode_and_analyse(
    data: StreamLike,
    *,
    head: HeadLike = DEFAULT_HEAD,
    model: ModelLike | None = None,
    limits: Limits = DEFAULT_LIMITS,
    backend: str | None = None,
    evidence: bool = False,
) -> tuple[Picture, Labels]:
    """The picture of :func:`decode` and the labels of :func:`analyse`, for one entropy decoding.

    Arguments and errors are theirs.
    """
    parsed = container.read(_source(data), limits)
    header, reader = parsed.header, load_head(head)
    loaded = _model_of(header, model)
    loaded = loaded if backend is None else loaded.on(backend)
    labels = LabelReader.of(header, reader, loaded, evidence=evidence)
    alpha = decode_transparency(parsed)
    pixels = decode_pixels(parsed, loaded, watch=labels.add, count=reader.spec.bits)
    return Picture(pixels, _metadata(parsed), alpha), labels.labels()


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
    quality: int | None = None,
    *,
    model: ModelLike = DEFAULT_MODEL,
    tile: int = TILE,
    strict: bool = False,
    effort: int = EFFORT,
    size: int | str | None = None,
    psnr: float | None = None,
    quality_map: MapLike | None = None,
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
        data = encode(
            read_picture(file, strict=strict),
            quality,
            model=model,
            tile=tile,
            effort=effort,
            size=size,
            psnr=psnr,
            quality_map=quality_map,
        )
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
    backend: str | None = None,
) -> Picture:
    """Decode a stream file; with ``target``, write the picture too, in the format that its suffix names.

    ``box``, ``scale`` and ``backend`` as in :func:`decode`; only the ranges of the file that they need are
    read. Both files may be URLs, with the ``remote`` extra.

    :raises OutputError: if ``target`` cannot be written, or is ``source``.
    """
    if target is not None:
        _refuse_same(source, target)
    with remote.opened(source) as stream:
        picture = decode(stream, model=model, limits=limits, box=box, scale=scale, backend=backend)
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


def _refuse_same(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    one, other = remote.plain(source), remote.plain(target)
    if one == other or (
        not remote.is_url(one) and not remote.is_url(other) and Path(one).resolve() == Path(other).resolve()
    ):
        raise OutputError(f"{os.fspath(target)} is the input; it is never overwritten. Name another output.")


def _metadata(parsed: container.Container) -> dict[str, bytes]:
    return {key: value for key, value in parsed.metadata.items() if key != container.ALPHA}


def _model_of(header: container.Header, model: ModelLike | None) -> Model:
    """The model of a stream: the one given, or the installed one that the header names."""
    return _load(
        find_card(header.wire_id, header.fingerprint, header.release).folder if model is None else model
    )


def load_head(head: HeadLike) -> Head:
    """A head by its name, its file or itself; the last few are kept.

    :raises HeadError: if there is no such head, or it is damaged.
    """
    if isinstance(head, Head):
        return head
    path = head_path(head).resolve()
    return _loaded_head(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _loaded_head(path: Path, changed: int) -> Head:
    """Kept like models, until the file changes: a head may be trained again while it is in use."""
    return Head.load(path)


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
