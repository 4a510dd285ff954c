"""Which port is the clock, which the reset, which outputs are compared: found in the netlist, or given."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from bifocal.errors import CircuitError
from bifocal.hardware.circuits.cells import Cell
from bifocal.hardware.circuits.elements import FlipFlop, Gate, Port, Reset
from bifocal.hardware.circuits.instances import instance_names
from bifocal.hardware.circuits.tools import shortened

_RESET = re.compile(
    r"(.*_)?(?P<low>n)?[aspm]?_?(rst|reset|nrst|nreset)(?P<after>_?[nbl]|_?n_?i|_?i)?", re.IGNORECASE
)


def find_clock(
    name: str, nets: Sequence[str], inputs: Sequence[Port], clocked: Sequence[Cell], given: str | None
) -> int | None:
    """The net of the one clock, an input port; None for a circuit without flip-flops.

    :raises CircuitError: if there are several clocks, or one that logic makes, with the flip-flops of each.
    """
    ports = {bit: net for port in inputs for bit, net in zip(port.bit_names(), port.nets, strict=True)}
    if given is not None and given not in ports:
        raise CircuitError(f"{name} has no input {given}; the inputs are {', '.join(ports)}.")
    domains: dict[int, list[Cell]] = {}
    for cell in clocked:
        domains.setdefault(cell.pin("C", 0), []).append(cell)
    if not domains:
        return None if given is None else ports[given]
    if len(domains) > 1:
        listed = "\n".join(
            f"  {nets[net]}, {len(cells):,}: {instance_names(cells, nets)}" for net, cells in domains.items()
        )
        raise CircuitError(
            f"{name} has {len(domains)} clocks; only one can be simulated. Choose one with "
            f"--clock-domain NAME, or replace gated clocks by enables. Flip-flops by clock:\n{listed}"
        )
    (net,) = domains
    if net not in ports.values():
        raise CircuitError(
            f"{name}: the clock {nets[net]} of {len(clocked)} flip-flops is not an input port, so cycles are "
            "not defined. Bring the clock in by a port; clock managers (MMCM, PLL) belong outside."
        )
    if given is not None and ports[given] != net:
        raise CircuitError(f"{name}: {given} clocks nothing; the flip-flops are clocked by {nets[net]}.")
    return net


def find_reset(
    name: str,
    inputs: Sequence[Port],
    gates: Sequence[Gate],
    flipflops: Sequence[FlipFlop],
    clock: int | None,
    given: str | None,
) -> tuple[list[Reset], list[str]]:
    """The resets, the first of them the one that decides which cycles count, and notes on what was assumed.

    A reset is the input that drives the asynchronous controls of most flip-flops, directly or inverted; else
    the first input of one bit with a reset's name (``rst``, ``reset``, ``aresetn``, ``i_rst_n`` …). Others
    of either kind are resets, too: random bits would reset the circuit again and again.

    :raises CircuitError: if ``given`` is not ``none``, an input, or an input with ``:0`` or ``:1``.
    """
    bits = {bit: net for port in inputs for bit, net in zip(port.bit_names(), port.nets, strict=True)}
    bits = {bit: net for bit, net in bits.items() if net != clock}
    first = None if given is None else _given_reset(name, bits, given)
    if given is not None and first is None:
        return [], []
    resets = _all_resets(bits, _count_controls(bits, gates, flipflops))
    if first is None and not resets:
        note = "no reset was found: the circuit starts from the INIT values of its flip-flops"
        return [], [note] if flipflops else []
    main = first or next(iter(resets.values()))
    others = {bit: reset for bit, reset in resets.items() if reset.net != main.net}
    listed = shortened([f"{bit}, active {reset.active}" for bit, reset in others.items()])
    note = f"held with the reset and then released, as resets, too: {listed} (a CSV may drive them)"
    return [main, *others.values()], [note] if others else []


def _all_resets(bits: dict[str, int], controls: dict[tuple[int, bool], tuple[int, int]]) -> dict[str, Reset]:
    """All inputs that reset: those of asynchronous controls, of the most flip-flops first; then by name."""
    asynchronous = {bit: controls[net, True] for bit, net in bits.items() if (net, True) in controls}
    found: dict[str, Reset] = {}
    for bit in sorted(asynchronous, key=lambda b: (-sum(asynchronous[b]), not _RESET.fullmatch(b))):
        low, high = asynchronous[bit]
        found[bit] = Reset(bits[bit], int(high >= low))
    for bit, reset in _named_resets(bits, controls):
        found.setdefault(bit, reset)
    return found


def _given_reset(name: str, bits: dict[str, int], given: str) -> Reset | None:
    if given == "none":
        return None
    bit, _, level = given.partition(":")
    if bit not in bits or level not in ("", "0", "1"):
        raise CircuitError(
            f"{name}: the reset '{given}' is not PORT, PORT:0 or none; the inputs are {', '.join(bits)}."
        )
    return Reset(bits[bit], int(level or "1"))


def _named_resets(
    bits: dict[str, int], controls: dict[tuple[int, bool], tuple[int, int]]
) -> Iterator[tuple[str, Reset]]:
    """The inputs with a reset's name; their level as the flip-flops use it, else as the name suggests."""
    for bit, net in bits.items():
        if match := _RESET.fullmatch(bit):
            after = (match["after"] or "").lower().strip("_i")
            low = bool(match["low"] or re.search("n(rst|reset)", bit.lower())) or after in ("n", "b", "l")
            forced_by_0, forced_by_1 = controls.get((net, False), (int(low), int(not low)))
            yield bit, Reset(net, int(forced_by_1 >= forced_by_0))


def _count_controls(
    bits: dict[str, int], gates: Sequence[Gate], flipflops: Sequence[FlipFlop]
) -> dict[tuple[int, bool], tuple[int, int]]:
    """For an input net and whether the control is asynchronous: flip-flops forced by its 0, and by its 1."""
    single = {gate.output: gate for gate in gates if len(gate.inputs) == 1 and gate.table in (0b01, 0b10)}
    wanted = set(bits.values())
    counts: dict[tuple[int, bool], tuple[int, int]] = {}
    for flipflop in flipflops:
        net, level = flipflop.control, 1
        while net in single:
            level ^= single[net].table == 0b01
            net = single[net].inputs[0]
        if net in wanted:
            low, high = counts.get((net, flipflop.asynchronous), (0, 0))
            counts[net, flipflop.asynchronous] = (low + (not level), high + level)
    return counts


def pick_outputs(
    name: str, outputs: Sequence[Port], clock: int | None, given: Sequence[str] | None
) -> list[tuple[str, int]]:
    """The output bits to compare: all but a forwarded clock, or those of the named ports and bits."""
    every = {
        bit: (port.name, net)
        for port in outputs
        for bit, net in zip(port.bit_names(), port.nets, strict=True)
    }
    if given is None:
        return [(bit, net) for bit, (_, net) in every.items() if net != clock]
    chosen = [(bit, net) for bit, (port, net) in every.items() if bit in given or port in given]
    missing = set(given) - {bit for bit, _ in chosen} - {every[bit][0] for bit, _ in chosen}
    if missing:
        known = ", ".join(port.name for port in outputs)
        raise CircuitError(f"{name} has no output {', '.join(sorted(missing))}; the outputs are {known}.")
    return chosen
