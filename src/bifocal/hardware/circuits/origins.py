"""Which lines of HDL a LUT comes from.

Logic optimisation loses where a LUT came from: Yosys gives it a line of its own library. The flip-flops and
outputs that the LUT leads to keep their lines, and they are what a designer looks for. So the lines of a LUT
are its own if it has any, and otherwise those of the nearest cells downstream.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.source_files import SourceFile


@dataclass(frozen=True)
class Origin:
    """Where something comes from: ``lines`` as ``file:line``, and the nets or ports that it leads to."""

    lines: tuple[str, ...]
    leads_to: tuple[str, ...]


def origin_of_gate(
    netlist: Netlist, gate: int, *, most: int = 3, readers: Mapping[int, Sequence[int]] | None = None
) -> Origin:
    """The lines of a gate, and what it leads to: flip-flops and output ports, the nearest first.

    ``readers`` is :func:`readers_of` the netlist, for a caller who asks for many gates.
    """
    readers = readers_of(netlist) if readers is None else readers
    ports = {net: name for name, net in netlist.compared}
    names: list[str] = []
    lines: list[str] = []
    layer, seen = [netlist.gates[gate].output], {netlist.gates[gate].output}
    while layer and not (lines and len(names) >= most):
        following: list[int] = []
        for net in layer:
            if net in ports:
                names.append(ports[net])
            for cell in readers.get(net, ()):
                if cell >= len(netlist.gates):
                    flipflop = netlist.flipflops[cell - len(netlist.gates)]
                    names.append(netlist.nets[flipflop.output])
                    lines += flipflop.sources
                elif (out := netlist.gates[cell].output) not in seen:
                    seen.add(out)
                    following.append(out)
        layer = following
    own = netlist.gates[gate].sources
    readable = [name for name in names if not name.startswith("$")]  # the others are Yosys' own names
    return Origin(_without_columns(own or lines)[:most], tuple(dict.fromkeys(readable or names))[:most])


def readers_of(netlist: Netlist) -> dict[int, list[int]]:
    """The cells that read each net: gates by their index, flip-flops by theirs after the gates'."""
    readers: dict[int, list[int]] = {}
    for i, gate in enumerate(netlist.gates):
        for net in gate.inputs:
            readers.setdefault(net, []).append(i)
    for j, flipflop in enumerate(netlist.flipflops):
        for net in (flipflop.data, flipflop.enable, flipflop.control):
            readers.setdefault(net, []).append(len(netlist.gates) + j)
    return readers


def _without_columns(sources: Sequence[str]) -> tuple[str, ...]:
    """``file:line`` of ``file:line.column-line.column``, each once, in order.

    >>> _without_columns(["uart.v:30.5-42.8", "uart.v:30.5-42.8", "top.v:7"])
    ('uart.v:30', 'top.v:7')
    """
    return tuple(dict.fromkeys(re.sub(r"(:\d+)[.\-].*$", r"\1", source) for source in sources))


def text_of(line: str, sources: Sequence[SourceFile]) -> str:
    """The text of ``file:line``, without its indentation; empty if it is not known."""
    file, _, number = line.rpartition(":")
    for source in sources:
        rows = source.text.splitlines()
        if source.name == file and number.isdecimal() and 1 <= int(number) <= len(rows):
            return rows[int(number) - 1].strip()
    return ""
