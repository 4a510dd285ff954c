"""How long layers take on the processor of this machine: each different one is run and timed, on one thread.

A layer is timed as the packed head runs it: a graph with the same operations, by ONNX Runtime. 4-bit rows are
unpacked when a head is loaded, so on a processor they save bytes and no time. Times are of the processor, the
least of several runs, so that a busy machine changes them little; what lies between layers is not in them.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import TensorProto

from bifocal.hardware.devices.latency import Workload
from bifocal.learn.nets.heads.fixed_point import BYTE, NORM, WIDE, WIDE_MAX, Norm, gelu, normalise
from bifocal.learn.packing.graph_builder import GraphBuilder
from bifocal.learn.search.graph import Node, Nodes
from bifocal.learn.search.integer import affine, attention, mixed_matrix, to_byte

#: A layer is run so often, and until so much processor time has passed.
RUNS, ENOUGH = 5, 0.02

#: A layer: its kind and its sizes.
Layer = tuple[str, int, int, int]


class LayerTimes:
    """Seconds of layers, by kind and sizes; ``known`` may come from an earlier run."""

    def __init__(self, known: dict[str, float] | None = None) -> None:
        self.known: dict[str, float] = dict(known or {})

    def seconds(self, work: Workload) -> float:
        """Seconds of one input."""
        return sum(self.of(layer) for layer in layers(work))

    def of(self, layer: Layer) -> float:
        """Seconds of a layer, timed when it is first asked for."""
        key = "x".join(map(str, layer))
        if key not in self.known:
            self.known[key] = timed(layer)
        return self.known[key]


def layers(work: Workload) -> list[Layer]:
    """What is timed of a network: matrices, attention as a whole, norms, GELU."""
    found: list[Layer] = []
    for product in work.products:
        if product.name == "scores":
            found.append(("attention", product.rows, product.inner, product.heads))
        elif not product.heads:
            found.append(("matrix", product.rows, product.inner, product.four + product.eight))
        if product.name in ("qkv", "fc1", "head"):
            found.append(("norm", product.rows, product.inner, 0))
        if product.name == "fc1":
            found.append(("gelu", product.rows, product.four + product.eight, 0))
    return found


def timed(layer: Layer) -> float:
    """Processor seconds of one run of a layer, the least of several."""
    graph, feeds = _graph(layer)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    session.run(None, feeds)
    least, spent, runs = float("inf"), 0.0, 0
    while runs < RUNS or spent < ENOUGH:
        repeats = 1 if least == float("inf") else max(1, round(1e-3 / max(least, 1e-7)))
        begun = time.process_time()
        for _ in range(repeats):
            session.run(None, feeds)
        took = time.process_time() - begun
        least, spent, runs = min(least, took / repeats), spent + took, runs + 1
    return least


def _graph(layer: Layer) -> tuple[bytes, dict[str, Any]]:
    """A graph of one layer with its weights inside, and inputs for it."""
    kind, rows, first, second = layer
    builder = GraphBuilder("layer")
    k = Nodes(builder)
    rng = np.random.default_rng(0)
    shapes: dict[str, list[int]]
    if kind == "attention":
        shapes = {name: [1, rows, second, first] for name in ("q", "k", "v")}
        q, key, v = (Node(k, name) for name in shapes)
        made = attention(k, q, key, v, (5, 5, 5), first)
    else:
        shapes = {"x": [1, rows, first]}
        x = Node(k, "x", first)
        if kind == "matrix":
            numbers = rng.integers(-7, 8, (second, first)).astype(np.int64)
            zeros = np.zeros(second, np.int64)
            matrix = mixed_matrix(numbers, np.ones(second, bool), zeros, zeros + 12, 5)
            made = affine(k, matrix, x, 8, WIDE_MAX)
        elif kind == "norm":
            ones = np.ones((1, first), np.int64)
            made = to_byte(k, normalise(k, Norm(256 * ones, 0 * ones), x), NORM + 8, 5)
        else:
            made = to_byte(k, gelu(k, x, 1.0), WIDE, 5)
    types = dict.fromkeys([*shapes, "out"], TensorProto.DOUBLE)
    builder.constants += [_initialiser(name, value) for name, value in builder.weights.items()]
    builder.weights = {}
    graph = builder.model(
        dict(shapes), {"out": (made.name, [1, *[None] * (3 if kind == "attention" else 2)])}, types
    )
    feeds = {name: rng.integers(-BYTE, BYTE + 1, shape).astype(np.float64) for name, shape in shapes.items()}
    return graph, feeds


def _initialiser(name: str, value: Any) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(value, name)
