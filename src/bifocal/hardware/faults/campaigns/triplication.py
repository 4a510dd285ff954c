"""Hardening by triplication: the worst LUTs and flip-flops three times, and majority voters where they end.

A cell that is triplicated reads, in copy k, copy k of whatever else is triplicated; only where a triplicated
net leaves for a reader that exists once, or for an output, stands a voter, a LUT3. So copies that lie side by
side share few voters, and a voter is a LUT like any other: its INIT bits are faults of the hardened netlist.

One flipped bit of a voter holds its output at a constant. That makes the price of a voter on a net known
beforehand: what the net costs when it is stuck at 0 and at 1. :func:`choose` weighs this. Triplicated
flip-flops are worth it where they move voters away from costly nets.

The plan is ours; triplication with majority voters is old (von Neumann 1956; Lyons and Vanderkulk 1962).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bifocal.errors import CircuitError
from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.synthesis import find_yosys, only_top, run_yosys
from bifocal.hardware.circuits.tools import TIMEOUT
from bifocal.hardware.circuits.verilog import to_verilog

#: INIT of a LUT3 that says what two of its three inputs say, highest address first.
MAJORITY = "11101000"
_KEEP = "00000000000000000000000000000001"


@dataclass(frozen=True)
class Hardened:
    """A netlist with triplicated cells: as Yosys JSON, and which cells were triplicated or added."""

    json: str = field(repr=False)
    luts: tuple[str, ...]
    flipflops: tuple[str, ...]
    voters: tuple[str, ...]

    @property
    def made(self) -> tuple[str, ...]:
        """The names of all copies and voters."""
        names = (name for cell in (*self.luts, *self.flipflops) for name in _copy_names(cell))
        return (*names, *self.voters)

    def verilog(self) -> str:
        """The same as structural Verilog, its copies marked so that no tool merges them."""
        return to_verilog(self.json)


@dataclass(frozen=True)
class Survival:
    """What Yosys left of the copies and voters when it read the structural Verilog and optimised it."""

    tool: str
    made: int
    lost: tuple[str, ...]


def choose(
    netlist: Netlist,
    lut_scores: Mapping[int, float],
    stuck_scores: Mapping[int, float],
    *,
    share: float = 0.5,
) -> tuple[list[int], list[int]]:
    """The LUTs (indices of gates) and flip-flops that should be triplicated.

    The worst LUTs by ``lut_scores`` (the sum of a LUT's scores over its INIT bits) that make up ``share`` of
    the whole sum are taken; then every flip-flop whose triplication lowers what remains. ``stuck_scores`` is,
    for a net, the sum of the scores of its being stuck at 0 and at 1: the price of a voter there.

    :raises CircuitError: if ``share`` is not in 0..1, or there is nothing to harden.
    """
    if not 0 < share <= 1:
        raise CircuitError(f"share is {share}; give the part of the score to harden, above 0 and at most 1.")
    ranked = sorted((i for i in lut_scores if lut_scores[i] > 0), key=lambda i: (-lut_scores[i], i))
    if not ranked:
        raise CircuitError("no LUT has a score above 0, so there is nothing to harden.")
    total, reached, chosen = sum(lut_scores.values()), 0.0, set[int]()
    for i in ranked:
        if reached >= share * total - 1e-12:
            break
        chosen.add(i)
        reached += lut_scores[i]
    gates = len(netlist.gates)
    readers, driver = _readers(netlist)

    def price(net: int) -> float:
        """What the voter on this net costs, 0 if it needs none."""
        if driver[net] not in chosen or readers[net] <= chosen:
            return 0.0
        return stuck_scores.get(net, 0.0)

    changed = True
    while changed:
        changed = False
        for j, flipflop in enumerate(netlist.flipflops):
            cell = gates + j
            if cell in chosen:
                continue
            around = {flipflop.output, flipflop.data, flipflop.enable, flipflop.control} & driver.keys()
            before = sum(map(price, around))
            chosen.add(cell)
            if sum(map(price, around)) < before - 1e-12:
                changed = True
            else:
                chosen.discard(cell)
    return sorted(c for c in chosen if c < gates), sorted(c - gates for c in chosen if c >= gates)


def _readers(netlist: Netlist) -> tuple[dict[int, set[int]], dict[int, int]]:
    """For each net that a cell drives: the cells that read it (−1: an output port), and its driver.

    Cells are gates, then flip-flops.
    """
    driver = {gate.output: i for i, gate in enumerate(netlist.gates)}
    driver |= {f.output: len(netlist.gates) + j for j, f in enumerate(netlist.flipflops)}
    readers: dict[int, set[int]] = {net: set() for net in driver}
    pins = [(i, gate.inputs) for i, gate in enumerate(netlist.gates)]
    pins += [(len(netlist.gates) + j, (f.data, f.enable, f.control)) for j, f in enumerate(netlist.flipflops)]
    pins += [(-1, port.nets) for port in netlist.outputs]
    for cell, nets in pins:
        for net in nets:
            if net in readers:
                readers[net].add(cell)
    return readers, driver


def triplicate(
    text: str, luts: Sequence[str], flipflops: Sequence[str] = (), *, feedback: bool = False
) -> Hardened:
    """Triplicate cells of a Yosys JSON netlist, by name.

    With ``feedback`` three voters stand behind every triplicated flip-flop, so that a copy that was upset is
    put right by the others; without, it stays wrong (and outvoted) until it is overwritten.

    :raises CircuitError: if a cell is not there, or is neither a LUT nor a flip-flop.
    """
    design = json.loads(text)
    ((name, module),) = design["modules"].items()
    cells: dict[str, Any] = module["cells"]
    kinds = {**dict.fromkeys(luts, "LUT"), **dict.fromkeys(flipflops, "FD")}
    if wrong := [c for c, kind in kinds.items() if not cells.get(c, {}).get("type", "").startswith(kind)]:
        raise CircuitError(
            f"{name} has no LUT or flip-flop {', '.join(wrong)}. Take the names from its report."
        )
    outputs = {c: cells[c]["connections"]["O" if kinds[c] == "LUT" else "Q"][0] for c in kinds}
    fresh = 1 + max(_numbers(module))
    copies: dict[int, tuple[int, int, int]] = {}
    for place, bit in enumerate(outputs.values()):
        copies[bit] = (fresh + 3 * place, fresh + 3 * place + 1, fresh + 3 * place + 2)
    fresh += 3 * len(copies)
    outside = {bit for entry in module["ports"].values() for bit in entry["bits"]}
    for cell, entry in cells.items():
        if cell not in kinds:
            outside |= {bit for bits in entry["connections"].values() for bit in bits}

    seen: dict[int, tuple[int, int, int]] = dict(copies)  # what copy 0, 1 and 2 of a reader see of a net
    voters: dict[str, Any] = {}
    for cell, bit in outputs.items():
        if feedback and kinds[cell] == "FD":
            seen[bit] = (bit, fresh, fresh + 1)
            fresh += 2
            for k, voted in enumerate(seen[bit]):
                voters[f"{cell}.vote{k}"] = _voter(copies[bit], voted, cells[cell])
        elif bit in outside:
            voters[f"{cell}.vote"] = _voter(copies[bit], bit, cells[cell])

    made: dict[str, Any] = {}
    for cell, entry in cells.items():
        if cell not in kinds:
            made[cell] = entry
            continue
        for k in range(3):
            pins = {
                pin: [
                    copies[bit][k] if bit == outputs[cell] and pin in "OQ" else seen.get(bit, (bit,) * 3)[k]
                    for bit in bits
                ]
                for pin, bits in entry["connections"].items()
            }
            attributes = {**entry.get("attributes", {}), "keep": _KEEP}
            made[_copy_names(cell)[k]] = {
                **entry,
                "attributes": attributes,
                "connections": pins,
            }
    module["cells"] = {**made, **voters}
    alive = {
        bit for entry in module["cells"].values() for bits in entry["connections"].values() for bit in bits
    }
    for entry in module.get("netnames", {}).values():
        entry["bits"] = [
            copies[bit][0] if bit in copies and bit not in alive else bit for bit in entry["bits"]
        ]
    module.setdefault("attributes", {})["top"] = _KEEP
    return Hardened(json.dumps(design), tuple(luts), tuple(flipflops), tuple(voters))


def survival(hardened: Hardened, *, yosys: str = "auto", timeout: float = TIMEOUT) -> Survival:
    """Read the structural Verilog into Yosys, let it merge equal cells and clean up, and see what is left.

    :raises ToolError: if there is no Yosys, or it cannot read what we wrote.
    """
    tool = find_yosys(yosys)
    (top,) = json.loads(hardened.json)["modules"]
    with tempfile.TemporaryDirectory(prefix="bifocal-yosys-") as name:
        folder = Path(name)
        (folder / "hardened.v").write_text(hardened.verilog(), encoding="utf-8")
        lines = [
            "read_verilog -lib +/xilinx/cells_sim.v",
            "read_verilog hardened.v",
            f"hierarchy -check -top {top}",
            "proc",
            "flatten",
            "opt -full -share_all",
            "opt_merge -share_all",
            "opt_clean -purge",
            "blackbox =A:whitebox",
            "write_json netlist.json",
        ]
        run_yosys(tool, lines, folder, timeout, "read the hardened netlist")
        after, _ = only_top((folder / "netlist.json").read_text(encoding="utf-8"), top)
    ((_, module),) = json.loads(after)["modules"].items()
    left = {name.removeprefix("\\") for name in module["cells"]}  # Yosys marks names with a $ of ours so
    lost = tuple(name for name in hardened.made if name not in left)
    return Survival(tool.version, len(hardened.made), lost)


def _copy_names(cell: str) -> tuple[str, str, str]:
    return cell, f"{cell}.copy1", f"{cell}.copy2"


def _numbers(module: Mapping[str, Any]) -> list[int]:
    groups = [entry["bits"] for entry in module["ports"].values()]
    groups += [entry["bits"] for entry in module.get("netnames", {}).values()]
    groups += [bits for cell in module["cells"].values() for bits in cell["connections"].values()]
    return [1, *(bit for bits in groups for bit in bits if isinstance(bit, int))]


def _voter(inputs: Sequence[int], output: int, cell: Mapping[str, Any]) -> dict[str, Any]:
    source = {key: value for key, value in cell.get("attributes", {}).items() if key == "src"}
    return {
        "hide_name": 0,
        "type": "LUT3",
        "parameters": {"INIT": MAJORITY},
        "attributes": {**source, "keep": _KEEP},
        "port_directions": {"I0": "input", "I1": "input", "I2": "input", "O": "output"},
        "connections": {"I0": [inputs[0]], "I1": [inputs[1]], "I2": [inputs[2]], "O": [output]},
    }
