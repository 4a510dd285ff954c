"""Post-training quantisation of a float network: its graph again, with 8-bit products where they are cheap.

Only the 3×3 convolutions behind an activation are quantised: the residual blocks and the tail, four fifths of
the work of a synthesis. What enters them becomes an unsigned byte over the range that was seen on training
pictures. What leaves a convolution of a block becomes a byte too, since ONNX Runtime runs a convolution in
integers only if both ends are; the residual sum between blocks stays in float, and so do the linear path and
the tail's output, which the pixels depend on directly. The rule of static quantisation is that of Jacob et
al. (arXiv 1712.05877); what is quantised, and the whole range that was seen, are ours:
`benchmarks/backends.py` measures what they cost.

The graph holds no weights. It asks for ``W.int8`` and ``W.scale``, which the runtime makes of ``W``
(:func:`bifocal.runtime.engines.float_engines.quantised`), so that an int8 network adds 20 kB to a packed
model.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from bifocal.errors import ModelError
from bifocal.learn.data.crops import Pixels
from bifocal.learn.nets.codec import Codec, quality_anchors
from bifocal.runtime.engines.onnxruntime import open_session

ACTIVATIONS = ("Relu", "LeakyRelu")

#: Pictures, the side of their parts, and the qualities, whose latents give the ranges.
PICTURES, SIDE, SEEN_QUALITIES = 24, 384, (10, 50, 90)


def calibration(model: Codec, pictures: Sequence[Pixels]) -> Iterator[NDArray[np.float32]]:
    """Latents of some of the ``pictures`` (uint8 ``[h, w, 3]``) at three qualities, as synthesis gets them:
    ``[1, c, h, w]`` after rounding and inverse gains. Training pictures only."""
    for picture in pictures[:: max(1, len(pictures) // PICTURES)][:PICTURES]:
        h, w = (min(side, SIDE) // 64 * 64 for side in picture.shape[:2])
        pixels = torch.from_numpy(picture[:h, :w].copy()).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            y = model.analyse(pixels)
            for quality in SEEN_QUALITIES:
                gain, inverse = model.gains(quality_anchors(torch.tensor([quality]), model.config.anchors))
                yield ((y * gain).round() * inverse).numpy()


def int8_graph(
    graph: bytes, weights: Mapping[str, NDArray[np.float32]], samples: Iterable[NDArray[np.float32]]
) -> bytes:
    """The graph of a synthesis network with its residual blocks and tail in 8 bits.

    :param graph: an ONNX graph without weights, from ``y`` to ``pixels``; ``weights`` are those it asks for.
    :param samples: inputs ``y`` from which the range of every activation is taken.
    :raises ModelError: if the graph has nothing to quantise, or there are no samples.
    """
    model = onnx.load_from_string(graph)
    convolutions, outputs = _quantised(model.graph)
    inputs = {node.input[0] for node in convolutions}
    ranges = _seen(model, [*inputs, *outputs], weights, samples)
    wanted = {node.name for node in convolutions}
    external = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.name in wanted:
            _take_int8_weight(model.graph, nodes, node, external[node.input[1]])
            node.input[0] += ".seen"
        made = node.output[0]
        if made in outputs:
            node.output[0] += ".raw"
        nodes.append(node)
        if made in outputs:
            nodes += _through_byte(model.graph, f"{made}.raw", made, ranges[made])
        if made in inputs:
            nodes += _through_byte(model.graph, made, f"{made}.seen", ranges[made])
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def _quantised(graph: onnx.GraphProto) -> tuple[list[onnx.NodeProto], set[str]]:
    """The convolutions to quantise, those behind an activation, and names of what becomes a byte behind them.

    That is what a leaky activation takes, and what is added to a sum that an activation takes: not the last
    sum, which is of pixels. A plain ReLU needs none, since it is a clip to the byte's own range.
    """
    made_by = {name: node for node in graph.node for name in node.output}
    taken_by: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            taken_by.setdefault(name, []).append(node)
    convolutions, outputs = [], set()
    for node in graph.node:
        before = made_by.get(node.input[0])
        if node.op_type != "Conv" or before is None or before.op_type not in ACTIVATIONS:
            continue
        convolutions.append(node)
        after = taken_by[node.output[0]]
        sums = [total.output[0] for total in after if total.op_type == "Add"]
        active = any(later.op_type in ACTIVATIONS for name in sums for later in taken_by.get(name, []))
        if active or any(later.op_type == "LeakyRelu" for later in after):
            outputs.add(node.output[0])
    if not convolutions:
        raise ModelError("a network without a convolution behind an activation has nothing to quantise.")
    return convolutions, outputs


def _seen(
    model: onnx.ModelProto,
    names: Sequence[str],
    weights: Mapping[str, NDArray[np.float32]],
    samples: Iterable[NDArray[np.float32]],
) -> dict[str, tuple[float, float]]:
    """The smallest and the largest value of each tensor over all samples, 0 included."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    for name in names:
        probed.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    seen = dict.fromkeys(names, (0.0, 0.0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probed.onnx"
        path.write_bytes(probed.SerializeToString())
        session = open_session(path, weights)
    empty = True
    for y in samples:
        empty = False
        for name, value in zip(names, session.run(list(names), {"y": y}), strict=True):
            low, high = seen[name]
            seen[name] = min(low, float(value.min())), max(high, float(value.max()))
    if empty:
        raise ModelError("an int8 network needs training pictures, for its ranges. Pack with --data DIR.")
    # units that have died give zeros only: any step will do
    return {name: (low, high if low < high else 1.0) for name, (low, high) in seen.items()}


def _take_int8_weight(
    graph: onnx.GraphProto, nodes: list[onnx.NodeProto], node: onnx.NodeProto, weight: TensorProto
) -> None:
    """Give ``node`` its weight from int8 rows and their scales, declared where the float weight was."""
    name = weight.name
    for suffix, kind, dims in (
        (".int8", TensorProto.INT8, weight.dims),
        (".scale", TensorProto.FLOAT, weight.dims[:1]),
    ):
        declared = TensorProto(name=name + suffix, data_type=kind, dims=dims)
        declared.data_location = TensorProto.EXTERNAL
        declared.external_data.add(key="location", value="weights.safetensors")
        graph.initializer.append(declared)
    graph.initializer.remove(weight)
    nodes.append(helper.make_node("DequantizeLinear", [f"{name}.int8", f"{name}.scale"], [name], axis=0))


def _through_byte(
    graph: onnx.GraphProto, source: str, target: str, seen: tuple[float, float]
) -> list[onnx.NodeProto]:
    """``target`` is ``source`` rounded to a byte that covers the range ``seen``, and back."""
    low, high = seen
    scale = (high - low) / 255
    step, middle, byte = f"{target}.step", f"{target}.zero", f"{target}.byte"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(scale, np.float32), step))
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(round(-low / scale), np.uint8), middle))
    return [
        helper.make_node("QuantizeLinear", [source, step, middle], [byte]),
        helper.make_node("DequantizeLinear", [byte, step, middle], [target]),
    ]
