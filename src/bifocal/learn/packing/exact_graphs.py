"""ONNX graphs of exact networks in float32, written without weights.

They become unfold (Pad, Slice, Concat) and 1×1 convolutions, so that no engine can choose a Winograd or FFT
kernel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bifocal.learn.packing.graph_builder import GraphBuilder
from bifocal.stream.exact import ExactLayer, ExactNet


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
        x = _unfold(graph, x)
    taps = layer.kernel**2 * layer.inputs
    weight = graph.weight(f"{number}.matrix", np.empty((rows, taps, 1, 1), np.float32))
    acc = graph.add("Conv", x, weight, kernel_shape=[1, 1])
    inputs[f"bias.{number}"] = [1, rows, 1, 1]
    scale = graph.weight(f"{number}.scale", np.empty((1, rows, 1, 1), np.float32))
    acc = graph.add("Floor", graph.add("Mul", graph.add("Add", acc, f"bias.{number}"), scale))
    lo, hi = (np.array(v, np.float32) for v in (max(layer.lo, 0) if layer.relu else layer.lo, layer.hi))
    y = graph.add("Clip", acc, graph.constant(lo), graph.constant(hi))
    return graph.add("DepthToSpace", y, blocksize=2, mode="CRD") if layer.shuffle else y


def _unfold(graph: GraphBuilder, x: str) -> str:
    """The 3×3 neighbourhoods of every position, tap-major: channel (3a+b)·i + c, zeros beyond the edge."""
    padded = graph.add("Pad", x, graph.constant(np.array([0, 0, 1, 1] * 2, np.int64)))
    axes = graph.constant(np.array([2, 3], np.int64))
    windows = []
    for a in range(3):
        for b in range(3):
            ends = [n - 2 if n < 2 else np.iinfo(np.int64).max for n in (a, b)]
            starts = graph.constant(np.array([a, b], np.int64))
            windows.append(graph.add("Slice", padded, starts, graph.constant(np.array(ends, np.int64)), axes))
    return graph.add("Concat", *windows, axis=1)
