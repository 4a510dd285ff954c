"""ONNX graphs of exact networks, written without weights: in float32, and in 8-bit products.

They become unfold (Pad, Slice, Concat) and 1×1 convolutions, so that no engine can choose a Winograd or FFT
kernel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from bifocal.learn.packing.graph_builder import GraphBuilder
from bifocal.runtime.engines.exact_int8 import ZERO, ByteNet, byte_file, runs_in_bytes
from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.exact import ExactLayer, ExactNet
from bifocal.stream.plan import Group, seen_channels

#: ONNX Runtime's own operators: a product of integers, scaled and with a bias, in one pass.
MICROSOFT = "com.microsoft"


def exact_graph(net: ExactNet) -> bytes:
    """An exact network: ``x`` float ``[1,c,h,w]`` (integers, unclipped) and a bias row a layer → ``y``.

    The bias of layer L is the input ``bias.L [1,o,1,1]``, since it may depend on the quality; weights are
    the integers of ``weights.safetensors``, unfolded to ``[o, i·k·k, 1, 1]`` by the runtime, and
    ``scale.L = 2^-shift [1,o,1,1]``.
    """
    graph = GraphBuilder(f"exact.{net.name}")
    limit = graph.constant(net.input_max.astype(np.float32).reshape(1, -1, 1, 1))
    x = graph.add("Max", graph.add("Min", "x", limit), graph.add("Neg", limit))
    inputs: dict[str, list[Any]] = {"x": [1, net.inputs, "h", "w"]}
    for number, layer in enumerate(net.layers):
        x = _exact_layer(graph, layer, number, x, inputs)
    return graph.model(inputs, {"y": (x, [1, net.outputs, "oh", "ow"])})


def _exact_layer(
    graph: GraphBuilder, layer: ExactLayer, number: int, x: str, inputs: dict[str, list[Any]]
) -> str:
    rows = len(layer.weight)
    if layer.kernel == 3:
        x = _unfold(graph, x, [0, 0, 1, 1], channels=1)
    taps = layer.kernel**2 * layer.inputs
    weight = graph.weight(f"{number}.matrix", np.empty((rows, taps, 1, 1), np.float32))
    acc = graph.add("Conv", x, weight, kernel_shape=[1, 1])
    inputs[f"bias.{number}"] = [1, rows, 1, 1]
    scale = graph.weight(f"{number}.scale", np.empty((1, rows, 1, 1), np.float32))
    acc = graph.add("Floor", graph.add("Mul", graph.add("Add", acc, f"bias.{number}"), scale))
    lo, hi = (np.array(v, np.float32) for v in (max(layer.lo, 0) if layer.relu else layer.lo, layer.hi))
    y = graph.add("Clip", acc, graph.constant(lo), graph.constant(hi))
    return graph.add("DepthToSpace", y, blocksize=2, mode="CRD") if layer.shuffle else y


def _unfold(graph: GraphBuilder, x: str, margin: list[int], *, channels: int) -> str:
    """The 3×3 neighbourhoods of every position, tap-major: channel index (3a+b)·i + c, zeros beyond the edge.

    ``margin`` is 1 for the axes of rows and columns and 0 for others, ``channels`` the axis of channels.
    """
    padded = graph.add("Pad", x, graph.constant(np.array(margin * 2, np.int64)))
    axes = graph.constant(np.flatnonzero(margin).astype(np.int64))
    windows = []
    for a in range(3):
        for b in range(3):
            ends = [n - 2 if n < 2 else np.iinfo(np.int64).max for n in (a, b)]
            starts = graph.constant(np.array([a, b], np.int64))
            windows.append(graph.add("Slice", padded, starts, graph.constant(np.array(ends, np.int64)), axes))
    return graph.add("Concat", *windows, axis=channels)


def byte_graphs(model: EntropyModel) -> dict[str, bytes]:
    """The graphs of 8-bit products of all exact networks, by file less its ending; none where they cannot run
    exactly."""
    if not runs_in_bytes(model):
        return {}
    made = {byte_file(model.hyper.name): byte_graph(model.hyper)}
    for k, (net, group) in enumerate(zip(model.predictors, model.plan.groups, strict=True)):
        graph = byte_graph(net, model.hyper.outputs, seen_channels(model.plan, k), group)
        made[byte_file(net.name)] = graph
    return {name.removesuffix(".onnx"): graph for name, graph in made.items()}


def byte_graph(net: ExactNet, features: int = 0, seen: int = 0, group: Group | None = None) -> bytes:
    """An exact network in 8-bit products: :class:`bifocal.runtime.engines.exact_int8.ByteNet` is its numbers.

    Maps are unsigned bytes, channels last. The hyper network takes ``x [h,w,c]``, 128 too large, and gives
    ``y``. The predictor of a ``group`` takes ``x [h,w,features+seen]``, where contexts are lower bytes, and
    if it has seen any ``high [h,w,seen]`` or ``[1,1,seen]``, their upper bytes, 128 too large. It gives
    ``mean`` int32 and ``index`` uint8 of every phase, ``[4,m,h·w/4]``. Biases are inputs, since they may
    depend on the quality.
    """
    numbers = ByteNet(net, features, seen, group)
    graph, weights = GraphBuilder(f"exact.{net.name}"), numbers.weights
    inputs: dict[str, list[Any]] = {"x": ["h", "w", features + seen if group else net.inputs]}
    if seen:
        inputs["high"] = ["high_h", "high_w", seen]  # of all positions, or one that stands for all
    types = dict.fromkeys((*inputs, "y", "index"), TensorProto.UINT8) | {"mean": TensorProto.INT32}
    inputs |= {name: list(bias.shape) for name, bias in numbers.biases(1).items()}
    x, prefix = "x", f"exact.{net.name}."
    given = {name.removeprefix(prefix): value for name, value in weights.items()}
    bytes_ = _Bytes(graph, {name: graph.weight(name, value) for name, value in given.items()})
    for number, layer in enumerate(net.layers):
        if layer.kernel == 3:
            x = _unfold(graph, x, [1, 1, 0], channels=2)
        if group and number + 1 == len(net.layers):
            made = bytes_.head(x, number, layer)
            outputs = {name: (value, [4, "m", "n"]) for name, value in made.items()}
            return graph.model(inputs, outputs, types)
        y = bytes_.product(x, f"{number}", "" if group or number else "x", f"bias.{number}")
        if number == 0 and seen:
            y = graph.add("Add", y, bytes_.product("high", "0", "high"))
        x = bytes_.rounded(y, layer)
        x = bytes_.shuffled(x, layer.outputs) if layer.shuffle else x
    return graph.model(inputs, {"y": (x, ["oh", "ow", net.outputs])}, types)


class _Bytes:
    """The steps of :func:`byte_graph`."""

    def __init__(self, graph: GraphBuilder, weights: dict[str, str]) -> None:
        self.graph, self.weights = graph, weights
        self.one = graph.constant(np.array(1, np.float32))
        self.zero, self.middle = (graph.constant(np.array(n, np.uint8)) for n in (0, ZERO))

    def product(self, x: str, layer: str, signed: str = "", bias: str = "") -> str:
        """Sums of integers, scaled, and a bias; ``signed`` inputs are 128 too large."""
        names = (
            (f"{layer}.high", f"{layer}.high_scale")
            if signed == "high"
            else (f"{layer}.bytes", f"{layer}.scale")
        )
        weight, scale = (self.weights[name] for name in names)
        zero = self.middle if signed else self.zero
        rest = ["", bias] if bias else []
        return self.graph.add(
            "MatMulIntegerToFloat", x, weight, self.one, scale, zero, *rest, domain=MICROSOFT
        )

    def rounded(self, y: str, layer: ExactLayer) -> str:
        """To the nearest bytes, within the clip of the layer."""
        lo, hi = max(layer.lo, 0) if layer.relu else layer.lo, layer.hi
        if lo > 0 or hi < 255:
            limits = (self.graph.constant(np.array(n, np.float32)) for n in (lo, hi))
            y = self.graph.add("Clip", y, *limits)
        return self.graph.add("QuantizeLinear", y, self.one, self.zero)

    def shuffled(self, x: str, channels: int) -> str:
        """``[h,w,(row,column,channel)]`` to ``[2h,2w,channel]``."""
        add, constant = self.graph.add, self.graph.constant
        size = add("Mul", add("Shape", x), constant(np.array([2, 2, 0], np.int64)))
        size = add("Add", size, constant(np.array([0, 0, channels], np.int64)))
        x = add("Reshape", x, constant(np.array([0, 0, 2, 2, channels], np.int64)))
        return add("Reshape", add("Transpose", x, perm=[0, 2, 1, 3, 4]), size)

    def head(self, x: str, number: int, layer: ExactLayer) -> dict[str, str]:
        """The last layer of a predictor at every phase: means, rounded down, and table indexes."""
        add, constant = self.graph.add, self.graph.constant
        steps, most = (constant(np.array([n, n], np.int64)) for n in (2, np.iinfo(np.int64).max))
        axes = constant(np.array([0, 1], np.int64))
        flat = constant(np.array([1, -1, layer.inputs * layer.kernel**2], np.int64))
        parts = [
            add("Reshape", add("Slice", x, constant(np.array([a, b], np.int64)), most, axes, steps), flat)
            for a in (0, 1)
            for b in (0, 1)
        ]
        x = add("Concat", *parts, axis=0)
        mean, index = (
            add("Add", self.product(x, f"{number}.{part}"), f"bias.{number}.{part}")
            for part in ("mean", "index")
        )
        limits = [
            constant(np.array(n, np.float32))
            for n in (max(layer.lo, 0) if layer.relu else layer.lo, layer.hi)
        ]
        mean = add("Transpose", add("Clip", add("Floor", mean), *limits), perm=[0, 2, 1])
        index = add("Transpose", self.rounded(index, layer), perm=[0, 2, 1])
        return {"mean": add("Cast", mean, to=TensorProto.INT32), "index": index}
