"""ONNX graphs of codecs with two paths beside each other, written by hand and without weights.

The float networks become plain convolutions: the wavelet packet is one, strided, the Haar step another, of
each channel by itself, and the linear path shares its product with the deep path's first layer.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import helper

from bifocal.learn.nets.codec import PIXEL_UNIT, Codec
from bifocal.learn.nets.transforms.two_paths import TwoPaths
from bifocal.learn.packing.graph_builder import GraphBuilder
from bifocal.learn.packing.graphs import Arrays, Graphs
from bifocal.learn.systems.lapped import Lapped
from bifocal.learn.systems.lowfirst import LowFirst

#: Codecs from Haar packets to Haar bands by two paths.
TwoPathCodec = LowFirst | Lapped


def _array(x: torch.Tensor | None) -> NDArray[np.float32]:
    assert x is not None
    return x.detach().cpu().float().numpy()


def _transform(graph: GraphBuilder, part: TwoPaths, x: str) -> str:
    """The linear path, and the deep one if there is one: their first convolutions share a matrix product."""
    if not part.deep:
        return graph.conv(x, "first", _array(part.linear.weight), _array(part.linear.bias), pads=[1] * 4)
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
    """The Haar step as a 2×2 strided convolution of each channel by itself: ``[4c, 1, 2, 2]``."""
    sums = np.array([[[1, 1], [1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[1, -1], [-1, 1]]]) / 2
    return np.tile(sums.astype(np.float32), (channels, 1, 1))[:, None]


def _haar_split(graph: GraphBuilder, x: str, channels: int) -> str:
    """``[1,c,2h,2w]`` to bands LL | LH | HL | HH, ``[1,4c,h,w]``."""
    bands = graph.conv(x, "haar", _haar_kernel(channels), strides=[2, 2], group=channels)
    return _exchange(graph, bands, channels, 4)


def _haar_merge(graph: GraphBuilder, x: str, channels: int) -> str:
    """Bands ``[1,4c,h,w]`` to ``[1,c,2h,2w]``."""
    bands = _exchange(graph, x, 4, channels)
    return graph.conv(bands, "haar", _haar_kernel(channels), strides=[2, 2], group=channels, transpose=True)


def _exchange(graph: GraphBuilder, x: str, outer: int, inner: int) -> str:
    """Channels ``[1,outer·inner,h,w]`` in the order ``[1,inner·outer,h,w]``."""
    shapes = (graph.constant(np.array(shape, np.int64)) for shape in ([outer, inner, 0, 0], [1, -1, 0, 0]))
    x = graph.add("Transpose", graph.add("Reshape", x, next(shapes)), perm=[1, 0, 2, 3])
    return graph.add("Reshape", x, next(shapes))


def analysis_graph(model: TwoPathCodec) -> tuple[bytes, Arrays]:
    """pixels ``[1,3,h,w]`` → y before gains ``[1,c,h/16,w/16]``; and the weights the graph asks for."""
    graph = GraphBuilder("analysis")
    packet = _array(model.packet).reshape(192, 3, 8, 8) / PIXEL_UNIT
    x = graph.conv("pixels", "packet", packet, -127.5 * packet.sum((1, 2, 3)), strides=[8, 8])
    x = _transform(graph, model.analysis, x)
    y = _haar_split(graph, x, model.config.latent)
    c = model.plan.y_channels
    return graph.model({"pixels": [1, 3, "h", "w"]}, {"y": (y, [1, c, "yh", "yw"])}), graph.weights


def hyper_analysis_graph(model: Codec) -> tuple[bytes, Arrays]:
    """y with gains ``[1,c,h,w]`` → z ``[1,cz,h/4,w/4]``, not rounded; and weights."""
    graph = GraphBuilder("hyper_analysis")
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


def synthesis_graph(model: TwoPathCodec) -> tuple[bytes, Arrays]:
    """y ``[1,c,h,w]`` after inverse gains → pixels ``[1,3,16h,16w]`` in 0..255, unclipped; and weights."""
    graph = GraphBuilder("synthesis")
    x = _haar_merge(graph, "y", model.config.latent)
    x = _transform(graph, model.synthesis, x)
    packet = _array(model.packet).reshape(192, 3, 8, 8) * PIXEL_UNIT
    bias = np.full(3, 127.5, np.float32)
    x = graph.conv(x, "packet", packet, bias, strides=[8, 8], transpose=True)
    inputs: dict[str, list[Any]] = {"y": [1, model.plan.y_channels, "h", "w"]}
    return graph.model(inputs, {"pixels": (x, [1, 3, "ph", "pw"])}), graph.weights


def half_graph(model: TwoPathCodec) -> tuple[bytes, Arrays]:
    """y ``[1,c,h,w]`` after inverse gains → pixels of 2×2 averages ``[1,3,8h,8w]``, unclipped."""
    graph = GraphBuilder("half")
    x = _haar_merge(graph, "y", model.config.latent)
    x = _transform(graph, model.to_half, x)
    x = _to_pixels(graph, graph.add("DepthToSpace", x, blocksize=4, mode="CRD"))
    inputs: dict[str, list[Any]] = {"y": [1, model.plan.y_channels, "h", "w"]}
    return graph.model(inputs, {"pixels": (x, [1, 3, "ph", "pw"])}), graph.weights


def thumb_graph(model: TwoPathCodec) -> tuple[bytes, Arrays]:
    """The low band of y ``[1,64,h,w]`` after inverse gains → pixels of 16×16 averages ``[1,3,h,w]``."""
    graph = GraphBuilder("thumb")
    x = _to_pixels(graph, _transform(graph, model.to_thumb, "y"))
    inputs: dict[str, list[Any]] = {"y": [1, model.config.latent, "h", "w"]}
    return graph.model(inputs, {"pixels": (x, [1, 3, "ph", "pw"])}), graph.weights


def _to_pixels(graph: GraphBuilder, x: str) -> str:
    unit, middle = (graph.constant(np.array(value, np.float32)) for value in (PIXEL_UNIT, 127.5))
    return graph.add("Add", graph.add("Mul", x, unit), middle)


def two_path_graphs(codec: Codec) -> Graphs:
    """``analysis``, ``synthesis`` and, where it has them, ``half`` and ``thumb`` of such a codec."""
    model = cast(TwoPathCodec, codec)
    made = {"analysis": analysis_graph(model), "synthesis": synthesis_graph(model)}
    for name, graph in (("half", half_graph), ("thumb", thumb_graph)):
        if name in codec.packing_extras():
            made[name] = graph(model)
    return made
