"""Heads made by code, for the tiny model's streams: what tests use, so that none depends on training.

The dense head averages y over places and multiplies by a matrix. The selecting head has one token a place
(its y) behind a class token (their mean), two selectors, and the same matrix at its end.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from safetensors.numpy import save

CHANNELS = 4
CLASSES = ("one", "two", "three")

Arrays = dict[str, NDArray[Any]]


def spec_of(fingerprint: bytes, /, **changes: Any) -> dict[str, Any]:
    """The description of a head; ``changes`` replace fields, None takes one away."""
    spec = {
        "format": 1,
        "kind": "classify",
        "name": "tiny",
        "codec": "tiny",
        "fingerprint": fingerprint.hex(),
        "classes": list(CLASSES),
        "channels": CHANNELS,
        "window": 8,
        "card": {"licence": "Apache-2.0", "data": "made by code"},
    }
    return {key: value for key, value in {**spec, **changes}.items() if value is not None}


def matrix(channels: int = CHANNELS) -> NDArray[np.float16]:
    """Weights ``[channels, 3]`` that half precision holds exactly."""
    return (np.arange(channels * len(CLASSES)).reshape(channels, -1) % 7 / 8 - 0.25).astype(np.float16)


def write_head(path: Path, spec: dict[str, Any] | str, graphs: list[onnx.ModelProto], arrays: Arrays) -> Path:
    """Write a .bfh file."""
    text = spec if isinstance(spec, str) else json.dumps(spec)
    tensors = {
        f"graph.{k}": np.frombuffer(graph.SerializeToString(), np.uint8) for k, graph in enumerate(graphs)
    }
    path.write_bytes(save({**tensors, **arrays}, {"bifocal": text}))
    return path


def dense_head(
    path: Path, fingerprint: bytes, *, channels: int = CHANNELS, inputs: int = 0, **changes: Any
) -> Path:
    """A head whose logits are the mean over places of its ``inputs``, y by default, times :func:`matrix`."""
    spec = spec_of(fingerprint, channels=channels, **changes)
    inputs = inputs or channels
    return write_head(path, spec, [mean_graph(inputs)], {"weight": matrix(inputs)})


def batch_head(path: Path, fingerprint: bytes, **changes: Any) -> Path:
    """The dense head, whose one run takes any number of windows."""
    graph = mean_graph(CHANNELS)
    for port in (*graph.graph.input, *graph.graph.output):
        port.type.tensor_type.shape.dim[0].dim_param = "n"
    return write_head(path, spec_of(fingerprint, **changes), [graph], {"weight": matrix()})


def telling_head(path: Path, fingerprint: bytes, **changes: Any) -> Path:
    """The dense head, which also says what each place tells; its ``evidence`` has half the rows of y."""
    nodes = [
        helper.make_node("Transpose", ["y"], ["places"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["places", "weight"], ["each"]),
        helper.make_node("Transpose", ["each"], ["whole"], perm=[0, 3, 1, 2]),
        helper.make_node("MaxPool", ["whole"], ["evidence"], kernel_shape=[1, 1], strides=[2, 1]),
        helper.make_node("ReduceMean", ["whole"], ["logits"], axes=[2, 3], keepdims=0),
    ]
    outputs: dict[str, list[Any]] = {
        "logits": [1, len(CLASSES)],
        "evidence": [1, len(CLASSES), "r", "w"],
    }
    shape = {"weight": (CHANNELS, len(CLASSES))}
    graph = graph_of(nodes, {"y": [1, CHANNELS, "h", "w"]}, outputs, shape)
    return write_head(path, spec_of(fingerprint, **changes), [graph], {"weight": matrix()})


def mean_graph(channels: int, name: str = "y") -> onnx.ModelProto:
    nodes = [
        helper.make_node("ReduceMean", [name], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["logits"]),
    ]
    shape = {"weight": (channels, len(CLASSES))}
    return graph_of(nodes, {name: [1, channels, "h", "w"]}, {"logits": [1, len(CLASSES)]}, shape)


def selecting_head(path: Path, fingerprint: bytes, *, package: bool = True, **changes: Any) -> Path:
    """A head with two selectors: by the sign of a token's first number, then of its second."""
    spec = spec_of(fingerprint, stages=[{"package": package}] * 2, **changes)
    graphs = [_embed(), _select(1), _classify()]
    return write_head(path, spec, graphs, {"weight": matrix()})


def bits_head(path: Path, fingerprint: bytes, *, least: float, **changes: Any) -> Path:
    """A head that keeps the places that cost at least ``least`` bits."""
    spec = spec_of(fingerprint, bits=True, stages=[{"package": False}], **changes)
    return write_head(path, spec, [_by_cost(least), _classify()], {"weight": matrix()})


def _tokens(nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """y ``[1, c, h, w]`` to tokens ``[1, 1 + hw, c]``."""
    return [
        _constant("flat", [0, 0, -1]),
        helper.make_node("Reshape", ["y", "flat"], ["places"]),
        helper.make_node("Transpose", ["places"], ["patches"], perm=[0, 2, 1]),
        helper.make_node("ReduceMean", ["patches"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Concat", ["mean", "patches"], ["tokens"], axis=1),
        helper.make_node("Identity", ["tokens"], ["tokens_out"]),
        *nodes,
    ]


def _score(channel: int) -> list[onnx.NodeProto]:
    """keep: the sigmoid of one number of each token."""
    return [
        _constant("which", [channel]),
        helper.make_node("Gather", ["tokens", "which"], ["one"], axis=2),
        _constant("last", [2]),
        helper.make_node("Squeeze", ["one", "last"], ["number"]),
        helper.make_node("Sigmoid", ["number"], ["keep"]),
    ]


def _embed() -> onnx.ModelProto:
    return graph_of(
        _tokens(_score(0)),
        {"y": [1, CHANNELS, "h", "w"]},
        {"tokens_out": [1, "n", CHANNELS], "keep": [1, "n"]},
    )


def _select(channel: int) -> onnx.ModelProto:
    return graph_of(
        [helper.make_node("Identity", ["tokens"], ["tokens_out"]), *_score(channel)],
        {"tokens": [1, "m", CHANNELS]},
        {"tokens_out": [1, "m", CHANNELS], "keep": [1, "m"]},
    )


def _classify() -> onnx.ModelProto:
    nodes = [
        helper.make_node("ReduceMean", ["tokens"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["logits"]),
    ]
    shape = {"weight": (CHANNELS, len(CLASSES))}
    return graph_of(nodes, {"tokens": [1, "m", CHANNELS]}, {"logits": [1, len(CLASSES)]}, shape)


def _by_cost(least: float) -> onnx.ModelProto:
    nodes = [
        _constant("row", [1, -1]),
        helper.make_node("Reshape", ["bits", "row"], ["costs"]),
        helper.make_node("Constant", [], ["least"], value_float=least),
        helper.make_node("GreaterOrEqual", ["costs", "least"], ["dear"]),
        helper.make_node("Cast", ["dear"], ["scores"], to=TensorProto.FLOAT),
        helper.make_node("Constant", [], ["one"], value=helper.make_tensor("v", 1, [1, 1], [1.0])),
        helper.make_node("Concat", ["one", "scores"], ["keep"], axis=1),
    ]
    inputs = {"y": [1, CHANNELS, "h", "w"], "bits": [1, 1, "h", "w"]}
    return graph_of(_tokens(nodes), inputs, {"tokens_out": [1, "n", CHANNELS], "keep": [1, "n"]})


def _constant(name: str, values: list[int]) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value_ints=values)


def graph_of(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, list[Any]],
    outputs: dict[str, list[Any]],
    weights: dict[str, tuple[int, ...]] | None = None,
) -> onnx.ModelProto:
    """A graph with float32 inputs and outputs, whose ``weights`` are external."""
    initialisers = []
    for name, shape in (weights or {}).items():
        tensor = helper.make_tensor(name, TensorProto.FLOAT, shape, np.zeros(shape).ravel().tolist())
        tensor.raw_data = b""
        tensor.ClearField("float_data")
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "head"
        initialisers.append(tensor)
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in side.items()]
        for side in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "head", *ends, initializer=initialisers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
