"""The faults of one batch, one in each lane, written into a program.

All flipped INIT bits of a LUT cost one operation over the few words that hold its lanes: with E the lanes
that have such a fault and A0…A5 the address bits of each lane's fault, ``out ^= E & ~(in0 ^ A0) & … & ~(in5 ^
A5)``.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bifocal.hardware.faults.engines.logic import COPY, MUX, NOT, decompose
from bifocal.hardware.faults.engines.program import FLIP_INIT, FORCE, XOR_MASKED, Program
from bifocal.hardware.faults.models import INIT, OPEN, STUCK, UPSET, Faults

Words = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class FaultBatch:
    """A program with up to 64 × ``words`` faults in it, each in a lane of its own.

    ``ops`` int32 ``[n, 5]``; ``rows`` int32 ``[m, 10]`` of a fault operation: where its masks begin in
    ``masks``, first and last word, number of inputs, six slots. ``segments`` int32 ``[chunks, 3]``: whether
    the chunk holds a fault, and its operations from–to. ``events`` int32 ``[e, 4]`` by step: step, slot,
    word, bit.
    """

    words: int
    lanes: int
    ops: NDArray[np.int32]
    rows: NDArray[np.int32]
    masks: Words
    segments: NDArray[np.int32]
    events: NDArray[np.int32]


def order_faults(program: Program, faults: Faults) -> NDArray[np.intp]:
    """An order in which faults of neighbouring nodes share a batch, so that few chunks of it hold any."""
    position = np.zeros(len(faults), np.int64)
    gate_end = np.array([*program.gate_end, *program.edge_op], np.int64)
    for kind in (INIT, OPEN):
        chosen = faults.kind == kind
        position[chosen] = gate_end[faults.target[chosen]]
    chosen = faults.kind == STUCK
    position[chosen] = [program.hold_at.get(int(net), 0) for net in faults.target[chosen]]
    return np.lexsort((faults.detail, faults.target, position, faults.kind))


class _Writer:
    """Collects masks, and the operations to insert by chunk and position."""

    def __init__(self, program: Program, words: int) -> None:
        self.program, self.words = program, words
        self.inserted: dict[int, list[tuple[int, list[int]]]] = {}
        self.rows: list[list[int]] = []
        self.masks: list[Words] = []
        self.size = 0
        self.moved: dict[int, int] = {}

    def behind(self, position: int, op: list[int]) -> None:
        """Insert behind operation ``position`` − 1, in its chunk."""
        chunk = max(0, bisect_left(self.program.chunks, position) - 1)
        self.inserted.setdefault(chunk, []).append((position, op))

    def before_edge(self, position: int, op: list[int]) -> None:
        """Insert before operation ``position`` of the clock edge."""
        chunk = bisect_right(self.program.chunks, position) - 1
        self.inserted.setdefault(chunk, []).append((position, op))

    def row(self, lanes: NDArray[np.intp], bits: list[NDArray[np.bool_]], slots: tuple[int, ...] = ()) -> int:
        """Masks over the words that ``lanes`` touch: one word row for each of ``bits``; returns the row."""
        first, last = int(lanes.min()) // 64, int(lanes.max()) // 64 + 1
        spread = np.zeros((len(bits), (last - first) * 64), np.uint8)
        spread[:, lanes - 64 * first] = bits
        table = np.packbits(spread, axis=1, bitorder="little").view("<u8").astype(np.uint64)
        self.rows.append([self.size, first, last, len(slots), *slots, *([0] * (6 - len(slots)))])
        self.masks.append(table.ravel())
        self.size += table.size
        return len(self.rows) - 1


def plan_batch(program: Program, faults: Faults, words: int, reset_cycles: int) -> FaultBatch:
    """Give every fault a lane, in order, and insert what it does into the program."""
    writer = _Writer(program, words)
    lanes = np.arange(len(faults))
    for target, chosen in _by_target(faults, INIT):
        slots = program.gate_inputs[target]
        address = faults.detail[chosen]
        bits = [np.ones(len(chosen), np.bool_)]
        bits += [(address >> i & 1).astype(np.bool_) for i in range(len(slots))]
        row = writer.row(lanes[chosen], bits, slots)
        end = program.gate_end[target]
        writer.behind(end, [FLIP_INIT, int(program.ops[end - 1, 1]), row, 0, 0])
    for net, chosen in _by_target(faults, STUCK):
        if net in program.hold_at:
            value = faults.detail[chosen].astype(np.bool_)
            row = writer.row(lanes[chosen], [~value, value])
            writer.behind(program.hold_at[net], [FORCE, program.net_slot[net], row, 0, 0])
    for target, chosen in _by_target(faults, OPEN):
        if target < len(program.gate_end):
            _open_gate(writer, target, lanes[chosen], faults.detail[chosen])
        else:
            _open_data(writer, target - len(program.gate_end), lanes[chosen], faults.detail[chosen])
    ops, segments = _assemble(program, writer)
    upset = np.flatnonzero(faults.kind == UPSET)
    slots_of = program.states[faults.target[upset]]
    events = np.stack([faults.detail[upset] + reset_cycles, slots_of, upset // 64, upset % 64], 1)
    return FaultBatch(
        words=words,
        lanes=len(faults),
        ops=ops,
        rows=np.array(writer.rows, np.int32).reshape(-1, 10),
        masks=np.concatenate([np.zeros(0, np.uint64), *writer.masks]),
        segments=segments,
        events=events[np.argsort(events[:, 0], kind="stable")].astype(np.int32),
    )


def _by_target(faults: Faults, kind: int) -> list[tuple[int, NDArray[np.intp]]]:
    chosen = np.flatnonzero(faults.kind == kind)
    chosen = chosen[np.argsort(faults.target[chosen], kind="stable")]
    targets, starts = np.unique(faults.target[chosen], return_index=True)
    return list(zip(targets.tolist(), np.split(chosen, starts[1:]), strict=True)) if len(chosen) else []


def _open_gate(writer: _Writer, gate: int, lanes: NDArray[np.intp], details: NDArray[np.int32]) -> None:
    """A cut input makes another table. Where the two differ is computed beside, from the same inputs."""
    program = writer.program
    slots, end = program.gate_inputs[gate], program.gate_end[gate]
    table, bits = program.gate_tables[gate], 1 << len(slots)
    for detail in np.unique(details).tolist():
        pin, value = divmod(detail, 2)
        cut = sum((table >> (a & ~(1 << pin) | value << pin) & 1) << a for a in range(bits))
        ops, result = decompose(table ^ cut, len(slots))
        if result == -1:
            continue
        where = [*slots, *range(program.scratch, program.scratch + len(ops))]
        for i, (code, *operands) in enumerate(ops):
            reads = operands[: 3 if code == MUX else 1 if code in (NOT, COPY) else 2]
            sources = [where[operand] for operand in reads]
            writer.behind(end, [code, where[len(slots) + i], *sources, *([0] * (3 - len(sources)))])
        chosen = lanes[details == detail]
        row = writer.row(chosen, [np.ones(len(chosen), np.bool_)])
        differs = 1 if result == -2 else where[result]
        writer.behind(end, [XOR_MASKED, int(program.ops[end - 1, 1]), row, differs, 0])


def _open_data(writer: _Writer, flipflop: int, lanes: NDArray[np.intp], details: NDArray[np.int32]) -> None:
    """The flip-flop reads a copy of its data that is forced in the lanes where it is cut."""
    program = writer.program
    position = program.edge_op[flipflop]
    data = int(program.ops[position, 2 if program.ops[position, 0] == COPY else 3])
    value = details.astype(np.bool_)
    row = writer.row(lanes, [~value, value])
    writer.before_edge(position, [COPY, program.scratch, data, 0, 0])
    writer.before_edge(position, [FORCE, program.scratch, row, 0, 0])
    writer.moved[position] = program.scratch


def _assemble(program: Program, writer: _Writer) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    pieces: list[NDArray[np.int32]] = []
    segments = []
    size = 0
    for chunk, (start, stop) in enumerate(zip(program.chunks[:-1], program.chunks[1:], strict=True)):
        begin = size
        at = start
        for position, op in sorted(writer.inserted.get(chunk, ()), key=lambda item: item[0]):
            pieces += [program.ops[at:position], np.array([op], np.int32)]
            size += position - at + 1
            at = position
        pieces.append(program.ops[at:stop])
        size += stop - at
        segments.append([chunk in writer.inserted, begin, size])
    ops = np.ascontiguousarray(np.concatenate(pieces))
    for position, slot in writer.moved.items():
        chunk = bisect_right(program.chunks, position) - 1
        shift = sum(1 for other, _ in writer.inserted[chunk] if other <= position)
        index = segments[chunk][1] + position - program.chunks[chunk] + shift
        ops[index, 2 if ops[index, 0] == COPY else 3] = slot
    return ops, np.array(segments, np.int32)
