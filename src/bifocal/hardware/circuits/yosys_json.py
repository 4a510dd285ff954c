"""Yosys' JSON netlist of a flattened Xilinx 7-series design → :class:`Netlist`.

In the file every bit of a net is a number, constants are the strings 0, 1, x and z, INIT is a binary string,
and ``src`` attributes carry the lines of HDL. Pads and clock buffers are passed through. An x or z that is
read counts as 0, and the notes say so; a flip-flop whose INIT is x starts in the state that its set or reset
gives it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from bifocal.errors import CircuitError
from bifocal.hardware.circuits.cells import (
    BUFFERS,
    CONSTANTS,
    Cell,
    flipflop_match,
    flipflop_of,
    gates_of,
    is_falling,
    is_hardware,
    is_supported,
)
from bifocal.hardware.circuits.elements import ONE, ZERO, FlipFlop, Gate, Port
from bifocal.hardware.circuits.instances import instance_names
from bifocal.hardware.circuits.memories import MODULE, PREFIX
from bifocal.hardware.circuits.netlist import Netlist, build_netlist
from bifocal.hardware.circuits.port_roles import find_clock, find_reset, pick_outputs

_ADVICE = {
    "SRL": "synthesise with -nosrl",
    "RAM": "synthesise with -nobram -nolutram, or cut it out with --stub",
    "FIFO": "synthesise with -nobram, or cut it out with --stub",
    "DSP": "synthesise with -nodsp, or cut it out with --stub",
    "LD": "replace the latch by a flip-flop",
    "LUT6_2": "split it into a LUT5 and a LUT6",
    "$paramod": "cut it out with --stub",
    "$": "map the design first: yosys -p 'synth_xilinx -family xc7 -flatten …'",
}


def read_netlist(
    path: str | os.PathLike[str],
    *,
    top: str | None = None,
    clock: str | None = None,
    reset: str | None = None,
    outputs: Sequence[str] | None = None,
) -> Netlist:
    """Read a file that Yosys' ``write_json`` made of a design mapped to Xilinx 7-series cells and flattened.

    :param top: the module, if several could be the design.
    :param clock: the clock port; found if None.
    :param reset: a port, ``port:0`` if it is active low, or ``none``; found if None.
    :param outputs: the ports or bits to compare; all outputs if None.
    :raises CircuitError: if the file cannot be read, or the design cannot be simulated; with ten instances of
        each kind that prevents it.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise CircuitError(f"{path} cannot be read: {error.strerror or error}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise _not_a_netlist(str(path), error) from error
    return parse_netlist(text, str(path), top=top, clock=clock, reset=reset, outputs=outputs)


def parse_netlist(
    text: str,
    source: str = "the netlist",
    *,
    top: str | None = None,
    clock: str | None = None,
    reset: str | None = None,
    outputs: Sequence[str] | None = None,
) -> Netlist:
    """The netlist in a JSON text; ``source`` is what errors call it. Otherwise as :func:`read_netlist`."""
    try:
        modules: dict[str, Any] = json.loads(text)["modules"]
        name, module = _pick_top(modules, top)
        reader = _Reader(name, module)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _not_a_netlist(source, error) from error
    return reader.build(clock, reset, outputs)


def _not_a_netlist(source: str, error: Exception) -> CircuitError:
    return CircuitError(
        f"{source} is not a netlist that Yosys' write_json made ({type(error).__name__}: {error}). Make one "
        "with yosys -p 'read_verilog design.v; synth_xilinx -family xc7 -flatten -top TOP; write_json "
        "design.json'."
    )


def _pick_top(modules: Mapping[str, Any], top: str | None) -> tuple[str, Any]:
    designs = [
        name
        for name, module in modules.items()
        if not {"blackbox", "whitebox"} & set(module.get("attributes", {})) and module.get("cells")
    ]
    if top is not None:
        if top not in modules:
            raise CircuitError(f"there is no module {top} here; there are {', '.join(designs) or 'none'}.")
        return top, modules[top]
    marked = [name for name in designs if "1" in modules[name].get("attributes", {}).get("top", "0")]
    found = marked or designs
    if len(found) != 1:
        raise CircuitError(
            f"the netlist has {len(found)} modules that could be the design ("
            f"{', '.join(found) or 'none'}). Name one as top."
        )
    return found[0], modules[found[0]]


class _Reader:
    """Numbers the nets of one module and turns its cells into gates and flip-flops."""

    def __init__(self, name: str, module: Mapping[str, Any]) -> None:
        self.name, self.module = name, module
        self.nets = ["0", "1"]
        self.numbers: dict[Any, int] = {"0": ZERO, "1": ONE}
        self.unknown = 0
        self.aliases = self._aliases()
        self.sources = self._name_nets()
        directions = {
            port: (entry["direction"], tuple(self.net(bit) for bit in entry["bits"]))
            for port, entry in module["ports"].items()
        }
        if both := [port for port, (direction, _) in directions.items() if direction == "inout"]:
            raise CircuitError(
                f"{name} has inout ports: {', '.join(both)}. Split each into an input and an output."
            )
        self.inputs = [Port(p, nets) for p, (direction, nets) in directions.items() if direction == "input"]
        self.outputs = [Port(p, nets) for p, (direction, nets) in directions.items() if direction == "output"]
        self.cells = [
            self._cell(cell, entry) for cell, entry in module["cells"].items() if is_hardware(entry["type"])
        ]

    def build(self, clock: str | None, reset: str | None, outputs: Sequence[str] | None) -> Netlist:
        gates: list[Gate] = []
        flipflops: list[FlipFlop] = []
        logic = [cell for cell in self.cells if cell.kind not in BUFFERS and cell.kind not in CONSTANTS]
        self._refuse_unsupported(logic)
        clocked = [cell for cell in logic if flipflop_match(cell.kind)]
        found = find_clock(self.name, self.nets, self.inputs, clocked, clock)
        falling = [cell for cell in clocked if is_falling(cell)]
        if falling and len(falling) < len(clocked):
            raise CircuitError(
                f"{self.name} uses both edges of its clock: {len(falling)} of {len(clocked)} flip-flops "
                f"take their data at the falling edge: {instance_names(falling, self.nets)}. Use one edge."
            )
        for cell in logic:
            if flipflop_match(cell.kind):
                flipflop, made = flipflop_of(cell, self._new_net)
                flipflops.append(_of_memory(flipflop) if cell.is_memory else flipflop)
            else:
                made = gates_of(cell, self._new_net)
            gates += map(_of_memory, made) if cell.is_memory else made
        notes = [f"{self.unknown} unconnected or x bits that are read count as 0"] if self.unknown else []
        if unset := sum(cell.parameters.get("INIT", "x")[-1:] not in ("0", "1") for cell in clocked):
            notes.append(f"{unset} flip-flops without INIT start in the state that their set or reset gives")
        resets, more = find_reset(self.name, self.inputs, gates, flipflops, found, reset)
        return build_netlist(
            self.name,
            nets=self.nets,
            inputs=self.inputs,
            outputs=self.outputs,
            gates=gates,
            flipflops=flipflops,
            clock=found,
            reset=resets[0] if resets else None,
            more_resets=resets[1:],
            compared=pick_outputs(self.name, self.outputs, found, outputs),
            notes=[*notes, *more],
            falling=bool(falling),
        )

    def net(self, bit: Any) -> int:
        """The number of a bit of the file, made when it is first seen."""
        bit = self.aliases.get(bit, bit)
        if bit in ("x", "z"):
            self.unknown += 1
            return ZERO
        if bit not in self.numbers:
            if not isinstance(bit, int):
                raise CircuitError(
                    f"{self.name}: a net is called {bit!r}; Yosys writes numbers, 0, 1, x or z."
                )
            self.numbers[bit] = self._new_net(f"n{bit}")
        return self.numbers[bit]

    def _new_net(self, name: str) -> int:
        self.nets.append(name)
        return len(self.nets) - 1

    def _aliases(self) -> dict[Any, Any]:
        """For each bit behind a buffer or constant cell, the bit that replaces it."""
        near: dict[Any, Any] = {}
        for entry in self.module["cells"].values():
            pins = entry["connections"]
            if entry["type"] in BUFFERS:
                source, target = BUFFERS[entry["type"]]
                if pins.get(target) and pins.get(source):
                    near[pins[target][0]] = pins[source][0]
            elif entry["type"] in CONSTANTS:
                pin, value = CONSTANTS[entry["type"]]
                near |= {bit: str(value) for bit in pins.get(pin, [])}
        far = {}
        for bit, source in near.items():
            seen = {bit}
            while source in near and source not in seen:
                seen.add(source)
                source = near[source]
            far[bit] = source
        return far

    def _name_nets(self) -> dict[int, tuple[str, ...]]:
        """Name the nets, by the design's own names before the tool's; returns the source lines of each."""
        sources: dict[int, tuple[str, ...]] = {}
        entries = self.module.get("netnames", {}).items()
        for name, entry in sorted(
            entries, key=lambda item: (item[1].get("hide_name", 0), len(item[0]), item[0])
        ):
            lines = source_lines(entry.get("attributes", {}))
            for position, bit in enumerate(entry["bits"]):
                if not isinstance(bit, int):
                    continue
                known = self.aliases.get(bit, bit) in self.numbers
                net = self.net(bit)
                if not known:
                    self.nets[net] = f"{name}[{position}]" if len(entry["bits"]) > 1 else name
                if lines:
                    sources.setdefault(net, lines)
        self.unknown = 0
        return sources

    def _cell(self, name: str, entry: Mapping[str, Any]) -> Cell:
        directions = entry.get("port_directions", {})
        pins = {
            pin: tuple(self._new_net(f"{name}.{pin}") if bit in ("x", "z") else self.net(bit) for bit in bits)
            if directions.get(pin) == "output"
            else tuple(self.net(bit) for bit in bits)
            for pin, bits in entry["connections"].items()
        }
        parameters = {key: str(value) for key, value in entry.get("parameters", {}).items()}
        lines = source_lines(entry.get("attributes", {}))
        driven = [net for pin, nets in pins.items() if directions.get(pin) == "output" for net in nets]
        lines = lines or next((self.sources[net] for net in driven if net in self.sources), ())
        is_memory = MODULE in entry.get("attributes", {})
        return Cell(name, entry["type"], pins, parameters, lines, is_memory)

    def _refuse_unsupported(self, cells: Iterable[Cell]) -> None:
        refused: dict[str, list[Cell]] = {}
        for cell in cells:
            if not is_supported(cell.kind):
                refused.setdefault(cell.kind, []).append(cell)
        if not refused:
            return
        lines = []
        for kind, found in sorted(refused.items()):
            advice = next(
                (a for key, a in _ADVICE.items() if key in kind),
                f"cut it out with --stub {kind}, or replace the cell",
            )
            lines.append(f"  {kind}, {len(found):,} ({advice}): {instance_names(found, self.nets)}")
        raise CircuitError(
            f"{self.name} has cells that cannot be simulated; LUTs, flip-flops, INV, MUXF7, MUXF8 and "
            "CARRY4 can:\n" + "\n".join(lines)
        )


_Element = TypeVar("_Element", Gate, FlipFlop)


def _of_memory(element: _Element) -> _Element:
    """An element of a memory: its kind is none of those that have faults."""
    return replace(element, kind=PREFIX + element.kind)


def source_lines(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """The lines in a ``src`` attribute, as ``file:line``, that are of the design, not of the tool's library.

    >>> source_lines({"src": "uart.v:12.3-14.5|/usr/bin/../share/yosys/xilinx/lut_map.v:56.26-58.30"})
    ('uart.v:12.3-14.5',)
    """
    lines = str(attributes.get("src", "")).split("|")
    library = ("share/yosys/", "/techmap.v", "share/xilinx/", "/cells_map.v")
    return tuple(
        x for x in lines if x and not x.endswith(":0.0-0.0") and not any(part in x for part in library)
    )
