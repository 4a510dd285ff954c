"""A mapped netlist as structural Verilog, for a vendor's tool or another Yosys to read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bifocal.hardware.circuits.cells import is_hardware


def to_verilog(text: str) -> str:
    """Write the one module of a Yosys JSON netlist as instances of its cells.

    A cell with the attribute ``keep`` gets ``keep`` and ``DONT_TOUCH``, which Yosys and Vivado obey: copies
    that were made on purpose are then not merged.

    >>> print(to_verilog('''{"creator": "x", "modules": {"t": {"attributes": {},
    ...   "ports": {"a": {"direction": "input", "bits": [2]}, "y": {"direction": "output", "bits": [3]}},
    ...   "cells": {"l": {"type": "LUT1", "parameters": {"INIT": "01"}, "attributes": {"keep": "1"},
    ...     "connections": {"I0": [2], "O": [3]}}}, "netnames": {}}}}'''))
    module t (a, y);
      input a;
      output y;
      wire n2, n3;
      assign n2 = a;
      assign y = n3;
      (* keep, DONT_TOUCH = "true" *)
      LUT1 #(.INIT(2'b01)) l (.I0(n2), .O(n3));
    endmodule
    <BLANKLINE>
    """
    ((name, module),) = json.loads(text)["modules"].items()
    ports: Mapping[str, Any] = module["ports"]
    lines = [f"module {_name(name)} ({', '.join(map(_name, ports))});"]
    for port, entry in ports.items():
        size = f"[{len(entry['bits']) - 1}:0] " if len(entry["bits"]) > 1 else ""
        lines.append(f"  {entry['direction']} {size}{_name(port)};")
    nets = _nets(module)
    for start in range(0, len(nets), 12):
        lines.append(f"  wire {', '.join(f'n{bit}' for bit in nets[start : start + 12])};")
    for port, entry in ports.items():
        lines += _assignments(port, entry)
    for cell, entry in module["cells"].items():
        if is_hardware(entry["type"]):
            lines += _instance(cell, entry)
    return "\n".join([*lines, "endmodule", ""])


def _nets(module: Mapping[str, Any]) -> list[int]:
    """The numbers of all nets, ascending."""
    groups = [entry["bits"] for entry in module["ports"].values()]
    groups += [bits for cell in module["cells"].values() for bits in cell["connections"].values()]
    return sorted({bit for bits in groups for bit in bits if isinstance(bit, int)})


def _assignments(port: str, entry: Mapping[str, Any]) -> Iterator[str]:
    """The bits of a port tied to their nets."""
    for index, bit in enumerate(entry["bits"]):
        outside = _name(port) + (f"[{index}]" if len(entry["bits"]) > 1 else "")
        if entry["direction"] == "input":
            yield f"  assign n{bit} = {outside};"
        else:
            yield f"  assign {outside} = {_bit(bit)};"


def _instance(cell: str, entry: Mapping[str, Any]) -> Iterator[str]:
    """One cell. Unknown digits of a LUT are 0, as they are simulated; other parameters with such digits are
    left to their defaults: a flip-flop without INIT starts as its set or reset makes it."""
    if "1" in str(entry.get("attributes", {}).get("keep", "0")):
        yield '  (* keep, DONT_TOUCH = "true" *)'
    parameters: dict[str, str] = entry.get("parameters", {})
    if entry["type"].startswith("LUT"):
        parameters = {key: re.sub("[^01]", "0", value) for key, value in parameters.items()}
    known = ", ".join(
        f".{key}({_value(value)})"
        for key, value in parameters.items()
        if not re.fullmatch("[01]*[xz-][01xz-]*", value)
    )
    pins = ", ".join(f".{pin}({_bits(bits)})" for pin, bits in entry["connections"].items())
    yield f"  {entry['type']}{f' #({known})' if known else ''} {_name(cell)} ({pins});"


def _name(name: str) -> str:
    """A name as Verilog reads it: unusual ones start with a backslash and end with a space."""
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else "\\" + re.sub(r"\s", "_", name) + " "


def _bit(bit: int | str) -> str:
    return f"n{bit}" if isinstance(bit, int) else f"1'b{bit}"


def _bits(bits: Sequence[int | str]) -> str:
    return (
        _bit(bits[0]) if len(bits) == 1 else "{" + ", ".join(map(_bit, reversed(bits))) + "}" if bits else ""
    )


def _value(value: str) -> str:
    return f"{len(value)}'b{value}" if re.fullmatch("[01xz]+", value) else f'"{value.strip()}"'
