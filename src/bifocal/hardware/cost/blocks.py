"""A quantised tensor in memory: blocks of rows, each in whole bursts, and an index to find them.

A block holds as many rows as the codec buffers, so a reader of some rows decodes few blocks: those of a tile
and of the halo around it. The index has 16 bits a block, its length in bursts; in front of it stands what
undoes the quantisation. Index and blocks begin at bursts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bifocal.errors import DamagedStream, LimitExceeded
from bifocal.hardware.cost.coders import Block, Coder
from bifocal.hardware.cost.constants import Memory
from bifocal.hardware.cost.quantise import Quantised


@dataclass(frozen=True)
class Stored:
    """A tensor ``shape`` [c, h, w] in memory, in blocks of ``rows`` rows. ``header`` is in bytes."""

    shape: tuple[int, int, int]
    depth: int
    rows: int
    blocks: tuple[bytes, ...]
    header: int
    side: int
    memory: Memory

    @property
    def index_bytes(self) -> int:
        """Bytes of index and quantiser, whole bursts."""
        return self.memory.whole_bursts(self.header + 2 * len(self.blocks))

    @property
    def block_bytes(self) -> list[int]:
        """What each block takes, whole bursts."""
        return [self.memory.whole_bursts(len(block)) for block in self.blocks]

    @property
    def bytes(self) -> int:
        """Everything, whole bursts: what is written, and read by who wants all."""
        return self.index_bytes + sum(self.block_bytes)

    @property
    def side_bytes(self) -> float:
        """How many of the bytes are index, quantiser, statistics of channels and filling of bursts."""
        filling = sum(self.block_bytes) - sum(len(block) for block in self.blocks)
        return self.index_bytes + filling + self.side * len(self.blocks) / 8

    def read_bytes(self, start: int, stop: int) -> int:
        """What a reader of rows ``start..stop`` transfers: index and the blocks that hold them."""
        return self.index_bytes + sum(self.block_bytes[start // self.rows : -(-stop // self.rows)])


def store(coder: Coder, tensor: Quantised, memory: Memory) -> Stored:
    """Write a tensor block by block.

    :raises LimitExceeded: if a block is longer than its index entry can say.
    """
    values = tensor.values
    channels, height, width = values.shape
    rows = min(memory.rows(channels, width), max(1, height))
    blocks = tuple(
        coder.encode(values[:, top : top + rows], tensor.depth, tensor.zero) for top in range(0, height, rows)
    )
    if any(memory.whole_bursts(len(block)) // memory.burst >> 16 for block in blocks):
        raise LimitExceeded("a block of activations takes 65,536 bursts or more. Take smaller blocks.")
    side = coder.side_bits(channels, tensor.depth)
    shape = (channels, height, width)
    return Stored(shape, tensor.depth, rows, blocks, -(-tensor.header_bits // 8), side, memory)


def load(coder: Coder, stored: Stored, start: int = 0, stop: int | None = None) -> Block:
    """Rows ``start..stop`` of a stored tensor, from the blocks that hold them alone: ``[c, rows, w]``.

    :raises DamagedStream: if a block is not what the coder wrote.
    """
    channels, height, width = stored.shape
    stop = height if stop is None else stop
    if not 0 <= start <= stop <= height:
        raise DamagedStream(f"rows {start} to {stop} are not in a tensor of {height}.")
    first, last = start // stored.rows, -(-stop // stored.rows)
    parts = [
        coder.decode(
            stored.blocks[i], (channels, min(stored.rows, height - i * stored.rows), width), stored.depth
        )
        for i in range(first, last)
    ]
    if not parts:
        return np.empty((channels, 0, width), np.uint16)
    above = start - first * stored.rows
    return np.concatenate(parts, axis=1)[:, above : above + stop - start]
