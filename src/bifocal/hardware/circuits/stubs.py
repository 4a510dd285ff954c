"""Modules cut out of a design: what they drive becomes inputs, and what they read becomes outputs.

For clock managers, hard blocks and memories that cannot be simulated here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bifocal.errors import ToolError
from bifocal.hardware.circuits.tools import shortened


def cut_stubs(text: str, names: Sequence[str]) -> tuple[str, list[str]]:
    """A flattened Yosys JSON netlist with the ports ``INSTANCE.PIN`` in place of the instances of modules.

    :raises ToolError: if there is no instance of one of them.
    """
    if not names:
        return text, []
    design = json.loads(text)
    ((_, module),) = design["modules"].items()
    cells = {cell: entry for cell, entry in module["cells"].items() if _kind(entry["type"]) in names}
    if missing := set(names) - {_kind(entry["type"]) for entry in cells.values()}:
        raise ToolError(f"there is no instance of {', '.join(sorted(missing))} to cut out (--stub).")
    notes = []
    for cell, entry in cells.items():
        del module["cells"][cell]
        given, taken = _cut(module, cell, entry)
        notes.append(f"{cell} ({_kind(entry['type'])}): {given} bits are inputs, {taken} are outputs")
    return json.dumps(design), [f"cut out (--stub): {shortened(notes)}"]


def _kind(name: str) -> str:
    """The module's own name: Yosys names copies with parameters ``$paramod\\\\NAME\\\\…``."""
    return name.split("\\")[1] if name.startswith("$paramod") and "\\" in name else name


def _cut(module: dict[str, Any], cell: str, entry: dict[str, Any]) -> tuple[int, int]:
    """Ports in place of the pins of an instance; how many bits became inputs, and outputs."""
    counts = {"output": 0, "input": 0}
    for pin, bits in entry["connections"].items():
        direction = entry["port_directions"][pin]
        nets = [bit for bit in bits if isinstance(bit, int)]
        if nets and direction in counts:
            counts[direction] += len(nets)
            opposite = "input" if direction == "output" else "output"
            module["ports"][f"{cell}.{pin}"] = {"direction": opposite, "bits": nets}
            named = {"hide_name": 0, "bits": nets, "attributes": {}}
            module.setdefault("netnames", {}).setdefault(f"{cell}.{pin}", named)
    return counts["output"], counts["input"]
