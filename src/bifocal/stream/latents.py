"""Latents ⇄ stream: two drivers for the one group loop, tile by tile, and the model that they share.

Encoding takes float latents or, packing again, decoded ones; both run the loop that decoding runs, on the
same integers, so a decoder can only agree. Float values enter at one point, ``Encode.code``, where symbols
are chosen. Tiles are coded independently: contexts end at their edges, and one damaged tile says which it is;
so a large picture need never be in memory as a whole.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import DamagedStream, LatentsError, ModelMissing
from bifocal.stream import container
from bifocal.stream.coder import TileDecoder, TileEncoder
from bifocal.stream.container import Container, Header, tile_grid
from bifocal.stream.drivers import Decode, Encode, Quantise, decode_z, nearest
from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.exact import ExactEngine
from bifocal.stream.limits import DEFAULT_LIMITS, MAX_SYMBOL, TILE_UNIT, Limits
from bifocal.stream.plan import code_groups
from bifocal.types import Latents

#: Makes latents y, int32 ``[c, h, w]``, for a tile that is stored without loss, given by its number.
StoredLatents = Callable[[int], NDArray[np.int32]]

__all__ = [
    "StoredLatents",
    "CodedTile",
    "EntropyModel",
    "Quantise",
    "coded_symbols",
    "decode_tile",
    "encode_latents",
    "encode_tile",
    "nearest",
    "pack",
    "tile_cuts",
    "unpack",
]


@dataclass(frozen=True, eq=False)
class CodedTile:
    """One coded tile: its payload, the CRC-32 of its latents, and the latents, int32 ``[c, h, w]``."""

    payload: bytes
    latent_crc: int
    z: NDArray[np.int32]
    y: NDArray[np.int32]


def encode_tile(
    y: NDArray[Any],
    z: NDArray[Any],
    *,
    quality: int,
    model: EntropyModel,
    engine: ExactEngine,
    quantise: Quantise = nearest,
) -> CodedTile:
    """Code the float latents of one tile: ``y`` ``[c, h, w]`` with the quality's gain, ``z`` ``[c, h, w]``.

    Raises :class:`LatentsError` if a value is not finite or a symbol beyond ±2^24.
    """
    if not (np.isfinite(y).all() and np.isfinite(z).all() and np.abs(z).max() <= MAX_SYMBOL):
        raise LatentsError("the analysis network gave a value that is not finite. Check it: bifocal doctor.")
    z_hat = np.ascontiguousarray(np.rint(z).astype(np.int32))
    coder = TileEncoder(model.tables)
    y_hat = code_groups(model.plan, Encode(model, engine, quality, z_hat, y, coder.put, quantise))
    return CodedTile(coder.finish(), _latent_crc(z_hat, y_hat), z_hat, y_hat)


def encode_latents(
    y: NDArray[Any],
    z: NDArray[Any],
    *,
    width: int,
    height: int,
    gray: bool,
    quality: int,
    tile: int,
    model: EntropyModel,
    engine: ExactEngine,
    metadata: Mapping[str, bytes] | None = None,
    quantise: Quantise = nearest,
) -> tuple[bytes, Latents]:
    """Quantise and code float latents; return the stream and the latents that it decodes to.

    ``y`` ``[c, h, w]`` (already multiplied by the quality's gain) and ``z`` ``[c, h, w]`` cover the picture
    padded to multiples of 64 pixels. ``tile`` is the side of a tile in pixels, a multiple of 64.

    Raises :class:`LatentsError` if their shapes do not belong to the picture and the model, or a value is not
    finite or beyond ±2^24; :class:`OptionError` for a size, quality, tile or metadata that cannot be written.

    >>> from bifocal.stream.exact import NumpyEngine
    >>> model, engine = EntropyModel.load("tests/conformance/golden/tiny-1/model"), NumpyEngine()
    >>> y, z = np.full((16, 4, 4), 0.7), np.zeros((4, 1, 1))
    >>> size = {"width": 50, "height": 64, "gray": False, "quality": 60, "tile": 64}
    >>> data, latents = encode_latents(y, z, **size, model=model, engine=engine)
    >>> unpack(data, model, engine) == latents, pack(latents, model, engine) == data
    (True, True)
    """
    container.check_options(width, height, quality, tile)
    _check_shapes(y, z, width, height, model)
    y_hat, z_hat = np.zeros(y.shape, dtype=np.int32), np.zeros(z.shape, dtype=np.int32)
    tiles = []
    for rows, columns, z_rows, z_columns in tile_cuts(width, height, tile, model):
        part = y[:, rows, columns], z[:, z_rows, z_columns]
        coded = encode_tile(*part, quality=quality, model=model, engine=engine, quantise=quantise)
        y_hat[:, rows, columns], z_hat[:, z_rows, z_columns] = coded.y, coded.z
        tiles.append((coded.payload, coded.latent_crc))
    header = Header(model.wire_id, model.fingerprint, model.release, width, height, gray, quality, tile)
    latents = Latents(y_hat, z_hat, width, height, gray, quality, tile, model.name, model.fingerprint)
    return container.write(header, metadata or {}, tiles), latents


def pack(
    latents: Latents,
    model: EntropyModel,
    engine: ExactEngine,
    metadata: Mapping[str, bytes] | None = None,
) -> bytes:
    """The stream of decoded latents: the very bytes that :func:`unpack` read them from.

    Raises :class:`LatentsError` if the latents are not ones that this model decodes.
    """
    if latents.fingerprint != model.fingerprint:
        raise LatentsError(
            f"these latents were decoded with model {latents.fingerprint.hex()}, not with {model.name} "
            f"({model.fingerprint.hex()}). Pack them with their own model."
        )
    data, again = encode_latents(
        latents.y / float(1 << model.plan.fraction),
        latents.z,
        width=latents.width,
        height=latents.height,
        gray=latents.gray,
        quality=latents.quality,
        tile=latents.tile,
        model=model,
        engine=engine,
        metadata=metadata,
    )
    if again != latents:
        raise LatentsError("these latents were changed after they were decoded; no stream decodes to them.")
    return data


def decode_tile(
    stream: Container,
    number: int,
    model: EntropyModel,
    engine: ExactEngine,
    *,
    groups: int | None = None,
    spent: NDArray[np.int64] | None = None,
    stored_latents: StoredLatents | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """``y`` and ``z`` of tile ``number``, int32 ``[c, h, w]``, checked against both of its checksums.

    With ``groups``, only so many groups from the first are decoded and the others stay zero. The checksum of
    the latents covers all groups, so then only that of the payload is checked. To ``spent``, contiguous int64
    ``[groups, h, w]``, what each group cost at each position of y is added, in ``coder.COST_UNIT`` of a bit.

    A tile that is stored without loss has no latents: ``stored_latents`` makes y of its
    pixels, and z is zero.

    Raises :class:`DamagedStream` if the tile is damaged, :class:`ModelMissing` if it is another model's,
    :class:`LatentsError` if it has no latents and there is no ``stored_latents``.
    """
    check_model(stream, model)
    tile, plan, quality = stream.tiles[number], model.plan, stream.header.quality
    if tile.lossless:
        if stored_latents is None:
            raise LatentsError(f"tile {number} is stored without loss: it holds pixels and no latents.")
        y = stored_latents(number)
        shape = ((tile.bottom - tile.top), (tile.right - tile.left))
        z_sides = (side * TILE_UNIT // plan.z_stride for side in shape)
        return y, np.zeros((plan.z_channels, *z_sides), np.int32)
    units, scale = (tile.bottom - tile.top, tile.right - tile.left), TILE_UNIT // plan.z_stride
    coder = TileDecoder(stream.payload(number), model.tables)
    z = decode_z(coder, (plan.z_channels, units[0] * scale, units[1] * scale), model, quality)
    y = code_groups(plan, Decode(model, engine, quality, z, coder, spent), groups)
    if groups is None or groups >= len(plan.groups):
        coder.finish()
        if _latent_crc(z, y) != tile.latent_crc:
            raise DamagedStream(
                f"tile {number} of {len(stream.tiles)} decodes to other latents than were encoded. If the "
                "file is intact, this machine computes wrongly: run bifocal doctor."
            )
    return y, z


def check_model(stream: Container, model: EntropyModel) -> None:
    """Raise :class:`ModelMissing` unless ``model`` made the stream."""
    header = stream.header
    if header.fingerprint != model.fingerprint or header.wire_id != model.wire_id:
        raise ModelMissing(header.wire_id, header.fingerprint, header.release)


def unpack(
    data: bytes | memoryview | Container,
    model: EntropyModel,
    engine: ExactEngine,
    limits: Limits = DEFAULT_LIMITS,
) -> Latents:
    """Decode a stream, or a :class:`Container` read from one, to its latents, the same on every machine.

    Raises a :class:`StreamError` if header or index are wrong, before any network runs; :class:`ModelMissing`
    if another model made the stream; :class:`DamagedStream` when a damaged tile is reached.
    """
    stream = data if isinstance(data, Container) else container.read(data, limits)
    check_model(stream, model)
    header = stream.header
    y_shape, z_shape = _shapes(header.width, header.height, model)
    y_hat, z_hat = np.zeros(y_shape, dtype=np.int32), np.zeros(z_shape, dtype=np.int32)
    cuts = tile_cuts(header.width, header.height, header.tile, model)
    for number, (rows, columns, z_rows, z_columns) in enumerate(cuts):
        y_hat[:, rows, columns], z_hat[:, z_rows, z_columns] = decode_tile(stream, number, model, engine)
    names = (header.width, header.height, header.gray, header.quality, header.tile)
    return Latents(y_hat, z_hat, *names, model.name, model.fingerprint)


def coded_symbols(
    y: NDArray[Any], z: NDArray[Any], *, quality: int, model: EntropyModel, engine: ExactEngine
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """The symbols that one tile of these latents is coded as, and the table of each, both ``[n]``.

    For whoever fits tables or counts bits: ``model.tables.bits(*coded_symbols(...))`` is the ideal length.
    """
    taken: list[tuple[NDArray[np.int32], NDArray[np.uint8]]] = []
    z_hat = np.rint(z).astype(np.int32)

    def put(values: NDArray[np.int32], index: NDArray[np.uint8]) -> None:
        taken.append((values, index))

    code_groups(model.plan, Encode(model, engine, quality, z_hat, y, put, nearest))
    return np.concatenate([v for v, _ in taken]), np.concatenate([i for _, i in taken])


def _latent_crc(z: NDArray[np.int32], y: NDArray[np.int32]) -> int:
    return zlib.crc32(y.astype("<i4").tobytes(), zlib.crc32(z.astype("<i4").tobytes()))


def _shapes(
    width: int, height: int, model: EntropyModel
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Shapes of y and z for a picture of this size, padded to multiples of 64 pixels."""
    h, w = (-(-side // TILE_UNIT) * TILE_UNIT for side in (height, width))
    plan = model.plan
    y_shape = (plan.y_channels, h // plan.y_stride, w // plan.y_stride)
    return y_shape, (plan.z_channels, h // plan.z_stride, w // plan.z_stride)


def _check_shapes(y: NDArray[Any], z: NDArray[Any], width: int, height: int, model: EntropyModel) -> None:
    y_shape, z_shape = _shapes(width, height, model)
    if y.shape != y_shape or z.shape != z_shape:
        raise LatentsError(
            f"a {width}×{height} picture has latents y {list(y_shape)} and z {list(z_shape)} in model "
            f"{model.name}, not {list(y.shape)} and {list(z.shape)}. Pad it to multiples of {TILE_UNIT}."
        )


def tile_cuts(
    width: int, height: int, tile: int, model: EntropyModel
) -> list[tuple[slice, slice, slice, slice]]:
    """For every tile in coding order, the rows and columns of y and those of z."""
    plan = model.plan
    ry, rz = TILE_UNIT // plan.y_stride, TILE_UNIT // plan.z_stride
    return [
        (slice(t * ry, b * ry), slice(le * ry, r * ry), slice(t * rz, b * rz), slice(le * rz, r * rz))
        for t, b, le, r in tile_grid(width, height, tile)
    ]
