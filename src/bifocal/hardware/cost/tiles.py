"""Line-buffered execution: a tile with its halo passes through all layers on the chip.

Nothing between input and output goes to memory; what the halos of neighbouring tiles share is read and
computed again. Recomputing may beat compressing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bifocal.hardware.cost.constants import Memory
from bifocal.hardware.cost.geometry import WHOLE, Stretch, multiply_adds, needed, weight_values
from bifocal.hardware.cost.layers import Plan

#: Sides of tiles that are tried, in pixels of the larger of input and output.
SIDES = (32, 64, 128, 256, 512, 1024)
Needs = dict[str, Stretch]


@dataclass(frozen=True)
class Tiled:
    """A network in tiles of ``side`` pixels. ``boundary`` are bytes of input, halos included, and output at 8
    bits; ``weights`` their bytes, read again for every tile if they do not fit beside it; ``sram`` what a
    tile needs on the chip at 8 bits without weights."""

    side: int
    tiles: int
    boundary: int
    weights: int
    sram: int
    macs: int
    macs_once: int

    @property
    def bytes(self) -> int:
        return self.boundary + self.weights

    @property
    def recomputed(self) -> float:
        """Multiply–adds, as a multiple of those without halos."""
        return self.macs / max(1, self.macs_once)


def tile_plan(plan: Plan, memory: Memory, sides: Sequence[int] = SIDES) -> tuple[list[Tiled], str]:
    """The plan in tiles of each side; or none, and why it cannot be cut.

    A side is left out if the tile would not fit into the memory on the chip, save the smallest.
    """
    if obstacle := _obstacle(plan):
        return [], obstacle
    made = [_tiled(plan, side, memory) for side in sides if side <= _largest(plan) or side == sides[0]]
    return [tiled for tiled in made if tiled.sram <= memory.sram] or made[:1], ""


def line_buffer(plan: Plan) -> int:
    """Bytes on the chip to stream whole rows without computing any twice, at 8 bits: for every tensor in
    memory the rows that one unit of output waits for. 0 where the network cannot be cut."""
    if _obstacle(plan):
        return 0
    unit = max(1, _largest(plan) // min(plan.sizes[n][0][2] for layer in plan.layers for n in layer.writes))
    rows = _needs(plan, 0, _cuts(plan, 0, unit)[1 if _largest(plan) > 2 * unit else 0])
    total = 0
    for name in {n for layer in plan.layers for n in layer.reads}:
        _, channels, _, width = plan.sizes[name][0]
        start, stop = rows.get(name, (0, 0))
        total += (stop - start) * width * channels
    return total


def _obstacle(plan: Plan) -> str:
    """Why a network cannot be cut into tiles; empty if it can."""
    named = [*plan.graph.inputs, *plan.graph.outputs]
    if any(len(plan.sizes[name][0]) != 4 for name in named):
        return "an input or output is no map of rows and columns"
    for axis in (0, 1):
        middle = {
            name: ((size := plan.sizes[name][0][2 + axis]) // 2, size // 2 + 1) for name in plan.graph.outputs
        }
        for name, stretch in _needs(plan, axis, middle).items():
            if stretch == WHOLE:
                return f"{plan.maker(name)} or a reader of it needs the whole picture"
    return ""


def _largest(plan: Plan) -> int:
    return max(plan.sizes[name][0][2] for name in (*plan.graph.inputs, *plan.graph.outputs))


def _cuts(plan: Plan, axis: int, side: int) -> list[Needs]:
    """The stretches of all outputs, for each tile along an axis."""
    names = plan.graph.outputs
    largest = max(plan.sizes[name][0][2 + axis] for name in (*plan.graph.inputs, *names))
    count = max(1, math.ceil(largest / side))
    cuts = []
    for number in range(count):
        sizes = {name: plan.sizes[name][0][2 + axis] for name in names}
        cuts.append({n: (size * number // count, size * (number + 1) // count) for n, size in sizes.items()})
    return cuts


def _needs(plan: Plan, axis: int, outputs: Needs) -> Needs:
    """What every tensor must have so that the outputs can be made."""
    needs = dict(outputs)
    for node in reversed(plan.graph.nodes):
        wanted = [needs[name] for name in node.outputs if name in needs]
        if not wanted:
            continue
        whole = WHOLE in wanted
        stretch = WHOLE if whole else (min(a for a, _ in wanted), max(b for _, b in wanted))
        for name, part in needed(plan, node, axis, stretch).items():
            old = needs.get(name, part)
            lost = WHOLE in (old, part)
            needs[name] = WHOLE if lost else (min(old[0], part[0]), max(old[1], part[1]))
    return needs


def _tiled(plan: Plan, side: int, memory: Memory) -> Tiled:
    rows = [_needs(plan, 0, cut) for cut in _cuts(plan, 0, side)]
    columns = [_needs(plan, 1, cut) for cut in _cuts(plan, 1, side)]

    def share(name: str) -> float:
        """How often the values of a tensor are made, all tiles together."""
        _, _, height, width = plan.sizes[name][0]
        lengths = [sum(b - a for a, b in (cut[name] for cut in cuts)) for cuts in (rows, columns)]
        return lengths[0] * lengths[1] / max(1, height * width)

    def values(name: str) -> int:
        return math.prod(plan.sizes[name][0])

    nodes = [node for node in plan.graph.nodes if all(name in rows[0] for name in node.outputs)]
    macs = {node.outputs[0]: multiply_adds(node, plan.sizes) for node in nodes}
    weights = sum(weight_values(plan, layer.nodes) for layer in plan.layers)
    sram = _peak(plan, rows, columns)
    tiles = len(rows) * len(columns)
    return Tiled(
        side,
        tiles,
        round(sum(values(name) * share(name) for name in (*plan.graph.inputs, *plan.graph.outputs))),
        weights * (1 if weights + sram <= memory.sram else tiles),
        sram,
        round(sum(count * share(name) for name, count in macs.items() if count)),
        sum(macs.values()),
    )


def _peak(plan: Plan, rows: Sequence[Needs], columns: Sequence[Needs]) -> int:
    """The most bytes that a tile has on the chip at once, at 8 bits, for the largest tile."""

    def area(name: str) -> int:
        longest = (max(b - a for a, b in (cut[name] for cut in cuts)) for cuts in (rows, columns))
        return math.prod(longest) * int(plan.sizes[name][0][1])

    last = plan.last_uses()
    alive: dict[str, int] = {name: area(name) for name in plan.graph.inputs if name in rows[0]}
    peak = 0
    for layer in plan.layers:
        alive |= {name: area(name) for name in layer.writes if name in rows[0]}
        peak = max(peak, sum(alive.values()))
        alive = {name: size for name, size in alive.items() if last.get(name, -1) > layer.number}
    return peak
