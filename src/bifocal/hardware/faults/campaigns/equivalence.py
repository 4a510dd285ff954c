"""A proof that triplication changed nothing but the number of copies.

Copies of a cell have the same table or the same initial state, and the same inputs. So by induction over
cycles they hold the same value as long as nothing is flipped, and a majority voter of three copies gives that
value. If a hardened netlist becomes the original one when each copy is folded into its cell and each voter
into a wire, then both do the same for every stimulus.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bifocal.errors import CircuitError
from bifocal.hardware.faults.campaigns.triplication import MAJORITY, Hardened


def prove_same(text: str, hardened: Hardened) -> str:
    """Fold the copies and voters of a hardened netlist, and compare with the netlist ``text`` that it was.

    Both are Yosys JSON of one module. Gives what was proved, in a sentence.

    :raises CircuitError: with the first cell or port that differs: a bug of ours that must not go unseen.
    """
    ((_, before),) = json.loads(text)["modules"].items()
    ((_, after),) = json.loads(hardened.json)["modules"].items()
    cells: Mapping[str, Any] = after["cells"]
    same: dict[Any, Any] = {}
    copies = {f"{cell}{end}": cell for cell in hardened.tripled for end in ("", ".copy1", ".copy2")}
    for copy, cell in copies.items():
        same[_output(cells[copy])] = _output(before["cells"][cell])
    for voter in hardened.voters:
        inputs = {same.get(cells[voter]["connections"][pin][0]) for pin in ("I0", "I1", "I2")}
        if len(inputs) != 1 or None in inputs or cells[voter]["parameters"]["INIT"] != MAJORITY:
            raise CircuitError(f"{voter} does not vote among three copies of one cell. Please report this.")
        same[_output(cells[voter])] = inputs.pop()
    voters = set(hardened.voters)
    seen = set()
    for name, entry in cells.items():
        if name not in voters:
            original = copies.get(name, name)
            seen.add(original)
            if _folded(entry, same) != _folded(before["cells"].get(original, {}), {}):
                raise CircuitError(
                    f"{name} of the hardened netlist is no copy of {original}. Please report this."
                )
    ports = {port: [same.get(bit, bit) for bit in entry["bits"]] for port, entry in after["ports"].items()}
    if seen != set(before["cells"]) or ports != {port: e["bits"] for port, e in before["ports"].items()}:
        raise CircuitError("the hardened netlist lacks cells or ports of the design. Please report this.")
    folded = f"{len(copies):,} copies and {len(voters):,} voters"
    return f"the same for every stimulus: {folded} fold into the original netlist"


def _output(entry: Mapping[str, Any]) -> Any:
    pins = entry["connections"]
    return pins["O" if "O" in pins else "Q"][0]


def _folded(entry: Mapping[str, Any], same: Mapping[Any, Any]) -> tuple[Any, ...]:
    """What a cell is and computes, with its nets as those of the original."""
    pins = {pin: [same.get(bit, bit) for bit in bits] for pin, bits in entry.get("connections", {}).items()}
    return entry.get("type"), entry.get("parameters", {}), pins
