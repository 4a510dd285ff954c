"""A whole packed model of 150 kB, made by code: what tests use, so that none depends on training.

The float halves average 8×8 blocks and spread them again, with a 3×3 convolution around each, so that
pictures come back recognisable and windows need their halo. The exact networks are random but bounded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, external_data_helper, helper

from bifocal.learn.packing.adjoint import adjoint_graph
from bifocal.learn.packing.exact_graphs import exact_graph
from bifocal.runtime.engines.onnxruntime import graph_file
from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.exact import ExactLayer, ExactNet
from bifocal.stream.plan import Group, Plan
from bifocal.stream.tables import gaussian_tables, scale_ladder

Y, Z, FEATURES, TABLES = 16, 4, 8, 16
GROUPS = (Group(0, 4, 2, 0), Group(0, 4, 2, 1), *(Group(4, 16, 4, step) for step in range(4)))


def build_tiny_model(folder: Path, *, seed: int = 0, name: str = "tiny") -> Path:
    """Write a packed model with random exact networks into ``folder`` and return the folder."""
    rng = np.random.default_rng(seed)
    entropy = EntropyModel(
        name=name,
        release=(0, 1, 0),
        plan=Plan(Y, Z, GROUPS, skip=2),
        hyper=_hyper(rng),
        predictors=tuple(_predictor(rng, k, group.channels) for k, group in enumerate(GROUPS)),
        tables=gaussian_tables(scale_ladder(TABLES, 0.15, 20.0)),
        z_index=rng.integers(4, TABLES, (100, Z)).astype(np.int32),
    )
    gain = 0.02 * 100 ** (np.arange(100) / 99)[:, None] * np.ones(Y)
    arrays: dict[str, NDArray[Any]] = {
        "gain": np.rint(gain * 2**16).astype(np.int32),
        "inverse_gain": np.rint(2**16 / gain).astype(np.int32),
        **{key: value.astype(np.float16) for key, value in _float_weights().items()},
    }
    card = {"parameters": 1234, "licence": "Apache-2.0"}
    spec = {
        "system": "lowfirst",
        "fingerprint": entropy.fingerprint.hex(),
        "card": card,
        "prices": (0.4 * gain[:, 0] ** 2).tolist(),  # a step is one colour of 64 pixels, 1/gain high
    }
    entropy.save(folder, spec, arrays)
    for net in (entropy.hyper, *entropy.predictors):
        (folder / graph_file(net.name)).write_bytes(exact_graph(net))
    graphs = {
        "analysis": _analysis(),
        "hyper_analysis": _hyper_analysis(),
        "synthesis": _synthesis(),
        "half": _half(),
        "thumb": _thumb(),
    }
    for key, graph in graphs.items():
        (folder / f"{key}.onnx").write_bytes(graph.SerializeToString())
    (folder / "adjoint.onnx").write_bytes(adjoint_graph(graphs["synthesis"].SerializeToString()))
    return folder


def _layer(rng: np.random.Generator, o: int, i: int, k: int, *, rows: int = 1, **rest: Any) -> ExactLayer:
    settings = {"relu": True, "lo": 0, "hi": 511, **rest}
    weight = rng.integers(-40, 41, (o, i, k, k)).astype(np.int8)
    bias = rng.integers(-3000, 3000, (rows, o)).astype(np.int32)
    return ExactLayer(weight, bias, rng.integers(5, 8, o).astype(np.int32), **settings)


def _hyper(rng: np.random.Generator) -> ExactNet:
    layers = (
        _layer(rng, 4 * FEATURES, Z, 1, rows=100, shuffle=True),
        _layer(rng, FEATURES, FEATURES, 3),
        _layer(rng, 4 * FEATURES, FEATURES, 1, shuffle=True),
    )
    return ExactNet("hyper", np.full(Z, 127, np.int32), layers)


def _predictor(rng: np.random.Generator, k: int, channels: int) -> ExactNet:
    head = _layer(rng, 2 * channels, FEATURES, 1, relu=False, lo=-32767, hi=32767)
    head.shift[:channels] = 9  # means within a few steps
    head.shift[channels:] = 12  # indices around the middle of the tables
    head.bias[:, channels:] = rng.integers(4, TABLES, channels) << 12
    layers = (_layer(rng, FEATURES, FEATURES + Y, 1, rows=100), _layer(rng, FEATURES, FEATURES, 3), head)
    return ExactNet(f"predict.{k}", np.array([511] * FEATURES + [1023] * Y, np.int32), layers)


def _float_weights() -> dict[str, NDArray[np.float64]]:
    smooth = np.zeros((3, 3, 3, 3))
    for colour in range(3):
        smooth[colour, colour] = 1 / 32
        smooth[colour, colour, 1, 1] = 3 / 4
    blocks = np.zeros((Y, 3, 16, 16))
    for colour in range(3):
        for quadrant in range(4):
            a, b = 8 * (quadrant // 2), 8 * (quadrant % 2)
            blocks[4 * quadrant + colour, colour, a : a + 8, b : b + 8] = 1.0
    hyper = np.zeros((Z, Y, 4, 4))
    for c in range(Z):
        hyper[c, 4 * c : 4 * c + 3] = 1 / 64
    return {
        "analysis.smooth": smooth,
        "analysis.blocks": blocks / 64,
        "hyper_analysis.hyper": hyper,
        "synthesis.blocks": blocks,
        "synthesis.smooth": smooth,
        "half.blocks": blocks[:, :, ::2, ::2],
        "half.smooth": smooth,
        "thumb.mean": blocks[:4, :, :1, :1].transpose(1, 0, 2, 3),
    }


def _analysis() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Sub", ["pixels", "middle"], ["centred"]),
        helper.make_node("Conv", ["centred", "analysis.smooth"], ["smooth"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["smooth", "analysis.blocks"], ["y"], strides=[16, 16]),
    ]
    return _model("analysis", nodes, {"pixels": [1, 3, "h", "w"]}, {"y": [1, Y, None, None]})


def _hyper_analysis() -> onnx.ModelProto:
    nodes = [helper.make_node("Conv", ["y", "hyper_analysis.hyper"], ["z"], strides=[4, 4])]
    return _model("hyper_analysis", nodes, {"y": [1, Y, "h", "w"]}, {"z": [1, Z, None, None]})


def _synthesis() -> onnx.ModelProto:
    nodes = [
        helper.make_node("ConvTranspose", ["y", "synthesis.blocks"], ["raw"], strides=[16, 16]),
        helper.make_node("Conv", ["raw", "synthesis.smooth"], ["smooth"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["smooth", "middle"], ["pixels"]),
    ]
    return _model("synthesis", nodes, {"y": [1, Y, "h", "w"]}, {"pixels": [1, 3, None, None]})


def _half() -> onnx.ModelProto:
    nodes = [
        helper.make_node("ConvTranspose", ["y", "half.blocks"], ["raw"], strides=[8, 8]),
        helper.make_node("Conv", ["raw", "half.smooth"], ["smooth"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["smooth", "middle"], ["pixels"]),
    ]
    return _model("half", nodes, {"y": [1, Y, "h", "w"]}, {"pixels": [1, 3, None, None]})


def _thumb() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["y", "thumb.mean"], ["raw"]),
        helper.make_node("Add", ["raw", "middle"], ["pixels"]),
    ]
    return _model("thumb", nodes, {"y": [1, GROUPS[0].stop, "h", "w"]}, {"pixels": [1, 3, "h", "w"]})


def _model(name: str, nodes: list[Any], inputs: dict[str, Any], outputs: dict[str, Any]) -> onnx.ModelProto:
    initialisers = [helper.make_tensor("middle", TensorProto.FLOAT, [], [127.5])]
    for key, value in _float_weights().items():
        if key.startswith(f"{name}."):
            tensor = TensorProto(name=key, data_type=TensorProto.FLOAT, dims=value.shape, raw_data=b"")
            external_data_helper.set_external_data(tensor, "weights.safetensors")
            tensor.data_location = TensorProto.EXTERNAL
            initialisers.append(tensor)
    infos = [
        [helper.make_tensor_value_info(key, TensorProto.FLOAT, shape) for key, shape in values.items()]
        for values in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, name, *infos, initialisers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model
