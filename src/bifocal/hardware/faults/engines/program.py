"""A netlist as a straight list of word operations over slots: what both fast engines run.

A slot holds a net in every lane (one faulty copy of the circuit), 64 lanes a word. Slots 0 and 1 are the
constants; a flip-flop keeps its slot, other nets share slots once they are not read any more. A cycle is:
inputs into their slots; asynchronous controls that ports drive; all gates; here outputs are compared; then
the clock edge. The list is cut into chunks: the engine that generates code replaces whole chunks, and both
insert the faults of a batch behind the nodes that have them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bifocal.hardware.circuits.elements import ONE, ZERO, FlipFlop
from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.faults.engines.logic import ANDN, COPY, MUX, NOT, OR, decompose

#: Skip the next ``b`` operations if slot ``a`` is 0 everywhere: an inactive reset costs nothing.
SKIP = 11
#: Fault operations; operand ``a`` is a row of the batch's table of masks.
FLIP_INIT, FORCE, XOR_MASKED = 12, 13, 14

#: Slots for what a fault computes besides.
SCRATCH = 64
CHUNK_OPS = 160


@dataclass(frozen=True, eq=False)
class Program:
    """Operations ``ops`` int32 ``[n, 5]``: code, target slot, operands a, b, c.

    Positions count operations. ``chunks`` are the positions where chunks begin, and the end; outputs are
    compared before chunk ``compare_chunk``, at position ``compare_at``: the clock edge follows.
    ``gate_end[i]`` is the position right behind gate i, where ``gate_inputs[i]`` are the slots of its inputs;
    ``hold_at[net]`` is the position from which the net has its value, in slot ``net_slot[net]``;
    ``edge_op[j]`` moves the data of flip-flop j.
    """

    ops: NDArray[np.int32]
    slots: int
    scratch: int
    chunks: tuple[int, ...]
    compare_at: int
    compare_chunk: int
    inputs: NDArray[np.int32]
    outputs: NDArray[np.int32]
    states: NDArray[np.int32]
    gate_end: tuple[int, ...]
    gate_inputs: tuple[tuple[int, ...], ...]
    gate_tables: tuple[int, ...]
    net_slot: tuple[int, ...]
    hold_at: dict[int, int]
    edge_op: tuple[int, ...]

    def live_at_ends(self) -> list[frozenset[int]]:
        """For every chunk, the slots whose value is read after it."""
        state = set(self.states.tolist())
        reads: dict[int, set[int]] = {self.compare_at: set(self.outputs.tolist())}
        for position, slots in zip(self.gate_end, self.gate_inputs, strict=True):
            reads.setdefault(position, set()).update(slots)  # a fault may need what the table ignores
        live, found = set(state), {}
        ops = self.ops.tolist()
        for position in range(len(ops), -1, -1):
            if position < len(ops):
                code, target, *operands = ops[position]
                if code == SKIP:
                    live.add(operands[0])
                else:
                    live.discard(target)
                    live.update(operands[: 3 if code == MUX else 1 if code in (NOT, COPY) else 2])
            live |= reads.get(position, set())
            if position in self.chunks:
                found[position] = frozenset(live)
        return [found[position] for position in self.chunks[1:]]


def lower(netlist: Netlist) -> Program:
    """Turn a netlist into a program.

    >>> from bifocal.hardware.circuits.netlist import build_netlist
    >>> from bifocal.hardware.circuits.elements import FlipFlop, Gate, Port
    >>> toggle = build_netlist(
    ...     "toggle", nets=["0", "1", "clk", "q", "d"],
    ...     inputs=[Port("clk", (2,))], outputs=[Port("q", (3,))], clock=2,
    ...     gates=[Gate("inv", "LUT1", (3,), 4, 0b01)], flipflops=[FlipFlop("ff", "FDRE", 4, 3)],
    ... )
    >>> lower(toggle).ops.tolist()  # slot 3 = not slot 2; slot 2 = slot 3
    [[8, 3, 2, 0, 0], [10, 2, 3, 0, 0]]
    """
    return _Lowering(netlist).program()


class _Lowering:
    """Emits the operations of a cycle in order, and remembers where each gate and net is computed."""

    def __init__(self, netlist: Netlist) -> None:
        self.netlist = netlist
        self.ops: list[list[int]] = []
        self.slot = {ZERO: ZERO, ONE: ONE}
        self.count = 2
        self.free: list[int] = []
        self.kept: dict[int, int] = {}
        self.last_use = self._last_uses()
        self.ports = {net for _, net in netlist.driven}
        self.hold_at = dict.fromkeys(self.ports, 0)
        self.gate_end = [0] * len(netlist.gates)
        self.gate_inputs: list[tuple[int, ...]] = [()] * len(netlist.gates)

    def program(self) -> Program:
        netlist = self.netlist
        for net in [f.output for f in netlist.flipflops] + [net for _, net in netlist.driven]:
            self.slot[net] = self._take()
        early = [f for f in netlist.flipflops if not self._is_late(f)]
        self._force_groups([f for f in early if f.asynchronous and f.control != ZERO])
        self.hold_at |= {f.output: len(self.ops) for f in early}
        chunks = [0, len(self.ops)]
        for position, node in enumerate(netlist.schedule):
            self._node(position, node)
            if len(self.ops) - chunks[-1] >= CHUNK_OPS:
                chunks.append(len(self.ops))
        compare_at = len(self.ops)
        if chunks[-1] != compare_at:
            chunks.append(compare_at)
        compare_chunk = len(chunks) - 1
        edges = self._clock_edge()
        if len(self.ops) > compare_at:
            chunks.append(len(self.ops))
        return Program(
            ops=np.array(self.ops, np.int32).reshape(-1, 5),
            slots=self.count + SCRATCH,
            scratch=self.count,
            chunks=tuple(chunks),
            compare_at=compare_at,
            compare_chunk=compare_chunk,
            inputs=self._slots_of(net for _, net in netlist.driven),
            outputs=self._slots_of(net for _, net in netlist.compared),
            states=self._slots_of(f.output for f in netlist.flipflops),
            gate_end=tuple(self.gate_end),
            gate_inputs=tuple(self.gate_inputs),
            gate_tables=tuple(gate.table for gate in netlist.gates),
            net_slot=tuple(self.slot.get(net, ZERO) for net in range(len(netlist.nets))),
            hold_at=self.hold_at,
            edge_op=edges,
        )

    def _node(self, position: int, node: int) -> None:
        """Emit one node of the schedule; slots whose last reader it is become free."""
        if node < len(self.netlist.gates):
            gate = self.netlist.gates[node]
            self.gate_inputs[node] = tuple(self.slot[net] for net in gate.inputs)
            self._gate(node)
            self.gate_end[node] = self.hold_at[gate.output] = len(self.ops)
            read = dict.fromkeys(gate.inputs)
        else:
            flipflop = self.netlist.flipflops[node - len(self.netlist.gates)]
            if self._is_late(flipflop):
                self._force(flipflop)
                self.hold_at[flipflop.output] = len(self.ops)
            read = dict.fromkeys([flipflop.control])
        for net in read:
            if self.last_use.get(net, -1) == position:
                self.free.append(self.slot[net])

    def _slots_of(self, nets: Iterable[int]) -> NDArray[np.int32]:
        return np.array([self.slot[net] for net in nets], np.int32)

    def _is_late(self, flipflop: FlipFlop) -> bool:
        """Whether logic drives the asynchronous control, so that the output waits for it."""
        control = flipflop.control
        return flipflop.asynchronous and control > ONE and control not in self.ports

    def _last_uses(self) -> dict[int, int]:
        """The position in the schedule of the last reader of each net whose slot may be reused."""
        netlist = self.netlist
        last: dict[int, int] = {}
        for position, node in enumerate(netlist.schedule):
            if node < len(netlist.gates):
                last |= dict.fromkeys(netlist.gates[node].inputs, position)
                last.setdefault(netlist.gates[node].output, len(netlist.schedule))
            else:
                last[netlist.flipflops[node - len(netlist.gates)].control] = position
        forever = {ZERO, ONE, *(net for _, net in netlist.compared)}
        for f in netlist.flipflops:
            forever |= {f.output, f.data, f.enable, f.control}
        return {net: use for net, use in last.items() if net not in forever}

    def _take(self) -> int:
        if self.free:
            return self.free.pop()
        self.count += 1
        return self.count - 1

    def _put(self, code: int, target: int, a: int, b: int = 0, c: int = 0) -> None:
        self.ops.append([code, target, a, b, c])

    def _gate(self, node: int) -> None:
        gate = self.netlist.gates[node]
        target = self._take()
        table, nets = gate.table, list(gate.inputs)
        for i in reversed(range(len(nets))):
            if nets[i] <= ONE:  # a tied input: half of the table is never read
                table = _fix(table, len(nets), i, nets[i])
                del nets[i]
        self.slot[gate.output] = target
        self._compute(table, [self.slot[net] for net in nets], target)

    def _compute(self, table: int, inputs: list[int], target: int) -> None:
        """Emit a truth table; slots for values in between are reused."""
        ops, result = decompose(table, len(inputs))
        if result < len(inputs):
            self._put(COPY, target, inputs[result] if result >= 0 else (ZERO if result == -1 else ONE))
            return
        last = {operand: i for i, (code, *operands) in enumerate(ops) for operand in operands[: _reads(code)]}
        slots = list(inputs)
        for i, (code, *operands) in enumerate(ops):
            read = operands[: _reads(code)]
            sources = [slots[operand] for operand in read]
            # never onto an operand: a loop that writes what it reads is not vectorised
            slots.append(target if i == len(ops) - 1 else self._take())
            self._put(code, slots[-1], *sources)
            for operand in dict.fromkeys(read):
                if operand >= len(inputs) and last[operand] == i:
                    self.free.append(slots[operand])

    def _force(self, flipflop: FlipFlop) -> None:
        slot, control = self.slot[flipflop.output], self._old(flipflop.control)
        self._put(OR if flipflop.value else ANDN, slot, slot, control)

    def _force_groups(self, flipflops: Iterable[FlipFlop]) -> None:
        """Force flip-flops by their controls, those of one control together, skipped while it is 0."""
        groups: dict[int, list[FlipFlop]] = {}
        for flipflop in flipflops:
            groups.setdefault(flipflop.control, []).append(flipflop)
        for control, members in groups.items():
            if len(members) > 1 and control != ONE:
                self._put(SKIP, 0, self._old(control), len(members))
            for flipflop in members:
                self._force(flipflop)

    def _clock_edge(self) -> tuple[int, ...]:
        """Move data into every flip-flop, each before what it reads is overwritten."""
        flipflops = self.netlist.flipflops
        owner = {f.output: j for j, f in enumerate(flipflops)}
        for control in dict.fromkeys(f.control for f in flipflops if f.control in owner):
            self._keep(control)  # controls are read after the data have moved
        reads = [
            [owner[net] for net in {f.data, f.enable} if net in owner and net != f.output] for f in flipflops
        ]
        moved_at = [0] * len(flipflops)
        for j, read_later in _moves(reads):
            if read_later:
                self._keep(flipflops[j].output)
            moved_at[j] = self._edge(flipflops[j])
        self._force_groups(f for f in flipflops if f.control != ZERO)
        return tuple(moved_at)

    def _edge(self, flipflop: FlipFlop) -> int:
        slot, data, enable = self.slot[flipflop.output], self._old(flipflop.data), self._old(flipflop.enable)
        if flipflop.enable == ONE:
            self._put(COPY, slot, data)
        else:
            self._put(MUX, slot, slot, data, enable)
        return len(self.ops) - 1

    def _old(self, net: int) -> int:
        """The slot of the value from before the clock edge."""
        return self.kept.get(net, self.slot[net])

    def _keep(self, net: int) -> None:
        if net not in self.kept:
            self.kept[net] = self._take()
            self._put(COPY, self.kept[net], self.slot[net])


def _moves(reads: list[list[int]]) -> Iterator[tuple[int, bool]]:
    """An order in which flip-flops can take their data, where flip-flop j reads those in ``reads[j]``.

    Each comes after all that read it. Where they read each other in a ring one must come first; it is marked
    True, and its old value has to be kept for those that read it later.

    >>> list(_moves([[1], [], [0, 1]]))
    [(2, False), (0, False), (1, False)]
    >>> list(_moves([[1], [0]]))
    [(0, True), (1, False)]
    """
    readers: list[set[int]] = [set() for _ in reads]
    for j, sources in enumerate(reads):
        for source in sources:
            readers[source].add(j)
    waiting = dict.fromkeys(range(len(reads)))
    ready = [j for j in waiting if not readers[j]]
    while waiting:
        ring = not ready
        j = next(iter(waiting)) if ring else ready.pop()
        if j not in waiting:
            continue
        del waiting[j]
        yield j, ring
        for source in reads[j]:
            readers[source].discard(j)
            if not readers[source]:
                ready.append(source)


def _fix(table: int, inputs: int, i: int, value: int) -> int:
    """The table without input i, which is always ``value``.

    >>> bin(_fix(0b1000, 2, 0, 1)), bin(_fix(0b1000, 2, 0, 0))
    ('0b10', '0b0')
    """
    kept = [a for a in range(1 << inputs) if a >> i & 1 == value]
    return sum((table >> a & 1) << bit for bit, a in enumerate(kept))


def _reads(code: int) -> int:
    return 3 if code == MUX else 1 if code in (NOT, COPY) else 2
