"""Coders of activations: a block of a quantised tensor to bytes and back, bit for bit.

A block is what a codec in front of a memory can buffer: some rows of all channels, uint16 ``[c, h, w]`` with
values below 2^depth. Its side information is inside its bytes.

From the paper (arXiv 2309.02855; as its public code has them): exponential Golomb around the median of each
channel, sparse exponential Golomb, exponential Golomb of order 4, and a Gaussian for each channel. Ours: the
fold that wastes no codeword, an order for each channel, statistics of each block in place of each picture,
means of ``depth`` and deviations of 6 bits in place of two floats, and the coder of Bifocal's streams.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import DamagedStream, OptionError, StreamError, ToolError, install_command

Block = NDArray[np.uint16]

#: Deviations of the Gaussian coder: 6 bits of a ladder.
DEVIATIONS, SMALLEST, LARGEST = 64, 0.11, 512.0
#: The order of plain exponential Golomb, as published.
PLAIN_ORDER = 4


class Coder(Protocol):
    """Blocks of activations to bytes and back. ``name`` is how it is chosen; ``title`` what reports say."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...

    def encode(self, block: Block, depth: int, zero: int = 0) -> bytes:
        """The bytes of a block uint16 ``[c, h, w]`` of values below 2^depth; ``zero`` is the value that
        stands for 0.0, a hint."""

    def decode(self, data: bytes, shape: tuple[int, int, int], depth: int) -> Block:
        """The block again.

        :raises DamagedStream: if these are not the bytes of one of this shape.
        """

    def side_bits(self, channels: int, depth: int) -> int:
        """How many of a block's bits are side information."""


class Raw:
    """Every value in ``depth`` bits: what an integer network without a coder would write."""

    name, title = "raw", "integers, not coded"

    def encode(self, block: Block, depth: int, zero: int = 0) -> bytes:
        return _fields(block.ravel(), depth)

    def decode(self, data: bytes, shape: tuple[int, int, int], depth: int) -> Block:
        return _read_fields(data, math.prod(shape), depth)[0].reshape(shape)

    def side_bits(self, channels: int, depth: int) -> int:
        return 0


class _Golomb:
    """What the exponential-Golomb coders share: a compiled writer and reader of a block."""

    name = title = ""

    def encode(self, block: Block, depth: int, zero: int = 0) -> bytes:
        from bifocal.hardware.cost.bitcodes import LONGEST

        flat = np.ascontiguousarray(block.reshape(len(block), -1))
        out = np.zeros((LONGEST * flat.size + 20 * len(block) + 64) // 8, np.uint8)
        return out[: -(-self._write(flat, depth, zero, out) // 8)].tobytes()

    def decode(self, data: bytes, shape: tuple[int, int, int], depth: int) -> Block:
        q = np.empty((shape[0], shape[1] * shape[2]), np.uint16)
        used = self._read(np.frombuffer(data, np.uint8), depth, q)
        _check_end(data, used, self.title)
        return q.reshape(shape)

    def _write(self, flat: Any, depth: int, zero: int, out: Any) -> int:
        """Write the block's channels ``flat`` into ``out``; how many bits. Each coder writes its own."""
        raise NotImplementedError

    def _read(self, data: Any, depth: int, q: Any) -> int:
        """Fill ``q`` from ``data``; how many bytes were used. Each coder reads its own."""
        raise NotImplementedError


class SymmetricGolomb(_Golomb):
    """Exponential Golomb of the distance from the channel's median, with an order for each channel.

    >>> coder, block = SymmetricGolomb(), np.array([[[7, 8, 7, 6]]], np.uint16)
    >>> coder.encode(block, 8).hex(), coder.decode(coder.encode(block, 8), (1, 1, 4), 8).tolist()
    ('071560', [[[7, 8, 7, 6]]])
    """

    name, title = "symmetric", "exponential Golomb around the median"

    def _write(self, flat: Any, depth: int, zero: int, out: Any) -> int:
        from bifocal.hardware.cost.bitcodes import write_symmetric

        return int(write_symmetric(flat, depth, out))

    def _read(self, data: Any, depth: int, q: Any) -> int:
        from bifocal.hardware.cost.bitcodes import read_symmetric

        return int(read_symmetric(data, depth, q))

    def side_bits(self, channels: int, depth: int) -> int:
        return channels * (depth + 3)


class SparseGolomb(_Golomb):
    """One bit for zero, a flag and exponential Golomb for any other value: for outputs of ReLUs."""

    name, title = "sparse", "sparse exponential Golomb"

    def _write(self, flat: Any, depth: int, zero: int, out: Any) -> int:
        from bifocal.hardware.cost.bitcodes import write_sparse

        return int(write_sparse(flat, depth, zero, out))

    def _read(self, data: Any, depth: int, q: Any) -> int:
        from bifocal.hardware.cost.bitcodes import read_sparse

        return int(read_sparse(data, depth, q))

    def side_bits(self, channels: int, depth: int) -> int:
        return depth + 1 + 3 * channels


class PlainGolomb(_Golomb):
    """Exponential Golomb of order 4 of the values as they are: a control."""

    name, title = "plain", "exponential Golomb of order 4"

    def _write(self, flat: Any, depth: int, zero: int, out: Any) -> int:
        from bifocal.hardware.cost.bitcodes import write_plain

        return int(write_plain(flat, PLAIN_ORDER, out))

    def _read(self, data: Any, depth: int, q: Any) -> int:
        from bifocal.hardware.cost.bitcodes import read_plain

        return int(read_plain(data, depth, PLAIN_ORDER, q))

    def side_bits(self, channels: int, depth: int) -> int:
        return 0


class Gaussian:
    """A Gaussian for each channel, by the block's own mean and deviation, and the coder of streams.

    Side information: ``depth`` bits of mean and 6 bits of deviation a channel.
    """

    name, title = "gaussian", "Gaussian for each channel"

    def encode(self, block: Block, depth: int, zero: int = 0) -> bytes:
        from bifocal.stream.coder import TileEncoder

        flat = block.reshape(len(block), -1)
        mean = np.rint(flat.mean(1)).astype(np.uint16)
        ratio = math.log(LARGEST / SMALLEST)
        deviation = np.maximum(flat.std(1), SMALLEST)
        index = np.rint(np.log(deviation / SMALLEST) / ratio * (DEVIATIONS - 1))
        index = np.clip(index, 0, DEVIATIONS - 1).astype(np.uint8)
        side = _fields(mean, depth) + _fields(index.astype(np.uint16), 6)
        encoder = TileEncoder(_gaussians())
        order = np.argsort(index, kind="stable")  # so that the coder finds its symbols sorted
        centred = flat[order].astype(np.int32) - mean[order, None]
        encoder.put(centred.ravel(), np.repeat(index[order], flat.shape[1]))
        return side + encoder.finish()

    def decode(self, data: bytes, shape: tuple[int, int, int], depth: int) -> Block:
        from bifocal.stream.coder import TileDecoder

        channels, values = shape[0], shape[1] * shape[2]
        mean, used = _read_fields(data, channels, depth)
        index, more = _read_fields(data[used:], channels, 6)
        order = np.argsort(index, kind="stable")
        try:
            decoder = TileDecoder(data[used + more :], _gaussians())
            centred = decoder.take(np.repeat(index[order].astype(np.uint8), values)).reshape(channels, values)
            decoder.finish()
        except StreamError as error:
            raise DamagedStream(f"a block of activations is damaged: {error}") from error
        result = np.empty((channels, values), np.int64)
        result[order] = centred + mean[order, None].astype(np.int64)
        return _within(result, depth).reshape(shape)

    def side_bits(self, channels: int, depth: int) -> int:
        return 8 * (-(-channels * depth // 8) + -(-channels * 6 // 8))


class Library:
    """A general compressor of the integers as bytes: what people would use otherwise."""

    def __init__(self, name: str) -> None:
        if name not in ("zstd", "lz4"):
            raise OptionError(f"there is no compressor {name!r}; choose zstd or lz4.")
        self.name, self.title = name, f"{name} of the integers"

    def encode(self, block: Block, depth: int, zero: int = 0) -> bytes:
        data = block.astype(np.uint8 if depth <= 8 else "<u2").tobytes()
        if self.name == "zstd":
            packed: bytes = _library("zstandard").ZstdCompressor(write_checksum=False).compress(data)
        else:
            packed = _library("lz4.block").compress(data, store_size=False)
        return packed

    def decode(self, data: bytes, shape: tuple[int, int, int], depth: int) -> Block:
        kind = np.dtype(np.uint8 if depth <= 8 else "<u2")
        size = math.prod(shape) * kind.itemsize
        try:
            if self.name == "zstd":
                plain = _library("zstandard").ZstdDecompressor().decompress(data, max_output_size=size)
            else:
                plain = _library("lz4.block").decompress(data, uncompressed_size=size)
            values = np.frombuffer(plain, kind).reshape(shape)
        except ToolError:
            raise
        except Exception as error:  # the libraries' own kinds of error
            raise DamagedStream(f"a block of activations is damaged: {error}.") from error
        return _within(values, depth)

    def side_bits(self, channels: int, depth: int) -> int:
        return 0


#: All coders by name, in the order of reports.
CODERS: dict[str, Coder] = {
    coder.name: coder
    for coder in (
        Raw(),
        PlainGolomb(),
        SparseGolomb(),
        SymmetricGolomb(),
        Gaussian(),
        Library("zstd"),
        Library("lz4"),
    )
}


def available_coders() -> tuple[Coder, ...]:
    """Those whose libraries are installed."""
    from importlib.util import find_spec

    missing = {name for name, module in (("zstd", "zstandard"), ("lz4", "lz4")) if find_spec(module) is None}
    return tuple(coder for name, coder in CODERS.items() if name not in missing)


def find_coders(names: str) -> tuple[Coder, ...]:
    """Coders by their names with commas between them, or all that are installed for ``all``.

    :raises OptionError: if there is none of a name.

    >>> [coder.name for coder in find_coders("raw,symmetric")]
    ['raw', 'symmetric']
    """
    if names == "all":
        return available_coders()
    wanted = [name.strip() for name in names.split(",")]
    unknown = [name for name in wanted if name not in CODERS]
    if unknown:
        raise OptionError(f"there is no coder '{unknown[0]}'. There are {', '.join(CODERS)}; all means all.")
    return tuple(CODERS[name] for name in dict.fromkeys(wanted))


@lru_cache(maxsize=1)
def _gaussians() -> Any:
    from bifocal.stream.tables import gaussian_tables, scale_ladder

    return gaussian_tables(scale_ladder(DEVIATIONS, SMALLEST, LARGEST))


def _fields(values: NDArray[Any], width: int) -> bytes:
    from bifocal.hardware.cost.bitcodes import write_fields

    out = np.zeros(-(-len(values) * width // 8), np.uint8)
    write_fields(np.ascontiguousarray(values), width, out)
    return out.tobytes()


def _read_fields(data: bytes, count: int, width: int) -> tuple[Block, int]:
    """``count`` values of ``width`` bits, and the bytes that they take."""
    from bifocal.hardware.cost.bitcodes import read_fields

    values = np.empty(count, np.uint16)
    used = read_fields(np.frombuffer(data, np.uint8), width, values)
    if used < 0:
        raise DamagedStream("a block of activations ends too early: it is damaged.")
    return values, -(-used // 8)


def _check_end(data: bytes, used: int, what: str) -> None:
    if used < 0 or -(-used // 8) != len(data):
        raise DamagedStream(f"these bytes are no block of activations in {what}: they are damaged.")


def _within(values: NDArray[Any], depth: int) -> Block:
    """Integers as a block's values.

    :raises DamagedStream: if one is beyond the depth.
    """
    if values.size and (values.min() < 0 or values.max() >> depth):
        raise DamagedStream("a block of activations has values beyond its depth: it is damaged.")
    return values.astype(np.uint16)


def _library(module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise ToolError(
            f"the coder needs the package {module.split('.')[0]}, which is not here. Run: "
            f"{install_command('bench')}"
        ) from error
