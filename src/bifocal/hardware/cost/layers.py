"""A graph as layers: what is computed between a read from memory and a write to it.

A layer is an operator with products or sums over positions, and what can be done to its output on the way to
memory: pointwise functions, and moving values. Where several readers want a pointwise function or a view of a
stored tensor, each applies it as it reads: nothing is stored twice. A residual sum is made by the layer that
completes it, which reads the other summand; the sum is stored. (The paper does not say what becomes of it;
its public code leaves the sum out of its count.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from bifocal.errors import GraphError
from bifocal.hardware.cost.graph import Array, Graph, Node, Shape, described
from bifocal.hardware.cost.sizes import infer_sizes

POINTWISE = frozenset(
    "Abs Add And BatchNormalization Cast Ceil Celu Clip Cos DequantizeLinear Div Dropout Elu Equal Erf Exp "
    "Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish IsInf IsNaN LeakyRelu Less LessOrEqual Log "
    "Max Mean "
    "Min Mish Mod Mul Neg Not Or PRelu Pow QuantizeLinear Reciprocal Relu Round Selu Sigmoid Sign Sin "
    "Softplus "
    "Softsign Sqrt Sub Sum Tanh ThresholdedRelu Where Xor".split()
)
VIEWS = frozenset(
    "Concat DepthToSpace Expand Flatten Gather Identity Pad Reshape Slice SpaceToDepth Split Squeeze Tile "
    "Transpose Unsqueeze Upsample".split()
)
Sizes = Mapping[str, tuple[Shape, int]]


@dataclass
class Layer:
    """``nodes`` are its own, the first does the products; ``extra`` are views and functions that it applies
    to what it reads; ``reads`` and ``writes`` name tensors in memory."""

    number: int
    nodes: list[Node]
    extra: list[Node] = field(default_factory=list)
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of its first node, or of what that makes."""
        return self.nodes[0].name or self.nodes[0].outputs[0]

    @property
    def ops(self) -> str:
        """The operators of its own nodes."""
        return ", ".join(dict.fromkeys(node.op for node in self.nodes))


@dataclass(frozen=True, eq=False)
class Plan:
    """The layers of a graph for feeds of certain sizes. ``static`` are tensors that do not depend on what is
    fed: weights, and what is made of them; ``fixed`` those of them that only sizes decide."""

    graph: Graph
    sizes: Sizes
    layers: tuple[Layer, ...]
    fixed: Mapping[str, Array]
    static: frozenset[str]

    def maker(self, tensor: str) -> str:
        """The node that makes a tensor, as errors name it."""
        made = (node for node in self.graph.nodes if tensor in node.outputs)
        return next((described(node) for node in made), "the graph's input")

    def last_uses(self) -> dict[str, int]:
        """For each tensor in memory the number of the last layer that reads it."""
        return {name: layer.number for layer in self.layers for name in layer.reads}


def plan_layers(graph: Graph, feeds: Mapping[str, Array]) -> Plan:
    """Cut a graph into layers for these feeds.

    :raises GraphError: if a size stays unknown.
    :raises OptionError: if the feeds are not the graph's.
    """
    return _Planner(graph, *infer_sizes(graph, feeds)).plan()


class _Planner:
    def __init__(self, graph: Graph, sizes: Sizes, fixed: Mapping[str, Array]) -> None:
        self.graph, self.sizes, self.fixed = graph, sizes, fixed
        self.static: set[str] = {*graph.constants, *fixed}
        self.level: dict[str, int] = dict.fromkeys(graph.inputs, -1)  # the last layer that a tensor needs
        self.owner: dict[str, int] = {}  # the layer that makes a tensor
        self.maker = {name: node for node in graph.nodes for name in node.outputs}
        self.readers: dict[str, int] = dict.fromkeys(graph.outputs, 2)
        for node in graph.nodes:
            for name in node.inputs:
                self.readers[name] = self.readers.get(name, 0) + 1
        self.layers: list[Layer] = []

    def plan(self) -> Plan:
        for node in self.graph.nodes:
            self._place(node)
        owned = {name for layer in self.layers for node in layer.nodes for name in node.outputs}
        memory = owned | set(self.graph.inputs)
        for layer in self.layers:
            layer.extra, layer.reads = self._needs(layer, memory)
        wanted = set(self.graph.outputs) | {name for layer in self.layers for name in layer.reads}
        for layer in self.layers:
            layer.writes = tuple(n for node in layer.nodes for n in node.outputs if n in wanted)
        return Plan(self.graph, self.sizes, tuple(self.layers), self.fixed, frozenset(self.static))

    def _place(self, node: Node) -> None:
        """Give a node to a layer, or leave it to those who read what it makes."""
        if node.outputs[0] in self.fixed:
            return
        sources = [name for name in dict.fromkeys(node.inputs) if name not in self.static]
        if not sources:
            self.static.update(node.outputs)
            return
        level = max(self.level[name] for name in sources)
        home = self._home(node, sources, level)
        is_output = any(name in self.graph.outputs for name in node.outputs)
        passive = node.op in VIEWS or (node.op in POINTWISE and len(sources) == 1)
        if home is None and passive and not is_output:
            self.level.update(dict.fromkeys(node.outputs, level))
            return
        if home is None:
            home = len(self.layers)
            self.layers.append(Layer(home, []))
        self.layers[home].nodes.append(node)
        for name in node.outputs:
            self.level[name] = self.owner[name] = home

    def _home(self, node: Node, sources: list[str], level: int) -> int | None:
        """The layer whose output a node only changes on its way to memory, if there is one."""
        if node.op not in POINTWISE and (node.op not in VIEWS or len(sources) > 1):
            return None
        for name in sources:
            others = [self.level[other] for other in sources if other != name]
            last = all(other < level for other in others)
            if self.owner.get(name) == level and self.readers[name] == 1 and last:
                return level
        return None

    def _needs(self, layer: Layer, memory: set[str]) -> tuple[list[Node], tuple[str, ...]]:
        """The nodes that a layer applies as it reads, in order, and the tensors that it reads."""
        own = {name for node in layer.nodes for name in node.outputs}
        waiting = [name for node in layer.nodes for name in node.inputs]
        extra: dict[int, Node] = {}
        reads: dict[str, None] = {}
        while waiting:
            name = waiting.pop()
            if name in own or name in self.graph.constants or name in self.fixed:
                continue
            if name in memory:
                reads[name] = None
                continue
            node = self.maker[name]
            if id(node) not in extra:
                extra[id(node)] = node
                waiting += node.inputs
        ordered = [node for node in self.graph.nodes if id(node) in extra]
        names = [*self.graph.inputs, *self.owner]
        return ordered, tuple(name for name in names if name in reads)


def run_layers(
    plan: Plan, feeds: Mapping[str, Array], *, threads: int = 0
) -> Iterator[tuple[Layer, dict[str, Array], Callable[[str, Array], None]]]:
    """Run a plan layer by layer: each with what it writes, and a function that puts another array in its
    place.

    Tensors are dropped after their last reader, so memory holds what is alive.

    :raises GraphError: if a layer cannot run, or gives NaN or infinite values.
    """
    last = plan.last_uses()
    alive: dict[str, Array] = {name: array for name, array in feeds.items() if name in last}
    weights = {tensor.name: tensor for tensor in plan.graph.model.graph.initializer}
    for layer in plan.layers:
        made = _run(plan, layer, weights, alive, threads)
        for name, array in made.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise GraphError(
                    f"{plan.graph.name}: {name}, made by {plan.maker(name)}, has NaN or infinite values. "
                    "Check the range of the inputs (--scale), or the network."
                )
        alive.update((name, array) for name, array in made.items() if name in last)
        yield layer, made, alive.__setitem__
        for name in [name for name in alive if last.get(name, -1) <= layer.number]:
            del alive[name]


def _run(
    plan: Plan, layer: Layer, weights: Mapping[str, Any], alive: Mapping[str, Array], threads: int
) -> dict[str, Array]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False
    try:
        session = ort.InferenceSession(
            _layer_model(plan, layer, weights), options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
        arrays = session.run(list(layer.writes), {name: alive[name] for name in layer.reads})
    except Exception as error:  # ONNX Runtime raises its own kinds, none of which it exports as a tree
        raise GraphError(
            f"{plan.graph.name}: {described(layer.nodes[0])} does not run: {str(error).splitlines()[0]} "
            "Check that ONNX Runtime runs the file with inputs of these sizes."
        ) from error
    return dict(zip(layer.writes, arrays, strict=True))


def _layer_model(plan: Plan, layer: Layer, weights: Mapping[str, Any]) -> bytes:
    """A model of one layer."""
    nodes = [node.proto for node in (*layer.extra, *layer.nodes)]
    wanted = {name for node in nodes for name in node.input}
    constants = [weights[name] for name in wanted if name in weights]
    constants += [numpy_helper.from_array(plan.fixed[n], n) for n in wanted if n in plan.fixed]

    def values(names: Iterable[str]) -> list[Any]:
        return [helper.make_tensor_value_info(n, plan.sizes[n][1], plan.sizes[n][0]) for n in names]

    graph = helper.make_graph(nodes, layer.name, values(layer.reads), values(layer.writes), constants)
    source = plan.graph.model
    model = helper.make_model(graph, opset_imports=source.opset_import, ir_version=source.ir_version)
    return bytes(model.SerializeToString())
