"""A netlist: look-up tables and flip-flops of one clock domain, small enough to read and to check.

Every combinational cell is a :class:`Gate`, a truth table of at most six inputs: LUT1–LUT6 are, and INV,
MUXF7, MUXF8 and the bits of a CARRY4 become ones. Only LUTs have INIT bits that a fault may flip. Nets are
numbers; net 0 is constant 0 and net 1 constant 1. Read one from a file with
:func:`bifocal.hardware.read_netlist`, or build and check one from its elements with :func:`build_netlist`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from bifocal.errors import CircuitError
from bifocal.hardware.circuits.elements import ONE, ZERO, FlipFlop, Gate, Port, Reset
from bifocal.hardware.circuits.order import find_loops, schedule_nodes
from bifocal.hardware.circuits.tools import shortened


@dataclass(frozen=True)
class Netlist:
    """A checked circuit.

    ``nets`` holds a name for every net; ``inputs`` and ``outputs`` every port, the clock included;
    ``compared`` the output nets, by bit name, that are compared with the fault-free run; ``schedule`` an
    order in which the circuit can be computed: gate ``i`` is node ``i``, and a flip-flop ``j`` whose
    asynchronous control must be known before its output is node ``len(gates) + j``. ``notes`` list what was
    assumed while reading; ``more_resets`` are held and released with ``reset``; ``falling`` says
    which edge of the clock counts.
    """

    name: str
    nets: tuple[str, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    gates: tuple[Gate, ...]
    flipflops: tuple[FlipFlop, ...]
    clock: int | None
    reset: Reset | None
    compared: tuple[tuple[str, int], ...]
    schedule: tuple[int, ...]
    notes: tuple[str, ...] = ()
    more_resets: tuple[Reset, ...] = ()
    falling: bool = False

    @property
    def luts(self) -> tuple[int, ...]:
        """The gates that are LUTs, as indices into ``gates``."""
        return tuple(i for i, gate in enumerate(self.gates) if gate.is_lut)

    @property
    def registers(self) -> tuple[int, ...]:
        """The flip-flops that have faults, as indices: all but those that stand for bits of a memory."""
        return tuple(j for j, flipflop in enumerate(self.flipflops) if flipflop.kind.startswith("FD"))

    @property
    def init_bits(self) -> int:
        """How many INIT bits the LUTs have: 2^k for a LUT of k inputs (a physical LUT6 has 64)."""
        return sum(gate.bits for gate in self.gates if gate.is_lut)

    @property
    def clock_name(self) -> str:
        """The net of the clock, or ``none``."""
        return "none" if self.clock is None else self.nets[self.clock]

    @property
    def reset_name(self) -> str:
        """The net of the reset with the value that resets, as ``rst, active 1``, or ``none``."""
        return "none" if self.reset is None else f"{self.nets[self.reset.net]}, active {self.reset.active}"

    @property
    def driven(self) -> tuple[tuple[str, int], ...]:
        """The input bits that a stimulus drives, by name: all but the clock, the reset among them."""
        return tuple(
            (name, net)
            for port in self.inputs
            for name, net in zip(port.bit_names(), port.nets, strict=True)
            if net != self.clock
        )

    def digest(self) -> str:
        """A hash of everything that a campaign's result depends on: no names of nets, no source lines."""
        gates = [(g.kind, g.inputs, g.output, g.table) for g in self.gates]
        flipflops = [
            (f.data, f.output, f.enable, f.control, f.asynchronous, f.value, f.initial)
            for f in self.flipflops
        ]
        reset = None if self.reset is None else (self.reset.net, self.reset.active)
        parts = (self.driven, self.compared, gates, flipflops, self.clock, reset)
        more = [(other.net, other.active) for other in self.more_resets]
        return sha256(repr((*parts, more) if more else parts).encode()).hexdigest()


def build_netlist(
    name: str,
    *,
    nets: Sequence[str],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    gates: Sequence[Gate],
    flipflops: Sequence[FlipFlop] = (),
    clock: int | None = None,
    reset: Reset | None = None,
    compared: Sequence[tuple[str, int]] | None = None,
    notes: Sequence[str] = (),
    more_resets: Sequence[Reset] = (),
    falling: bool = False,
) -> Netlist:
    """Check the elements of a circuit, order them, and return the :class:`Netlist`.

    ``compared`` defaults to every output bit.

    :raises CircuitError: for a net with two drivers or none, a combinational loop, a clock that is used as
        data, or a design without outputs; with ten of the instances concerned.

    >>> toggle = build_netlist(
    ...     "toggle", nets=["0", "1", "clk", "q", "d"],
    ...     inputs=[Port("clk", (2,))], outputs=[Port("q", (3,))], clock=2,
    ...     gates=[Gate("inv", "LUT1", (3,), 4, 0b01)], flipflops=[FlipFlop("ff", "FDRE", 4, 3)],
    ... )
    >>> toggle.init_bits, toggle.compared
    (2, (('q', 3),))
    """
    if compared is None:
        bits = (pair for port in outputs for pair in zip(port.bit_names(), port.nets, strict=True))
        compared = [pair for pair in bits if pair[1] != clock]
    if not compared:
        raise CircuitError(
            f"{name} has no outputs to compare, so no fault could be seen. Give the design an output port, "
            "or name outputs that exist."
        )
    _check_tables(name, gates)
    _check_drivers(name, nets, inputs, outputs, gates, flipflops)
    _check_clock(name, clock, nets, gates, flipflops)
    return Netlist(
        name=name,
        nets=tuple(nets),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        gates=tuple(gates),
        flipflops=tuple(flipflops),
        clock=clock,
        reset=reset,
        compared=tuple(compared),
        schedule=_schedule(name, gates, flipflops, [net for _, net in compared]),
        notes=tuple(notes),
        more_resets=tuple(more_resets),
        falling=falling,
    )


def _schedule(
    name: str, gates: Sequence[Gate], flipflops: Sequence[FlipFlop], compared: Sequence[int]
) -> tuple[int, ...]:
    """The nodes of the circuit in an order in which they can be computed; see :class:`Netlist`."""
    cells: list[Gate | FlipFlop] = [*gates, *flipflops]
    pins = [net for f in flipflops for net in (f.data, f.enable, f.control)]
    ordered, waiting = schedule_nodes(
        {gate.output: gate.inputs for gate in gates},
        {f.output: f.control for f in flipflops if f.asynchronous and f.control > ONE},
        [*pins, *compared],
    )
    if waiting:
        by_net = {cell.output: cell.name for cell in cells}
        loops = ["{" + shortened(sorted(by_net[net] for net in loop)) + "}" for loop in find_loops(waiting)]
        raise CircuitError(
            f"{name} has {len(loops)} combinational loop(s), whose values are undefined: {shortened(loops)}."
            " Put a flip-flop into each loop, or drive the asynchronous control from a port."
        )
    nodes = {cell.output: node for node, cell in enumerate(cells)}
    return tuple(nodes[net] for net in ordered)


def _check_tables(name: str, gates: Sequence[Gate]) -> None:
    for gate in gates:
        if len(gate.inputs) > 6 or not 0 <= gate.table < 1 << gate.bits:
            raise CircuitError(
                f"{name}: {gate.name} has {len(gate.inputs)} inputs and table {gate.table:#x}; a gate has "
                "at most six inputs and a table of 2^inputs bits."
            )


def _check_drivers(
    name: str,
    nets: Sequence[str],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    gates: Sequence[Gate],
    flipflops: Sequence[FlipFlop],
) -> None:
    drivers: dict[int, list[str]] = {ZERO: ["constant 0"], ONE: ["constant 1"]}
    for port in inputs:
        for bit, net in zip(port.bit_names(), port.nets, strict=True):
            drivers.setdefault(net, []).append(f"port {bit}")
    for output, driver in [(g.output, g.name) for g in gates] + [(f.output, f.name) for f in flipflops]:
        drivers.setdefault(output, []).append(driver)
    double = [f"{nets[net]} ({', '.join(names)})" for net, names in drivers.items() if len(names) > 1]
    if double:
        raise CircuitError(
            f"{name}: {len(double)} net(s) have more than one driver: {shortened(double)}. "
            "Remove all but one."
        )
    read = {net: gate.name for gate in gates for net in gate.inputs}
    read |= {net: f.name for f in flipflops for net in (f.data, f.enable, f.control)}
    read |= {net: f"port {port.name}" for port in outputs for net in port.nets}
    undriven = [f"{nets[net]} (read by {reader})" for net, reader in read.items() if net not in drivers]
    if undriven:
        raise CircuitError(
            f"{name}: {len(undriven)} net(s) have no driver: {shortened(undriven)}. Drive them, or tie "
            "them with Yosys' `setundef -zero`."
        )


def _check_clock(
    name: str, clock: int | None, nets: Sequence[str], gates: Sequence[Gate], flipflops: Sequence[FlipFlop]
) -> None:
    if flipflops and clock is None:
        raise CircuitError(
            f"{name} has {len(flipflops)} flip-flops but no clock was found. Name it with clock=PORT."
        )
    readers = [gate.name for gate in gates if clock in gate.inputs]
    readers += [f.name for f in flipflops if clock in (f.data, f.enable, f.control)]
    if clock is not None and readers:
        raise CircuitError(
            f"{name}: the clock {nets[clock]} is also used as data by {len(readers)} cell(s):"
            f" {shortened(readers)}. In a cycle every net has one value; replace the gated clock by an "
            "enable."
        )
