"""Latents ⇄ stream: two drivers for the one group loop, tile by tile, and the model that they share.

Encoding takes float latents or, packing again, decoded ones; both run the loop that decoding runs, on the
same integers, so a decoder can only agree. Float values enter at one place, ``_Encode.code``, where a symbol
is rounded. Tiles are coded independently: contexts end at their edges, and one damaged tile says which it is.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import DamagedStream, LatentsError, ModelMissing
from bifocal.stream import container
from bifocal.stream.coder import TileDecoder, TileEncoder
from bifocal.stream.container import Container, Header, tile_grid
from bifocal.stream.exact import Backend
from bifocal.stream.limits import DEFAULT_LIMITS, MAX_SYMBOL, TILE_UNIT, Limits
from bifocal.stream.model import EntropyModel
from bifocal.stream.plan import Group, code_groups, group_mask
from bifocal.types import Latents

__all__ = ["EntropyModel", "coded_symbols", "encode_latents", "pack", "unpack"]


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
    backend: Backend,
    metadata: Mapping[str, bytes] | None = None,
) -> tuple[bytes, Latents]:
    """Quantise and code float latents; return the stream and the latents that it decodes to.

    ``y`` ``[c, h, w]`` (already multiplied by the quality's gain) and ``z`` ``[c, h, w]`` cover the picture
    padded to multiples of 64 pixels. ``tile`` is the side of a tile in pixels, a multiple of 64.

    Raises :class:`LatentsError` if their shapes do not belong to the picture and the model, or a value is not
    finite or beyond ±2^24; :class:`OptionError` for a size, quality, tile or metadata that cannot be written.

    >>> from bifocal.stream.exact import NumpyBackend
    >>> model, backend = EntropyModel.load("tests/conformance/golden/tiny-1/model"), NumpyBackend()
    >>> y, z = np.full((16, 4, 4), 0.7), np.zeros((4, 1, 1))
    >>> size = {"width": 50, "height": 64, "gray": False, "quality": 60, "tile": 64}
    >>> data, latents = encode_latents(y, z, **size, model=model, backend=backend)
    >>> unpack(data, model, backend) == latents, pack(latents, model, backend) == data
    (True, True)
    """
    container.check_options(width, height, quality, tile)
    _check_shapes(y, z, width, height, model)
    if not (np.isfinite(y).all() and np.isfinite(z).all() and np.abs(z).max() <= MAX_SYMBOL):
        raise LatentsError("the analysis network gave a value that is not finite. Check it: bifocal doctor.")
    y_hat = np.zeros(y.shape, dtype=np.int32)
    z_hat = np.rint(z).astype(np.int32)
    tiles = []
    for rows, columns, z_rows, z_columns in _cuts(width, height, tile, model):
        z_tile = np.ascontiguousarray(z_hat[:, z_rows, z_columns])
        coder = TileEncoder(model.tables)
        y_tile = code_groups(
            model.plan, _Encode(model, backend, quality, z_tile, y[:, rows, columns], coder.put)
        )
        y_hat[:, rows, columns] = y_tile
        tiles.append((coder.finish(), _latent_crc(z_tile, y_tile)))
    header = Header(model.wire_id, model.fingerprint, model.release, width, height, gray, quality, tile)
    latents = Latents(y_hat, z_hat, width, height, gray, quality, tile, model.name, model.fingerprint)
    return container.write(header, metadata or {}, tiles), latents


def pack(
    latents: Latents,
    model: EntropyModel,
    backend: Backend,
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
        backend=backend,
        metadata=metadata,
    )
    if again != latents:
        raise LatentsError("these latents were changed after they were decoded; no stream decodes to them.")
    return data


def unpack(
    data: bytes | memoryview | Container,
    model: EntropyModel,
    backend: Backend,
    limits: Limits = DEFAULT_LIMITS,
) -> Latents:
    """Decode a stream, or a :class:`Container` read from one, to its latents, the same on every machine.

    Raises a :class:`StreamError` if header or index are wrong, before any network runs; :class:`ModelMissing`
    if another model made the stream; :class:`DamagedStream` when a damaged tile is reached.
    """
    box = data if isinstance(data, Container) else container.read(data, limits)
    header = box.header
    if header.fingerprint != model.fingerprint or header.wire_id != model.wire_id:
        raise ModelMissing(header.wire_id, header.fingerprint, header.release)
    y_shape, z_shape = _shapes(header.width, header.height, model)
    y_hat, z_hat = np.zeros(y_shape, dtype=np.int32), np.zeros(z_shape, dtype=np.int32)
    cuts = _cuts(header.width, header.height, header.tile, model)
    for number, (rows, columns, z_rows, z_columns) in enumerate(cuts):
        coder = TileDecoder(box.payload(number), model.tables)
        z_tile = _decode_z(coder, z_hat[:, z_rows, z_columns].shape, model, header.quality)
        y_tile = code_groups(model.plan, _Decode(model, backend, header.quality, z_tile, coder))
        coder.finish()
        if _latent_crc(z_tile, y_tile) != box.tiles[number].latent_crc:
            raise DamagedStream(
                f"tile {number} of {len(box.tiles)} decodes to other latents than were encoded. If the "
                "file is intact, this machine computes wrongly: run bifocal doctor."
            )
        z_hat[:, z_rows, z_columns], y_hat[:, rows, columns] = z_tile, y_tile
    names = (header.width, header.height, header.gray, header.quality, header.tile)
    return Latents(y_hat, z_hat, *names, model.name, model.fingerprint)


def coded_symbols(
    y: NDArray[Any], z: NDArray[Any], *, quality: int, model: EntropyModel, backend: Backend
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """The symbols that one tile of these latents is coded as, and the table of each, both ``[n]``.

    For whoever fits tables or counts bits: ``model.tables.bits(*coded_symbols(...))`` is the ideal length.
    """
    taken: list[tuple[NDArray[np.int32], NDArray[np.uint8]]] = []
    z_hat = np.rint(z).astype(np.int32)
    code_groups(model.plan, _Encode(model, backend, quality, z_hat, y, lambda *group: taken.append(group)))
    return np.concatenate([v for v, _ in taken]), np.concatenate([i for _, i in taken])


class _Pass:
    """What encoding and decoding share: the hyper features, and predicting a group from those before it."""

    def __init__(self, model: EntropyModel, backend: Backend, quality: int, z: NDArray[np.int32]) -> None:
        self.model, self.backend, self.quality = model, backend, quality
        features = backend(model.hyper, z, quality)
        self._features = len(features)
        # One canvas of predictor inputs: features, then contexts, zero until their group is decoded.
        self._inputs = np.zeros((self._features + model.plan.y_channels, *features.shape[1:]), dtype=np.int32)
        self._inputs[: self._features] = features

    def start(self) -> NDArray[np.int32]:
        return np.zeros((self.model.plan.y_channels, *self._inputs.shape[1:]), dtype=np.int32)

    def predict(self, k: int, group: Group, decoded: Any) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        outputs = self.backend(self.model.predictors[k], self._inputs, self.quality)
        index = np.clip(outputs[group.channels :], 0, self.model.tables.count - 1).astype(np.uint8)
        return outputs[: group.channels], index

    def _settle(
        self, group: Group, decoded: NDArray[np.int32], q: NDArray[np.int32], mu: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        """Write the group's ``q·2^f + mu`` onto the canvas and its context into the predictors' input."""
        plan = self.model.plan
        where = _positions(group, *decoded.shape[1:])
        channels = decoded[group.start : group.stop]
        channels.reshape(-1)[where] = (q << plan.fraction) + mu
        half = (1 << plan.context_shift) >> 1
        context = np.clip((channels + half) >> plan.context_shift, -plan.context_max, plan.context_max)
        first = self._features + group.start
        self._inputs[first : first + group.channels] = context
        return decoded


class _Encode(_Pass):
    """Puts z, then rounds and puts the symbols of each group, with their tables."""

    def __init__(
        self,
        model: EntropyModel,
        backend: Backend,
        quality: int,
        z: NDArray[np.int32],
        y: NDArray[Any],
        put: Callable[[NDArray[np.int32], NDArray[np.uint8]], None],
    ) -> None:
        super().__init__(model, backend, quality, z)
        self._y, self._put = y, put
        put(z.reshape(-1), _z_index(z.shape, model, quality))

    def code(self, group: Group, mu: Any, index: Any, decoded: Any) -> NDArray[np.int32]:
        where = _positions(group, *decoded.shape[1:])
        y = self._y[group.start : group.stop].reshape(-1)[where]
        mu, index = mu.reshape(-1)[where], index.reshape(-1)[where]
        q = np.rint(y.astype(np.float64) - mu / float(1 << self.model.plan.fraction))
        if q.size and np.abs(q).max() > MAX_SYMBOL:
            raise LatentsError(
                f"a latent is beyond ±{MAX_SYMBOL}: the analysis diverged. Run bifocal doctor."
            )
        coded = index >= self.model.plan.skip
        symbols = np.where(coded, q, 0).astype(np.int32)
        self._put(symbols[coded], index[coded])
        return self._settle(group, decoded, symbols, mu)


class _Decode(_Pass):
    """Takes the symbols of each group from the coder."""

    def __init__(
        self, model: EntropyModel, backend: Backend, quality: int, z: NDArray[np.int32], coder: TileDecoder
    ) -> None:
        super().__init__(model, backend, quality, z)
        self._coder = coder

    def code(self, group: Group, mu: Any, index: Any, decoded: Any) -> NDArray[np.int32]:
        where = _positions(group, *decoded.shape[1:])
        mu, index = mu.reshape(-1)[where], index.reshape(-1)[where]
        coded = index >= self.model.plan.skip
        symbols = np.zeros(len(where), dtype=np.int32)
        symbols[coded] = self._coder.take(index[coded])
        return self._settle(group, decoded, symbols, mu)


@lru_cache(maxsize=16)  # two shapes of tile at once; up to 6 MiB each
def _positions(group: Group, h: int, w: int) -> NDArray[np.intp]:
    """Flat positions of a group's symbols in ``[group.channels, h, w]``, in C order."""
    where = np.flatnonzero(group_mask(group, h, w))
    where.flags.writeable = False
    return where


def _z_index(shape: tuple[int, ...], model: EntropyModel, quality: int) -> NDArray[np.uint8]:
    return np.repeat(model.z_index[quality - 1].astype(np.uint8), shape[1] * shape[2])


def _decode_z(
    coder: TileDecoder, shape: tuple[int, ...], model: EntropyModel, quality: int
) -> NDArray[np.int32]:
    return coder.take(_z_index(shape, model, quality)).reshape(shape)


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


def _cuts(width: int, height: int, tile: int, model: EntropyModel) -> list[tuple[slice, slice, slice, slice]]:
    """For every tile in coding order, the rows and columns of y and those of z."""
    plan = model.plan
    ry, rz = TILE_UNIT // plan.y_stride, TILE_UNIT // plan.z_stride
    return [
        (slice(t * ry, b * ry), slice(le * ry, r * ry), slice(t * rz, b * rz), slice(le * rz, r * rz))
        for t, b, le, r in tile_grid(width, height, tile)
    ]
