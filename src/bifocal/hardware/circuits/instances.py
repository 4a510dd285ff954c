"""How cells are named in messages: ten of them, each by its register or its own name, with a line of HDL."""

from __future__ import annotations

from collections.abc import Sequence

from bifocal.hardware.circuits.cells import Cell
from bifocal.hardware.circuits.tools import shortened

_OUTPUTS = ("Q", "O", "DO", "P", "DOADO", "LO")


def instance_names(cells: Sequence[Cell], nets: Sequence[str]) -> str:
    """The names of the first ten cells, and how many more there are.

    A name that the tool made up, which begins with ``$``, is replaced by that of the net that it drives.

    >>> slices = [Cell(f"$s${i}", "FDRE", {"Q": (i,)}, {}, ("t.v:3.5-4.9",)) for i in range(2)]
    >>> instance_names(slices, ["q[0]", "q[1]"])
    'q[0] (t.v:3), q[1] (t.v:3)'
    """
    return shortened([_name(cell, nets) for cell in cells])


def _name(cell: Cell, nets: Sequence[str]) -> str:
    name = cell.name
    if name.startswith("$"):
        driven = (nets[net] for pin in _OUTPUTS for net in cell.pins.get(pin, ()))
        name = next((net for net in driven if not net.startswith("$")), name)
    return name + (f" ({_line(cell.sources[0])})" if cell.sources else "")


def _line(source: str) -> str:
    """``file:line`` of ``file:line.column-line.column``."""
    file, _, numbers = source.rpartition(":")
    return f"{file}:{numbers.partition('.')[0].partition('-')[0]}"
