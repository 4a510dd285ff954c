"""What a network's activations cost outside the chip: every one written by a real coder and read back.

Layer by layer: what a layer writes is quantised, coded block by block, decoded, compared, and given to the
layers that read it in the place of the float values. So the outputs, and whatever is measured of them, are
those of the machine whose traffic is counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bifocal.errors import BifocalError
from bifocal.hardware.cost.blocks import load, store
from bifocal.hardware.cost.coders import Coder, available_coders
from bifocal.hardware.cost.constants import Memory
from bifocal.hardware.cost.geometry import multiply_adds, weight_values
from bifocal.hardware.cost.graph import Array, Graph
from bifocal.hardware.cost.layers import Layer, Plan, plan_layers, run_layers
from bifocal.hardware.cost.quantise import Floats, MinMax, Quantised, Quantiser, Steps
from bifocal.hardware.cost.tiles import Tiled, line_buffer, tile_plan
from bifocal.hardware.cost.transform import Transforms

FLOAT32 = "float32"
_MEMORY, _PUBLISHED = Memory(), MinMax()


class CoderFault(BifocalError):
    """A coder did not give back what it was given: a fault of Bifocal."""


@dataclass(frozen=True)
class TensorCost:
    """A tensor in memory: ``values`` of ``shape``; ``bytes`` and ``side`` (of these) by coder; ``zeros``, the
    share of values that are exactly zero; ``depth`` bits when not coded; ``reads`` how many layers read
    it."""

    name: str
    shape: tuple[int, ...]
    values: int
    depth: int
    zeros: float
    reads: int
    bytes: Mapping[str, int]
    side: Mapping[str, float]

    def transferred(self, way: str) -> int:
        """Bytes written and read."""
        return self.bytes[way] * (1 + self.reads)


@dataclass(frozen=True)
class LayerCost:
    """A layer: its multiply–adds, those of learned transforms around it, its numbers of weights."""

    name: str
    ops: str
    macs: int
    transform_macs: int
    weights: int
    reads: tuple[str, ...]
    writes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Traffic:
    """What one pass of a network costs. ``ways`` are ``float32`` and the coders' names.

    ``boundary`` are the bytes of the network's own inputs and outputs, at 8 bits a value and at 32 for
    ``float32``; ``live`` the most bytes of tensors that are alive at once; ``outputs`` what the network gives
    with decoded activations, ``reference`` with float ones.
    """

    network: str
    layers: tuple[LayerCost, ...]
    tensors: tuple[TensorCost, ...]
    boundary: Mapping[str, int]
    live: Mapping[str, int]
    outputs: Mapping[str, Array]
    reference: Mapping[str, Array]
    tiled: tuple[Tiled, ...]
    not_tiled: str
    line_buffer: int

    @property
    def ways(self) -> tuple[str, ...]:
        return tuple(self.boundary)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def transform_macs(self) -> int:
        return sum(layer.transform_macs for layer in self.layers)

    @property
    def weights(self) -> int:
        """Numbers of weights, read once a pass."""
        return sum(layer.weights for layer in self.layers)

    @property
    def values(self) -> int:
        """Activations that are coded, each once."""
        return sum(tensor.values for tensor in self.tensors)

    def activations(self, way: str) -> int:
        """Bytes of activations, written and read."""
        return sum(tensor.transferred(way) for tensor in self.tensors)

    def written(self, way: str) -> int:
        """Bytes of activations, each tensor once."""
        return sum(tensor.bytes[way] for tensor in self.tensors)

    def bits(self, way: str) -> float:
        """Bits an activation, side information, index and filling of bursts included."""
        return 8 * self.written(way) / max(1, self.values)

    def side(self, way: str) -> float:
        """Bytes of side information, index and filling, of those written once."""
        return sum(tensor.side[way] for tensor in self.tensors)

    def total(self, way: str) -> int:
        """Bytes of everything: activations, inputs, outputs and weights (8 bits, 32 for float32)."""
        return self.activations(way) + self.boundary[way] + self.weights * (4 if way == FLOAT32 else 1)


def measure(
    graph: Graph,
    feeds: Mapping[str, Array],
    coders: Sequence[Coder] | None = None,
    memory: Memory = _MEMORY,
    *,
    quantiser: Quantiser = _PUBLISHED,
    transforms: Transforms | None = None,
    threads: int = 0,
) -> Traffic:
    """Run a network once, with every activation that leaves a layer coded and decoded by every coder.

    :param coders: all that are installed by default.
    :param transforms: matrices around the coder of a tensor, by its name; their products are counted.
    :param threads: of ONNX Runtime; 0 takes all processors.
    :raises GraphError: if a size stays unknown, a layer does not run, or a value is NaN.
    :raises OptionError: if the feeds are not those of the graph.
    """
    coders = available_coders() if coders is None else coders
    plan = plan_layers(graph, feeds)
    reference = {
        name: made[name]
        for _, made, _ in run_layers(plan, feeds, threads=threads)
        for name in made
        if name in graph.outputs
    }
    reads = {name: sum(name in layer.reads for layer in plan.layers) for name in plan.last_uses()}
    boundary_names = [*graph.inputs, *graph.outputs]
    tensors: list[TensorCost] = []
    outputs: dict[str, Array] = {}
    for _, made, put in run_layers(plan, feeds, threads=threads):
        for name, array in made.items():
            if name in graph.outputs:
                outputs[name] = array
            if reads.get(name, 0):
                changed, cost = _through(name, array, coders, memory, quantiser, transforms, reads[name])
                put(name, changed)
                tensors.append(cost)
    ways = (FLOAT32, *(coder.name for coder in coders))
    values = sum(math.prod(plan.sizes[name][0]) for name in boundary_names)
    boundary = {way: values * (4 if way == FLOAT32 else 1) for way in ways}
    tiled, obstacle = tile_plan(plan, memory)
    return Traffic(
        graph.name,
        tuple(_layer_cost(plan, layer, transforms) for layer in plan.layers),
        tuple(tensors),
        boundary,
        _live(plan, tensors, ways),
        outputs,
        reference,
        tuple(tiled),
        obstacle,
        line_buffer(plan),
    )


def as_map(x: Array) -> Array:
    """A tensor as ``[channels, height, width]``: of ``[1, c, h, w]`` as it is, of tokens ``[1, n, c]`` and
    vectors ``[1, c]`` with their last dimension as channels.

    >>> as_map(np.zeros((1, 7, 4))).shape, as_map(np.zeros((1, 3, 5, 6))).shape
    ((4, 7, 1), (3, 5, 6))
    """
    if x.ndim == 4:
        return x.reshape(-1, *x.shape[2:])
    if x.ndim > 4:
        return x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])
    channels = x.shape[-1] if x.ndim else 1
    return x.reshape(-1, channels).T[:, :, None]


def restored_as(x: Array, like: Array) -> Array:
    """The inverse of :func:`as_map`: the shape and type of ``like``."""
    x = x if like.ndim >= 4 else x[:, :, 0].T
    return x.reshape(like.shape).astype(like.dtype)


def _through(
    name: str,
    array: Array,
    coders: Sequence[Coder],
    memory: Memory,
    quantiser: Quantiser,
    transforms: Transforms | None,
    reads: int,
) -> tuple[Array, TensorCost]:
    """A tensor as its readers get it, and what it costs."""
    tensor = as_map(array)
    if array.dtype.kind == "f":
        floats: Floats = np.ascontiguousarray(tensor, np.float32)
        turned = transforms.forward(name, floats) if transforms else floats
        quantised = quantiser(name, turned)
        restored = quantised.restore()
        restored = transforms.backward(name, restored) if transforms else restored
        changed = restored_as(restored, array)
    else:  # integers of a network that is quantised already: exact
        quantised = _integers(tensor)
        changed = array
    costs, side = {FLOAT32: memory.whole_bursts(4 * array.size)}, {FLOAT32: 0.0}
    for coder in coders:
        stored = store(coder, quantised, memory)
        if not np.array_equal(load(coder, stored), quantised.values):
            raise CoderFault(f"the coder {coder.name} did not give back {name}: please report this.")
        costs[coder.name], side[coder.name] = stored.bytes, stored.side_bytes
    zeros = float((array == 0).mean()) if array.size else 0.0
    return changed, TensorCost(name, array.shape, array.size, quantised.depth, zeros, reads, costs, side)


def _integers(tensor: Array) -> Quantised:
    """Integer or boolean values, without loss as long as they span 15 bits."""
    return Steps(other=1.0)("", tensor.astype(np.float32))


def _layer_cost(plan: Plan, layer: Layer, transforms: Transforms | None) -> LayerCost:
    nodes = (*layer.nodes, *layer.extra)
    macs = sum(multiply_adds(node, plan.sizes) for node in layer.nodes)
    around = 0
    if transforms:
        around = sum(
            transforms.macs(name, plan.sizes[name][0])
            for name in (*layer.reads, *layer.writes)
            if name not in plan.graph.inputs
        )
    weights = weight_values(plan, nodes)
    return LayerCost(layer.name, layer.ops, macs, around, weights, layer.reads, layer.writes)


def _live(plan: Plan, tensors: Sequence[TensorCost], ways: Sequence[str]) -> dict[str, int]:
    """The most bytes that are alive at once: inputs and outputs at 8 bits, or 32 for float32."""
    cost = {tensor.name: tensor.bytes for tensor in tensors}
    last = plan.last_uses()
    peaks = {}
    for way in ways:
        size = 4 if way == FLOAT32 else 1
        alive = {name: math.prod(plan.sizes[name][0]) * size for name in plan.graph.inputs}
        peak = 0
        for layer in plan.layers:
            for name in layer.writes:
                alive[name] = cost[name][way] if name in cost else math.prod(plan.sizes[name][0]) * size
            peak = max(peak, sum(alive.values()))
            alive = {name: count for name, count in alive.items() if last.get(name, -1) > layer.number}
        peaks[way] = peak
    return peaks
