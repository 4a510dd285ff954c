"""The Xilinx 7-series cells that can be simulated, each as truth tables or as a flip-flop.

Their functions follow the vendor's library guide (UG953). Other cells (memories, shift registers, DSP blocks,
latches, pads with enables) are refused by the reader, with a list of their instances.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bifocal.hardware.circuits.elements import ONE, ZERO, FlipFlop, Gate

#: Cells whose output is their input: pads and clock buffers, by input and output pin.
BUFFERS = {"IBUF": ("I", "O"), "OBUF": ("I", "O"), "BUFG": ("I", "O"), "BUFH": ("I", "O"), "BUFR": ("I", "O")}
#: Cells that hold a net at a constant, by output pin.
CONSTANTS = {"GND": ("G", ZERO), "VCC": ("P", ONE)}
#: Cells of Yosys that are no hardware: remarks on the hierarchy, prints, and what formal tools check.
_REMARKS = {"$scopeinfo", "$print", "$check", "$assert", "$assume", "$cover", "$live", "$fair"}

_FLIPFLOP = re.compile(r"FD(?P<control>[CPRS]?)(?P<enable>E?)(?P<falling>_1)?")
#: Control letter: pin, whether it is asynchronous, the value that it forces.
_CONTROLS = {
    "": ("", False, 0),
    "C": ("CLR", True, 0),
    "P": ("PRE", True, 1),
    "R": ("R", False, 0),
    "S": ("S", False, 1),
}

_MUX = 0b11001010  # inputs (i0, i1, s): s ? i1 : i0
_XOR = 0b0110
_OR = 0b1110
_NOT = 0b01


@dataclass(frozen=True)
class Cell:
    """One instance of a netlist: its pins as nets, its parameters as the digits of binary numbers."""

    name: str
    kind: str
    pins: Mapping[str, tuple[int, ...]]
    parameters: Mapping[str, str]
    sources: tuple[str, ...]
    is_memory: bool = False

    def pin(self, name: str, default: int, bit: int = 0) -> int:
        """The net of a pin; ``default`` where it is not connected."""
        nets = self.pins.get(name, ())
        return nets[bit] if bit < len(nets) else default

    def flag(self, name: str) -> bool:
        return "1" in self.parameters.get(name, "0")


def is_hardware(kind: str) -> bool:
    """Whether cells of this kind are part of the circuit: remarks of Yosys are not."""
    return kind not in _REMARKS and not kind.startswith("$spec")


def is_supported(kind: str) -> bool:
    """Whether cells of this kind can be simulated."""
    return kind in BUFFERS or kind in CONSTANTS or kind in _GATES or flipflop_match(kind) is not None


def flipflop_match(kind: str) -> re.Match[str] | None:
    return _FLIPFLOP.fullmatch(kind)


def is_falling(cell: Cell) -> bool:
    """Whether a flip-flop takes its data at the falling edge."""
    match = flipflop_match(cell.kind)
    return match is not None and (bool(match["falling"]) != cell.flag("IS_C_INVERTED"))


def gates_of(cell: Cell, new_net: Callable[[str], int]) -> list[Gate]:
    """The truth tables of a combinational cell; ``new_net`` makes a net between two of them."""
    return _GATES[cell.kind](cell, new_net)


def flipflop_of(cell: Cell, new_net: Callable[[str], int]) -> tuple[FlipFlop, list[Gate]]:
    """The flip-flop of a cell, and inverters where the cell inverts a pin by parameter."""
    match = flipflop_match(cell.kind)
    assert match is not None
    pin, asynchronous, value = _CONTROLS[match["control"]]
    inverters: list[Gate] = []

    def read(name: str, default: int) -> int:
        net = cell.pin(name, default)
        if not name or not cell.flag(f"IS_{name}_INVERTED"):
            return net
        out = new_net(f"{cell.name}.{name}")
        inverters.append(Gate(f"{cell.name}.{name}", "INV", (net,), out, _NOT, cell.sources))
        return out

    initial = cell.parameters.get("INIT", "x")[-1:]
    flipflop = FlipFlop(
        name=cell.name,
        kind=cell.kind,
        data=read("D", ZERO),
        output=cell.pin("Q", ZERO),
        enable=read("CE", ONE) if match["enable"] else ONE,
        control=read(pin, ZERO) if pin else ZERO,
        asynchronous=asynchronous,
        value=value,
        initial=int(initial) if initial in ("0", "1") else value,
        sources=cell.sources,
    )
    return flipflop, inverters


def _lut(cell: Cell, new_net: Callable[[str], int]) -> list[Gate]:
    inputs = tuple(cell.pin(f"I{i}", ZERO) for i in range(int(cell.kind[3:])))
    digits = re.sub("[^01]", "0", cell.parameters.get("INIT", "0"))  # x becomes 0, as in the bitstream
    table = int(digits, 2) & ((1 << (1 << len(inputs))) - 1)
    return [Gate(cell.name, cell.kind, inputs, cell.pin("O", ZERO), table, cell.sources)]


def _inverter(cell: Cell, new_net: Callable[[str], int]) -> list[Gate]:
    return [Gate(cell.name, "INV", (cell.pin("I", ZERO),), cell.pin("O", ZERO), _NOT, cell.sources)]


def _mux(cell: Cell, new_net: Callable[[str], int]) -> list[Gate]:
    inputs = (cell.pin("I0", ZERO), cell.pin("I1", ZERO), cell.pin("S", ZERO))
    return [Gate(cell.name, cell.kind, inputs, cell.pin("O", ZERO), _MUX, cell.sources)]


def _carry(cell: Cell, new_net: Callable[[str], int]) -> list[Gate]:
    """CARRY4: O = S xor C and the next C = S ? C : DI, four times, from CI or CYINIT.

    One gate for each connected pin; a carry without a pin gets a net of its own.
    """
    first = (cell.pin("CI", ZERO), cell.pin("CYINIT", ZERO))
    known = [net for net in first if net != ZERO]
    shown = [bit for pin in ("O", "CO") for bit in range(4) if cell.pin(pin, -1, bit) >= 0]
    gates: list[Gate] = []
    if len(known) == 2:
        carry = new_net(f"{cell.name}.C0")
        gates.append(Gate(f"{cell.name}.C0", "CARRY4.C0", first, carry, _OR, cell.sources))
    else:
        carry = known[0] if known else ZERO
    for bit in range(max(shown, default=-1) + 1):
        select, data = cell.pin("S", ZERO, bit), cell.pin("DI", ZERO, bit)
        if (out := cell.pin("O", -1, bit)) >= 0:
            name, kind = f"{cell.name}.O{bit}", f"CARRY4.O{bit}"
            gates.append(Gate(name, kind, (select, carry), out, _XOR, cell.sources))
        if (following := cell.pin("CO", -1, bit)) < 0:
            if bit == max(shown):
                break
            following = new_net(f"{cell.name}.C{bit + 1}")
        name, kind = f"{cell.name}.CO{bit}", f"CARRY4.CO{bit}"
        gates.append(Gate(name, kind, (data, carry, select), following, _MUX, cell.sources))
        carry = following
    return gates


_GATES: dict[str, Callable[[Cell, Callable[[str], int]], list[Gate]]] = {
    **{f"LUT{inputs}": _lut for inputs in range(1, 7)},
    "INV": _inverter,
    "MUXF7": _mux,
    "MUXF8": _mux,
    "CARRY4": _carry,
}
