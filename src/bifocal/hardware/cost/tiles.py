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
    axes = {name: stretch.axis for name, stretch in _needs(plan, _middle(plan, 0)).items()}
    written = [name for layer in plan.layers for name in layer.writes if name in axes]
    unit = max(1, _largest(plan) // min(plan.sizes[name][0][axes[name]] for name in written))
    rows = _needs(plan, _cuts(plan, 0, unit)[1 if _largest(plan) > 2 * unit else 0])
    read = {name for layer in plan.layers for name in layer.reads if name in rows}
    return sum(_values(plan, name, rows) for name in read)


def _obstacle(plan: Plan) -> str:
    """Why a network cannot be cut into tiles; empty if it can."""
    named = [*plan.graph.inputs, *plan.graph.outputs]
    if any(len(plan.sizes[name][0]) != 4 for name in named):
        return "an input or output is no map of rows and columns"
    for axis in (0, 1):
        for name, stretch in _needs(plan, _middle(plan, axis)).items():
            if stretch == WHOLE:
                return f"{plan.maker(name)} or a reader of it needs the whole picture"
    return ""


def _middle(plan: Plan, axis: int) -> Needs:
    """One row (``axis`` 0) or column (1) of each output."""
    sizes = {name: plan.sizes[name][0][2 + axis] for name in plan.graph.outputs}
    return {name: Stretch(2 + axis, size // 2, size // 2 + 1) for name, size in sizes.items()}


def _values(plan: Plan, name: str, *needs: Needs) -> int:
    """Values of a tensor where it is needed along one axis, or along both."""
    shape = list(plan.sizes[name][0])
    for axis, start, stop in (part[name] for part in needs):
        shape[axis] = stop - start
    return math.prod(shape)


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
        ends = {name: (size * number // count, size * (number + 1) // count) for name, size in sizes.items()}
        cuts.append({name: Stretch(2 + axis, *end) for name, end in ends.items()})
    return cuts


def _needs(plan: Plan, outputs: Needs) -> Needs:
    """What every tensor must have so that the outputs can be made."""
    needs = dict(outputs)
    for node in reversed(plan.graph.nodes):
        wanted = [needs[name] for name in node.outputs if name in needs]
        if not wanted:
            continue
        for name, part in needed(plan, node, _joined(wanted)).items():
            needs[name] = _joined([needs.get(name, part), part])
    return needs


def _joined(stretches: Sequence[Stretch]) -> Stretch:
    """What has them all; :data:`WHOLE` if they are not along one axis."""
    if len({stretch.axis for stretch in stretches}) > 1:
        return WHOLE
    return Stretch(stretches[0].axis, min(s.start for s in stretches), max(s.stop for s in stretches))


def _tiled(plan: Plan, side: int, memory: Memory) -> Tiled:
    rows = [_needs(plan, cut) for cut in _cuts(plan, 0, side)]
    columns = [_needs(plan, cut) for cut in _cuts(plan, 1, side)]

    def share(name: str) -> float:
        """How often the values of a tensor are made, all tiles together."""
        made = 1.0
        for cuts in (rows, columns):
            size = plan.sizes[name][0][cuts[0][name].axis]
            made *= sum(cut[name].stop - cut[name].start for cut in cuts) / max(1, size)
        return made

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
        longest = (max(cuts, key=lambda cut: cut[name].stop - cut[name].start) for cuts in (rows, columns))
        return _values(plan, name, *longest)

    last = plan.last_uses()
    alive: dict[str, int] = {name: area(name) for name in plan.graph.inputs if name in rows[0]}
    peak = 0
    for layer in plan.layers:
        alive |= {name: area(name) for name in layer.writes if name in rows[0]}
        peak = max(peak, sum(alive.values()))
        alive = {name: size for name, size in alive.items() if last.get(name, -1) > layer.number}
    return peak
