"""ONNX graphs of a packed model, written without weights: the runtime supplies those from one file.

The float halves become plain convolutions: the wavelet packet is one strided convolution, the Haar step
another, and the linear path shares its product with the deep path's stem. The exact networks become
unfold (Pad, Slice, Concat) and 1×1 convolutions, so that no engine can choose a Winograd or FFT kernel.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from bifocal.learn.nets.codec import PIXEL_UNIT, Codec
from bifocal.learn.nets.transforms.two_paths import TwoPaths
from bifocal.learn.packing.graphs import OPSET, Arrays, codec_graphs
from bifocal.learn.systems.lowfirst import LowFirst
from bifocal.stream.exact import ExactLayer, ExactNet


@dataclass
class _Graph:
    """Nodes in order, and the names, shapes and values of the weights they ask for."""

    prefix: str
    nodes: list[Any] = field(default_factory=list)
    weights: Arrays = field(default_factory=dict)
    constants: list[Any] = field(default_factory=list)

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def weight(self, name: str, value: NDArray[Any]) -> str:
        self.weights[f"{self.prefix}.{name}"] = value
        return f"{self.prefix}.{name}"

    def constant(self, value: NDArray[Any]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(value, name))
        return name

    def conv(
        self, x: str, name: str, kernel: NDArray[Any], bias: NDArray[Any] | None = None, **attributes: Any
    ) -> str:
        names = [x, self.weight(f"{name}.weight", kernel)]
        if bias is not None:
            names.append(self.weight(f"{name}.bias", bias))
        op = "ConvTranspose" if attributes.pop("transpose", False) else "Conv"
        return self.add(op, *names, kernel_shape=list(kernel.shape[2:]), **attributes)

    def rectify(self, x: str, slope: float) -> str:
        return self.add("LeakyRelu", x, alpha=slope) if slope else self.add("Relu", x)

    def model(self, inputs: dict[str, list[Any]], outputs: dict[str, tuple[str, list[Any]]]) -> bytes:
        """Serialise. ``inputs`` name → shape; ``outputs`` name → (node output, shape)."""
        for name, (node, _) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [node], [name]))
        external = []
        for name, value in self.weights.items():
            tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=value.shape)
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="weights.safetensors")
            external.append(tensor)
        graph = helper.make_graph(
            self.nodes,
            self.prefix,
            [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in inputs.items()],
            [helper.make_tensor_value_info(k, TensorProto.FLOAT, s) for k, (_, s) in outputs.items()],
            external + self.constants,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="bifocal"
        )
        model.ir_version = 9
        return bytes(model.SerializeToString())


def _array(x: torch.Tensor | None) -> NDArray[np.float32]:
    assert x is not None
    return x.detach().cpu().float().numpy()


def _transform(graph: _Graph, part: TwoPaths, x: str) -> str:
    """Both paths of a transform; their first convolutions share one matrix product."""
    outputs, width = part.linear.out_channels, part.stem.out_channels
    stem = _array(part.stem.weight) * _array(part.scale)
    kernel = np.concatenate([_array(part.linear.weight), stem])
    bias = np.concatenate([_array(part.linear.bias), _array(part.stem.bias)])
    both = graph.conv(x, "first", kernel, bias, pads=[1, 1, 1, 1])
    split = graph.constant(np.array([outputs, width], np.int64))
    linear, deep = f"linear_{len(graph.nodes)}", f"deep_{len(graph.nodes)}"
    graph.nodes.append(helper.make_node("Split", [both, split], [linear, deep], axis=1))
    for i, block in enumerate(part.blocks):
        y = graph.rectify(deep, part.slope)
        for name in ("first", "second"):
            conv = getattr(block, name)
            y = graph.conv(y, f"block.{i}.{name}", _array(conv.weight), _array(conv.bias), pads=[1, 1, 1, 1])
            y = graph.rectify(y, part.slope) if name == "first" else y
        deep = graph.add("Add", deep, y)
    deep = graph.rectify(deep, part.slope)
    deep = graph.conv(deep, "tail", _array(part.tail.weight), _array(part.tail.bias), pads=[1, 1, 1, 1])
    return graph.add("Add", linear, deep)


def _haar_kernel(channels: int) -> NDArray[np.float32]:
    """The Haar step as a 2×2 strided convolution: ``[4c, c, 2, 2]``, bands LL | LH | HL | HH."""
    sums = np.array([[[1, 1], [1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[1, -1], [-1, 1]]]) / 2
    kernel = np.zeros((4, channels, channels, 2, 2), np.float32)
    for c in range(channels):
        kernel[:, c, c] = sums
    return kernel.reshape(4 * channels, channels, 2, 2)


def analysis_graph(model: LowFirst) -> tuple[bytes, Arrays]:
    """pixels ``[1,3,h,w]`` → y before gains ``[1,c,h/16,w/16]``; and the weights the graph asks for."""
    graph = _Graph("analysis")
    packet = _array(model.packet).reshape(192, 3, 8, 8) / PIXEL_UNIT
    x = graph.conv("pixels", "packet", packet, -127.5 * packet.sum((1, 2, 3)), strides=[8, 8])
    x = _transform(graph, model.analysis, x)
    y = graph.conv(x, "haar", _haar_kernel(model.config.latent), strides=[2, 2])
    c = model.plan.y_channels
    return graph.model({"pixels": [1, 3, "h", "w"]}, {"y": (y, [1, c, "yh", "yw"])}), graph.weights


def hyper_analysis_graph(model: Codec) -> tuple[bytes, Arrays]:
    """y with gains ``[1,c,h,w]`` → z ``[1,cz,h/4,w/4]``, not rounded; and weights."""
    graph = _Graph("hyper_analysis")
    magnitude = graph.add(
        "Log", graph.add("Add", graph.add("Abs", "y"), graph.constant(np.ones(1, np.float32)))
    )
    z = graph.add("Mul", graph.add("Sign", "y"), magnitude)
    convs = [m for m in model.hyper_analysis if isinstance(m, torch.nn.Conv2d)]
    for i, conv in enumerate(convs):
        pads, stride = [conv.kernel_size[0] // 2] * 4, list(conv.stride)
        z = graph.conv(z, f"{i}", _array(conv.weight), _array(conv.bias), pads=pads, strides=stride)
        z = graph.add("Relu", z) if i + 1 < len(convs) else z
    inputs: dict[str, list[Any]] = {"y": [1, model.plan.y_channels, "h", "w"]}
    return graph.model(inputs, {"z": (z, [1, model.plan.z_channels, "zh", "zw"])}), graph.weights


def synthesis_graph(model: LowFirst) -> tuple[bytes, Arrays]:
    """y ``[1,c,h,w]`` after inverse gains → pixels ``[1,3,16h,16w]`` in 0..255, unclipped; and weights."""
    graph = _Graph("synthesis")
    x = graph.conv("y", "haar", _haar_kernel(model.config.latent), strides=[2, 2], transpose=True)
    x = _transform(graph, model.synthesis, x)
    packet = _array(model.packet).reshape(192, 3, 8, 8) * PIXEL_UNIT
    bias = np.full(3, 127.5, np.float32)
    x = graph.conv(x, "packet", packet, bias, strides=[8, 8], transpose=True)
    inputs: dict[str, list[Any]] = {"y": [1, model.plan.y_channels, "h", "w"]}
    return graph.model(inputs, {"pixels": (x, [1, 3, "ph", "pw"])}), graph.weights


def half_graph(model: LowFirst) -> tuple[bytes, Arrays]:
    """y ``[1,c,h,w]`` after inverse gains → pixels of 2×2 averages ``[1,3,8h,8w]``, unclipped."""
    graph = _Graph("half")
    x = graph.conv("y", "haar", _haar_kernel(model.config.latent), strides=[2, 2], transpose=True)
    x = _transform(graph, model.to_half, x)
    x = _to_pixels(graph, graph.add("DepthToSpace", x, blocksize=4, mode="CRD"))
    inputs: dict[str, list[Any]] = {"y": [1, model.plan.y_channels, "h", "w"]}
    return graph.model(inputs, {"pixels": (x, [1, 3, "ph", "pw"])}), graph.weights


def thumb_graph(model: LowFirst) -> tuple[bytes, Arrays]:
    """The low band of y ``[1,64,h,w]`` after inverse gains → pixels of 16×16 averages ``[1,3,h,w]``."""
    graph = _Graph("thumb")
    x = _to_pixels(graph, _transform(graph, model.to_thumb, "y"))
    inputs: dict[str, list[Any]] = {"y": [1, model.config.latent, "h", "w"]}
    return graph.model(inputs, {"pixels": (x, [1, 3, "ph", "pw"])}), graph.weights


def _to_pixels(graph: _Graph, x: str) -> str:
    unit, middle = (graph.constant(np.array(value, np.float32)) for value in (PIXEL_UNIT, 127.5))
    return graph.add("Add", graph.add("Mul", x, unit), middle)


def exact_graph(net: ExactNet) -> bytes:
    """An exact network: ``x`` float ``[1,c,h,w]`` (integers, unclipped) and a bias row a layer → ``y``.

    The bias of layer L is the input ``bias.L [1,o,1,1]``, since it may depend on the quality; weights are
    the integers of ``weights.safetensors``, unfolded to ``[o, i·k·k, 1, 1]`` by the runtime, and
    ``scale.L = 2^-shift [1,o,1,1]``.
    """
    graph = _Graph(f"exact.{net.name}")
    limit = graph.constant(net.input_max.astype(np.float32).reshape(1, -1, 1, 1))
    x = graph.add("Max", graph.add("Min", "x", limit), graph.add("Neg", limit))
    inputs: dict[str, list[Any]] = {"x": [1, net.inputs, "h", "w"]}
    for number, layer in enumerate(net.layers):
        x = _exact_layer(graph, layer, number, x, inputs)
    return graph.model(inputs, {"y": (x, [1, net.outputs, "oh", "ow"])})


def _exact_layer(graph: _Graph, layer: ExactLayer, number: int, x: str, inputs: dict[str, list[Any]]) -> str:
    rows = len(layer.weight)
    if layer.kernel == 3:
        pads = graph.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
        padded = graph.add("Pad", x, pads)
        axes = graph.constant(np.array([2, 3], np.int64))
        windows = []
        for a in range(3):
            for b in range(3):
                ends = [
                    a - 2 if a < 2 else np.iinfo(np.int64).max,
                    b - 2 if b < 2 else np.iinfo(np.int64).max,
                ]
                starts = graph.constant(np.array([a, b], np.int64))
                windows.append(
                    graph.add("Slice", padded, starts, graph.constant(np.array(ends, np.int64)), axes)
                )
        x = graph.add("Concat", *windows, axis=1)  # tap-major: channel index (3a+b)·i + c
    taps = layer.kernel**2 * layer.inputs
    weight = graph.weight(f"{number}.matrix", np.empty((rows, taps, 1, 1), np.float32))
    acc = graph.add("Conv", x, weight, kernel_shape=[1, 1])
    inputs[f"bias.{number}"] = [1, rows, 1, 1]
    scale = graph.weight(f"{number}.scale", np.empty((1, rows, 1, 1), np.float32))
    acc = graph.add("Floor", graph.add("Mul", graph.add("Add", acc, f"bias.{number}"), scale))
    lo, hi = (np.array(v, np.float32) for v in (max(layer.lo, 0) if layer.relu else layer.lo, layer.hi))
    y = graph.add("Clip", acc, graph.constant(lo), graph.constant(hi))
    return graph.add("DepthToSpace", y, blocksize=2, mode="CRD") if layer.shuffle else y


def float_graphs(model: Codec) -> dict[str, tuple[bytes, Arrays]]:
    """The float networks of a packed model by the names of their files, each its graph and its weights."""
    hyper = {"hyper_analysis": hyper_analysis_graph(model)}
    if not isinstance(model, LowFirst):
        return codec_graphs(model) | hyper
    made = {
        "analysis": analysis_graph(model),
        "synthesis": synthesis_graph(model),
        "half": half_graph(model),
        "thumb": thumb_graph(model),
    }
    return made | hyper
