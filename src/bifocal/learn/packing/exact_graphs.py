"""ONNX graphs of exact networks, written without weights: in float32, and in 8-bit products.

They become unfold (Pad, Slice, Concat) and 1×1 convolutions, so that no engine can choose a Winograd or FFT
kernel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from bifocal.learn.packing.graph_builder import GraphBuilder
from bifocal.runtime.engines.byte_graphs import ZERO
from bifocal.runtime.engines.exact_int8 import runs_in_bytes
from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.exact import ExactLayer, ExactNet
from bifocal.stream.plan import Group, phase_channels, seen_channels

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
    made = {f"exact-{model.hyper.name}-int8": byte_graph(model.hyper)}
    for k, (net, group) in enumerate(zip(model.predictors, model.plan.groups, strict=True)):
        graph = byte_graph(net, model.hyper.outputs, seen_channels(model.plan, k), group)
        made[f"exact-{net.name}-int8"] = graph
    return made


def byte_graph(net: ExactNet, features: int = 0, seen: int = 0, group: Group | None = None) -> bytes:
    """An exact network in 8-bit products: :class:`ByteNet` is its numbers.

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


class ByteNet:
    """The numbers of an exact network as its graph of 8-bit products takes them.

    Maps are channels last. A predictor is given its ``group``, how many of its inputs are ``features``, and
    how many contexts, from the first, any group before has ``seen``.
    """

    def __init__(self, net: ExactNet, features: int = 0, seen: int = 0, group: Group | None = None) -> None:
        self.net, self.features, self.seen, self.group = net, features, seen, group
        self._biases: dict[int, dict[str, NDArray[np.float32]]] = {}

    @property
    def weights(self) -> dict[str, NDArray[Any]]:
        """The external initialisers of the graph.

        For layer L ``exact.NET.L.bytes``, int8 ``[k·k·i, o]`` in the order that the graph unfolds in, and
        ``exact.NET.L.scale``, 2^-shift ``[o]``. Rows of layers that shuffle are in the order (row, column,
        channel). A predictor's first layer has ``high`` and ``high_scale``, too, for the upper bytes of its
        contexts, if it has any. Its last has ``mean.bytes``, ``mean.scale``, ``index.bytes`` and
        ``index.scale`` instead, for the channels of each phase: ``[4, k·k·i, m]`` and ``[4, 1, m]``.
        """
        made: dict[str, NDArray[Any]] = {}
        for number, layer in enumerate(self.net.layers):
            name = f"exact.{self.net.name}.{number}"
            weight = layer.weight
            if number == 0 and self.group:
                weight = weight[:, : self.features + self.seen]
            matrix = weight.transpose(2, 3, 1, 0).reshape(-1, len(weight))
            scale = np.ldexp(1.0, -layer.shift).astype(np.float32)
            for part, columns in self._columns(number):
                made[f"{name}{part}.bytes"] = np.ascontiguousarray(np.moveaxis(matrix[:, columns], 0, -2))
                made[f"{name}{part}.scale"] = scale[columns] if columns.ndim == 1 else scale[columns][:, None]
            if number == 0 and self.seen:
                upper = weight[:, self.features :].transpose(2, 3, 1, 0).reshape(-1, len(weight))
                made[f"{name}.high"] = np.ascontiguousarray(upper)
                made[f"{name}.high_scale"] = scale * np.float32(256)
        return made

    def biases(self, quality: int) -> dict[str, NDArray[np.float32]]:
        """What the graph takes as ``bias.L``, or ``bias.L.mean`` and ``bias.L.index``, at a quality.

        Made once for each quality.
        """
        if quality not in self._biases:
            self._biases[quality] = self._biases_at(quality)
        return self._biases[quality]

    def _biases_at(self, quality: int) -> dict[str, NDArray[np.float32]]:
        made: dict[str, NDArray[np.float32]] = {}
        for number, layer in enumerate(self.net.layers):
            bias = layer.bias_row(quality)
            if number == 0 and self.group:
                bias = _first_bias(layer.weight, bias, self.features, self.seen)
            for part, columns in self._columns(number):
                kept = bias[columns], layer.shift[columns]
                value = np.ldexp(kept[0].astype(np.float64), -kept[1]) if part == ".mean" else _middle(*kept)
                made[f"bias.{number}{part}"] = (value if value.ndim == 1 else value[:, None]).astype(
                    np.float32
                )
        return made

    def _columns(self, number: int) -> list[tuple[str, NDArray[np.intp]]]:
        """The rows of a layer that each of its products computes: ``[o]``, or ``[4, m]`` by phase."""
        layer = self.net.layers[number]
        rows = np.arange(len(layer.weight))
        if self.group and number + 1 == len(self.net.layers):
            channels, firsts = self.group.channels, phase_channels(self.group)
            assert firsts is not None
            means = np.stack([rows[first : channels : self.group.steps] for first in firsts])
            return [(".mean", means), (".index", means + channels)]
        return [("", rows.reshape(-1, 4).T.reshape(-1) if layer.shuffle else rows)]


def _middle(bias: NDArray[np.int32], shift: NDArray[np.int32]) -> NDArray[np.float64]:
    """A bias such that the nearest integer to the scaled sum is the floor of what it was (float64: exact)."""
    odd = 2 * bias.astype(np.int64) - (1 << shift.astype(np.int64)) + 1
    return np.ldexp(odd.astype(np.float64), -shift - 1)


def _first_bias(
    weight: NDArray[np.int8], bias: NDArray[np.int32], features: int, seen: int
) -> NDArray[np.int32]:
    """The bias of a predictor's first layer, which sees its contexts ``ZERO`` too large."""
    extra = weight[:, features : features + seen].astype(np.int32).sum(axis=(1, 2, 3)) * ZERO
    return np.asarray(bias - extra, np.int32)


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
