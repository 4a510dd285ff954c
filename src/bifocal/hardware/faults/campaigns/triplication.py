"""Hardening by triplication: copies of the worst LUTs and flip-flops, and majority voters behind them.

Copy k of a triplicated cell reads copy k of every other triplicated cell. Only where a triplicated net is
read by a cell that exists once, or is an output, is there a voter, a LUT3. So neighbouring copies need few
voters. A voter is a LUT like any other: its INIT bits are faults of the hardened netlist.

One flipped bit of a voter holds its output at a constant. So the cost of a voter on a net is known in
advance: it is the score of the net stuck at 0 and at 1. :func:`choose` uses it. Triplicating a flip-flop is
worth it where that moves voters away from costly nets.

The selection is ours; triplication with majority voters is old (von Neumann 1956; Lyons, Vanderkulk 1962).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from bifocal.errors import CircuitError
from bifocal.hardware.circuits.memories import PREFIX
from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.circuits.synthesis import find_yosys, only_top, run_yosys
from bifocal.hardware.circuits.tools import TIMEOUT
from bifocal.hardware.circuits.verilog import to_verilog

#: INIT of a LUT3 whose output is the majority of its inputs, highest address first.
MAJORITY = "11101000"
_KEEP = "00000000000000000000000000000001"
#: For the number of a net, the numbers of its nets in copies 0, 1 and 2.
_Nets = Mapping[int, tuple[int, int, int]]


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
        return (*(name for cell in self.tripled for name in _copy_names(cell)), *self.voters)

    @property
    def tripled(self) -> tuple[str, ...]:
        """The names of the cells that were triplicated."""
        return (*self.luts, *self.flipflops)

    def verilog(self) -> str:
        """The same as structural Verilog, its copies marked so that no tool merges them."""
        return to_verilog(self.json)


@dataclass(frozen=True)
class Survival:
    """Which copies and voters are lost when Yosys reads the structural Verilog and optimises it."""

    tool: str
    made: int
    lost: tuple[str, ...]

    def __str__(self) -> str:
        kept = f"{len(self.lost)} are lost: {', '.join(self.lost)}" if self.lost else "all are kept"
        return f"{self.tool} read hardened.v and optimised it: of {self.made} copies and voters {kept}"


def choose(
    netlist: Netlist,
    lut_scores: Mapping[int, float],
    stuck_scores: Mapping[int, float],
    *,
    share: float = 0.5,
) -> tuple[list[int], list[int]]:
    """The LUTs (as indices of gates) and flip-flops to triplicate.

    The worst LUTs by ``lut_scores`` (the sum of a LUT's scores over its INIT bits) that make up ``share`` of
    the whole sum are taken; then every flip-flop whose triplication lowers the cost of voters.
    ``stuck_scores`` is, for each net, the sum of its scores when stuck at 0 and at 1, the cost of a voter.

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

    def cost(net: int) -> float:
        """The cost of the voter on this net, 0 if it needs none."""
        if driver[net] not in chosen or readers[net] <= chosen:
            return 0.0
        return stuck_scores.get(net, 0.0)

    changed = True
    while changed:
        changed = False
        for j, flipflop in enumerate(netlist.flipflops):
            cell = gates + j
            if cell in chosen or flipflop.kind.startswith(PREFIX):
                continue
            around = {flipflop.output, flipflop.data, flipflop.enable, flipflop.control} & driver.keys()
            before = sum(map(cost, around))
            chosen.add(cell)
            if sum(map(cost, around)) < before - 1e-12:
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

    With ``feedback`` there are three voters behind every triplicated flip-flop, so that a copy that was upset
    is corrected by the others; without, it stays wrong (and outvoted) until it is overwritten.

    :raises CircuitError: if a cell does not exist, or is neither a LUT nor a flip-flop.
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
    fresh = count(1 + max(_numbers(module)))
    copies = {bit: (next(fresh), next(fresh), next(fresh)) for bit in outputs.values()}
    seen = dict(copies)
    voters: dict[str, Any] = {}
    outside = _read_outside(module, kinds)
    for cell, bit in outputs.items():
        if feedback and kinds[cell] == "FD":
            seen[bit] = (bit, next(fresh), next(fresh))
            for k, voted in enumerate(seen[bit]):
                voters[f"{cell}.vote{k}"] = _voter(copies[bit], voted, cells[cell])
        elif bit in outside:
            voters[f"{cell}.vote"] = _voter(copies[bit], bit, cells[cell])
    made: dict[str, Any] = {}
    for cell, entry in cells.items():
        made |= _three(cell, entry, outputs[cell], copies, seen) if cell in kinds else {cell: entry}
    module["cells"] = {**made, **voters}
    _rename_replaced(module, copies)
    module.setdefault("attributes", {})["top"] = _KEEP
    return Hardened(json.dumps(design), tuple(luts), tuple(flipflops), tuple(voters))


def _read_outside(module: Mapping[str, Any], triplicated: Container[str]) -> set[int]:
    """The nets of ports, and of cells that are not triplicated."""
    groups = [entry["bits"] for entry in module["ports"].values()]
    for cell, entry in module["cells"].items():
        if cell not in triplicated:
            groups += entry["connections"].values()
    return {bit for bits in groups for bit in bits}


def _three(cell: str, entry: Mapping[str, Any], output: int, copies: _Nets, seen: _Nets) -> dict[str, Any]:
    """A cell three times. ``copies`` are the nets that copies drive, ``seen`` those that copies read."""
    made: dict[str, Any] = {}
    for k, name in enumerate(_copy_names(cell)):
        pins = {
            pin: [
                copies[bit][k] if bit == output and pin in "OQ" else seen.get(bit, (bit,) * 3)[k]
                for bit in bits
            ]
            for pin, bits in entry["connections"].items()
        }
        attributes = {**entry.get("attributes", {}), "keep": _KEEP}
        made[name] = {**entry, "attributes": attributes, "connections": pins}
    return made


def _rename_replaced(module: Mapping[str, Any], copies: _Nets) -> None:
    """Give the names of nets that exist no more to their first copies."""
    alive = {
        bit for cell in module["cells"].values() for bits in cell["connections"].values() for bit in bits
    }
    for entry in module.get("netnames", {}).values():
        entry["bits"] = [
            copies[bit][0] if bit in copies and bit not in alive else bit for bit in entry["bits"]
        ]


def survival(hardened: Hardened, *, yosys: str = "auto", timeout: float = TIMEOUT) -> Survival:
    """Read the structural Verilog into Yosys, let it merge equal cells and clean up, and list what is lost.

    :raises ToolError: if there is no Yosys, or it cannot read the netlist.
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
    left = {name.removeprefix("\\") for name in module["cells"]}  # Yosys puts this before names with a $
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
