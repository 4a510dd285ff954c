"""Small ONNX graphs to measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Size = int | str | None


def weight(name: str, *shape: int, seed: int = 0, scale: float = 0.3) -> Any:
    values = np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)
    return numpy_helper.from_array(values, name)


def model(
    nodes: Sequence[Any],
    inputs: dict[str, Sequence[Size]],
    outputs: Sequence[str],
    constants: Sequence[Any] = (),
    kind: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model; sizes are numbers, names or None."""
    given = [helper.make_tensor_value_info(n, kind, list(shape)) for n, shape in inputs.items()]
    made = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs]
    graph = helper.make_graph(list(nodes), "small", given, made, list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def residual(height: Size = "h", width: Size = "w") -> onnx.ModelProto:
    """conv, ReLU → two readers: a block of two convolutions, and the sum behind it; then a smaller "
    "picture."""
    node = helper.make_node
    return model(
        [
            node("Conv", ["x", "a"], ["first"], name="stem", pads=[1] * 4, strides=[2, 2]),
            node("Relu", ["first"], ["act"], name="act"),
            node("Conv", ["act", "b"], ["mid"], name="inner", pads=[1] * 4),
            node("LeakyRelu", ["mid"], ["bent"], name="bend", alpha=0.1),
            node("Conv", ["bent", "c"], ["out"], name="outer", pads=[1] * 4),
            node("Add", ["out", "act"], ["sum"], name="sum"),
            node("Conv", ["sum", "d"], ["packed"], name="tail"),
            node("DepthToSpace", ["packed"], ["y"], name="shuffle", blocksize=2),
        ],
        {"x": [1, 3, height, width]},
        ["y"],
        [weight("a", 8, 3, 3, 3), weight("b", 8, 8, 3, 3), weight("c", 8, 8, 3, 3), weight("d", 12, 8, 1, 1)],
    )


def shuffled(*, one_operator: bool) -> onnx.ModelProto:
    """A 64×48 picture; its map has channels reordered, space to depth, a convolution, depth to space, by one
    operator each or as exporters take them apart."""
    node = helper.make_node
    if one_operator:
        nodes = [
            node("Identity", ["first"], ["ordered"]),
            node("SpaceToDepth", ["ordered"], ["deep"], blocksize=2),
            node("Conv", ["deep", "b"], ["packed"], pads=[1] * 4),
            node("DepthToSpace", ["packed"], ["y"], blocksize=2, mode="CRD"),
        ]
    else:
        nodes = [
            node("Reshape", ["first", "groups"], ["in_groups"]),
            node("Transpose", ["in_groups"], ["turned"], perm=[1, 0, 2, 3]),
            node("Reshape", ["turned", "one"], ["ordered"]),
            node("Reshape", ["ordered", "pairs"], ["in_pairs"]),
            node("Transpose", ["in_pairs"], ["pairs_first"], perm=[0, 1, 3, 5, 2, 4]),
            node("Reshape", ["pairs_first", "small"], ["deep"]),
            node("Conv", ["deep", "b"], ["packed"], pads=[1] * 4),
            node("Reshape", ["packed", "apart"], ["taken_apart"]),
            node("Transpose", ["taken_apart"], ["pairs_last"], perm=[0, 1, 4, 2, 5, 3]),
            node("Reshape", ["pairs_last", "large"], ["y"]),
        ]
    shapes = {
        "groups": [4, 2, 0, 0],
        "one": [1, -1, 0, 0],
        "pairs": [1, 8, 16, 2, 12, 2],
        "small": [1, 32, 16, 12],
        "apart": [1, 3, 2, 2, 16, 12],
        "large": [1, 3, 32, 24],
    }
    return model(
        [node("Conv", ["x", "a"], ["first"], pads=[1] * 4, strides=[2, 2]), *nodes],
        {"x": [1, 3, 64, 48]},
        ["y"],
        [
            weight("a", 8, 3, 3, 3),
            weight("b", 12, 32, 3, 3),
            *(numpy_helper.from_array(np.array(shape, np.int64), name) for name, shape in shapes.items()),
        ],
    )


def classifier() -> onnx.ModelProto:
    """A fixed 32×32 classifier: conv, pool, shape arithmetic, a matrix product, softmax."""
    node = helper.make_node
    return model(
        [
            node("Conv", ["x", "a"], ["c"], name="conv", pads=[1] * 4),
            node("Relu", ["c"], ["r"], name="relu"),
            node("MaxPool", ["r"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
            node("Shape", ["p"], ["s"], name="shape"),
            node("Gather", ["s", "zero"], ["n"], name="take"),
            node("Concat", ["n", "rest"], ["shape2"], name="join", axis=0),
            node("Reshape", ["p", "shape2"], ["flat"], name="flatten"),
            node("MatMul", ["flat", "w"], ["logits"], name="head"),
            node("Softmax", ["logits"], ["y"], name="softmax", axis=1),
        ],
        {"x": [1, 3, 32, 32]},
        ["y"],
        [
            weight("a", 4, 3, 3, 3),
            weight("w", 4 * 16 * 16, 5),
            numpy_helper.from_array(np.array([0], np.int64), "zero"),
            numpy_helper.from_array(np.array([-1], np.int64), "rest"),
        ],
    )
