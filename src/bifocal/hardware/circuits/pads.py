"""Tri-state pads of a Yosys JSON netlist split into plain ports: in, out, and not driven.

An ``inout`` port becomes the input of its name. What the pad would drive becomes the output ``NAME_out``, and
the pin T of the pad, which is 1 where nothing is driven, ``NAME_t``.
"""

from __future__ import annotations

import json
from typing import Any

from bifocal.hardware.circuits.tools import shortened

_PADS = {"IOBUF", "OBUFT"}


def split_pads(text: str) -> tuple[str, list[str]]:
    """The netlist without IOBUF and OBUFT, and notes that name the ports that were split."""
    try:
        design = json.loads(text)
        modules = list(design["modules"].values())
        split = [port for module in modules for port in _split(module)]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return text, []  # the reader says what is wrong
    if not split:
        return text, []
    note = (
        f"tri-state ports are split into NAME, driven from outside, NAME_out and NAME_t: {shortened(split)}"
    )
    return json.dumps(design), [note]


def _split(module: dict[str, Any]) -> list[str]:
    """Replace the pads of one module; returns the names of their ports."""
    pads = {}
    for cell, entry in list(module.get("cells", {}).items()):
        if entry["type"] in _PADS:
            pins = entry["connections"]
            pads[pins["IO" if entry["type"] == "IOBUF" else "O"][0]] = pins
            del module["cells"][cell]
    found = [port for port, entry in module["ports"].items() if pads.keys() & set(entry["bits"])]
    for port in found:
        entry = module["ports"].pop(port)
        bits = entry["bits"]
        driven = [pads[bit].get("I", ["0"])[0] if bit in pads else bit for bit in bits]
        module["ports"][f"{port}_out"] = {"direction": "output", "bits": driven}
        released = [pads[bit]["T"][0] for bit in bits if bit in pads]
        module["ports"][f"{port}_t"] = {"direction": "output", "bits": released}
        inside = [pads.get(bit, {}).get("O", [bit])[0] for bit in bits]
        if entry["direction"] == "inout":
            module["ports"][port] = {"direction": "input", "bits": inside}
    return found
