"""One clock domain of a design as a design of its own, in Yosys' JSON.

Registers of other clocks that it reads become inputs, since their values do not depend on its clock alone;
its own registers that other domains read become outputs, since an error in them leaves the domain.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bifocal.errors import CircuitError
from bifocal.hardware.circuits.cells import BUFFERS, flipflop_match
from bifocal.hardware.circuits.tools import shortened

_Bit = int | str


def cut_domain(text: str, clock: str) -> tuple[str, str]:
    """The netlist of the one module in ``text``, reduced to the domain of ``clock``, and a note on that.

    ``clock`` is the name of a port or net.

    :raises CircuitError: if it clocks no flip-flop, with the clocks that do.
    """
    design = json.loads(text)
    ((name, module),) = design["modules"].items()
    cut = _Cut(name, module, clock)
    note = cut.reduce()
    return json.dumps(design), note


class _Cut:
    """Finds which cells, inputs and outputs belong to the domain."""

    def __init__(self, name: str, module: dict[str, Any], clock: str) -> None:
        self.module, self.clock = module, clock
        self.cells: dict[str, Any] = module["cells"]
        self.driver = {
            bit: cell
            for cell, entry in self.cells.items()
            for pin, bits in entry["connections"].items()
            if entry.get("port_directions", {}).get(pin) == "output"
            for bit in bits
        }
        self.names = _names_of_bits(module)
        flipflops = [cell for cell, entry in self.cells.items() if flipflop_match(entry["type"])]
        clocks = {cell: self._origin(self.cells[cell]["connections"]["C"][0]) for cell in flipflops}
        known = dict.fromkeys(self.names.get(bit, str(bit)) for bit in clocks.values())
        if clock not in known:
            raise CircuitError(
                f"{name}: {clock} clocks no flip-flop (--clock-domain). The clocks are "
                f"{shortened(list(known)) or 'none'}."
            )
        self.own = {cell for cell, bit in clocks.items() if self.names.get(bit, str(bit)) == clock}
        self.foreign = set(flipflops) - self.own
        self.clock_bits = {clocks[cell] for cell in self.own}
        self.foreign_clocks = {clocks[cell] for cell in self.foreign}

    def reduce(self) -> str:
        """Change the module; returns the note."""
        ports = self.module["ports"]
        own, foreign = self._outputs(self.own), self._outputs(self.foreign)
        leaving = self._sources(self._pins(self.foreign)) & own
        for port, entry in list(ports.items()):
            if entry["direction"] != "input":
                sources = self._sources(entry["bits"])
                if sources & foreign and not sources & own:
                    del ports[port]
        shown = {bit for entry in ports.values() if entry["direction"] != "input" for bit in entry["bits"]}
        leaving -= shown
        wanted = [*self._pins(self.own), *shown, *leaving]
        entering = self._sources(wanted) & foreign
        buffers = {cell for own in self.own for cell in self._buffers(self.cells[own]["connections"]["C"][0])}
        kept = self._cone(wanted) | self.own | buffers
        self.module["cells"] = {cell: entry for cell, entry in self.cells.items() if cell in kept}
        read = {*self._pins(kept), *shown}
        for port, entry in list(ports.items()):
            if set(entry["bits"]) <= self.foreign_clocks - self.clock_bits - read:
                del ports[port]
        inputs = {bit for entry in ports.values() if entry["direction"] == "input" for bit in entry["bits"]}
        for bit in sorted(entering | (self.clock_bits - inputs), key=str):
            self._add_port("input", bit)
        for bit in sorted(leaving, key=str):
            self._add_port("output", bit)
        return (
            f"only the clock domain {self.clock}: {len(self.own):,} of {len(self.own | self.foreign):,} "
            f"flip-flops; {len(entering):,} register bits of other clocks are inputs, "
            f"{len(leaving):,} that other clocks read are outputs"
        )

    def _add_port(self, direction: str, bit: _Bit) -> None:
        name = self.names.get(bit, f"n{bit}")
        if direction == "input" and bit in self.driver:  # a clock that logic makes: the logic is left out
            self.module["cells"].pop(self.driver[bit], None)
        while name in self.module["ports"]:
            name += "_"
        self.module["ports"][name] = {"direction": direction, "bits": [bit]}

    def _origin(self, bit: _Bit) -> _Bit:
        """The net before pads and clock buffers."""
        for cell in self._buffers(bit):
            bit = self._read_by(cell)
        return bit

    def _buffers(self, bit: _Bit) -> Iterator[str]:
        """The pads and clock buffers before a net, the nearest first."""
        while (cell := self.driver.get(bit)) and self.cells[cell]["type"] in BUFFERS:
            yield cell
            bit = self._read_by(cell)

    def _read_by(self, buffer: str) -> _Bit:
        entry = self.cells[buffer]
        bit: _Bit = entry["connections"][BUFFERS[entry["type"]][0]][0]
        return bit

    def _outputs(self, cells: Iterable[str]) -> set[_Bit]:
        return {bit for cell in cells for bit in self.cells[cell]["connections"].get("Q", ())}

    def _pins(self, cells: Iterable[str]) -> set[_Bit]:
        """What cells read; of flip-flops, all but the clock."""
        return {bit for cell in cells for bit in self._read(cell)}

    def _read(self, cell: str) -> Iterator[_Bit]:
        entry = self.cells[cell]
        clocked = flipflop_match(entry["type"]) is not None
        for pin, bits in entry["connections"].items():
            if entry.get("port_directions", {}).get(pin) != "output" and not (clocked and pin == "C"):
                yield from bits

    def _cone(self, bits: Iterable[_Bit]) -> set[str]:
        """The combinational cells that the bits depend on."""
        found: set[str] = set()
        waiting = list(bits)
        while waiting:
            cell = self.driver.get(waiting.pop())
            if cell is not None and cell not in found and not flipflop_match(self.cells[cell]["type"]):
                found.add(cell)
                waiting += self._read(cell)
        return found

    def _sources(self, bits: Iterable[_Bit]) -> set[_Bit]:
        """The bits where the cone of ``bits`` begins, and those in between."""
        bits = set(bits)
        return bits | self._pins(self._cone(bits))


def _names_of_bits(module: Mapping[str, Any]) -> dict[_Bit, str]:
    """A name for every bit: that of a port, else the design's own, else the tool's."""
    names: dict[_Bit, str] = {}
    nets = sorted(module.get("netnames", {}).items(), key=lambda item: item[1].get("hide_name", 0))
    for name, entry in [*module["ports"].items(), *nets]:
        for position, bit in enumerate(entry["bits"]):
            names.setdefault(bit, f"{name}[{position}]" if len(entry["bits"]) > 1 else name)
    return names
