"""Post-training quantisation of a float network: its graph again, with 8-bit products where they are cheap.

Only the 3×3 convolutions after a ReLU are quantised: the residual blocks and the tail, four fifths of the
work of a synthesis. What enters them becomes an unsigned byte, from 0 to the largest value that was seen on
training pictures. What leaves the second convolution of a block becomes a byte too, since ONNX Runtime runs
a convolution in integers only if both ends are; the residual sum between blocks stays in float, and so do the
linear path and the tail's output, which the pixels depend on directly. The rule of static quantisation is
that of Jacob et al. (arXiv 1712.05877); what is quantised, and the largest value as the range, are ours:
`benchmarks/backends.py` measures what they cost.

The graph holds no weights. It asks for ``W.int8`` and ``W.scale``, which the runtime makes of ``W``
(:func:`bifocal.runtime.halves.quantised`), so that an int8 network adds 20 kB to a packed model.
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
from bifocal.runtime.session import open_session
from bifocal.systems.lowfirst import LowFirst, quality_anchors
from bifocal.training.data import Pixels

#: Pictures, the side of their parts, and the qualities, whose latents give the ranges.
PICTURES, SIDE, SEEN_QUALITIES = 24, 384, (10, 50, 90)


def calibration(model: LowFirst, pictures: Sequence[Pixels]) -> Iterator[NDArray[np.float32]]:
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
    inputs, outputs = _quantised_tensors(model.graph)
    ranges = _largest(model, [*inputs, *outputs], weights, samples)
    wanted = {
        node.input[1]: node for node in model.graph.node if node.op_type == "Conv" and node.input[0] in inputs
    }
    external = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.name in {other.name for other in wanted.values()}:
            _take_int8_weight(model.graph, nodes, node, external[node.input[1]])
            node.input[0] += ".seen"
        raw = node.output[0]
        if raw in outputs:
            node.output[0] += ".raw"
        nodes.append(node)
        if raw in outputs:  # signed, around 128
            scale, zero = ranges[raw] / 127, 128
            nodes += _through_byte(model.graph, f"{raw}.raw", raw, scale, zero)
        if raw in inputs:
            nodes += _through_byte(model.graph, raw, f"{raw}.seen", ranges[raw] / 255, 0)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString())


def _quantised_tensors(graph: onnx.GraphProto) -> tuple[set[str], set[str]]:
    """Names of the tensors that become bytes: those that 3×3 convolutions take from a ReLU, and what such a
    convolution adds to a sum that a further ReLU takes (the last sum, of the tail, is of pixels)."""
    made_by = {name: node for node in graph.node for name in node.output}
    taken_by: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            taken_by.setdefault(name, []).append(node)
    inputs, outputs = set(), set()
    for node in graph.node:
        before = made_by.get(node.input[0])
        if node.op_type != "Conv" or before is None or before.op_type != "Relu":
            continue
        inputs.add(node.input[0])
        sums = [after for after in taken_by[node.output[0]] if after.op_type == "Add"]
        if any(later.op_type == "Relu" for total in sums for later in taken_by.get(total.output[0], [])):
            outputs.add(node.output[0])
    if not inputs:
        raise ModelError("a network without a convolution after a ReLU has nothing to quantise.")
    return inputs, outputs


def _largest(
    model: onnx.ModelProto,
    names: Sequence[str],
    weights: Mapping[str, NDArray[np.float32]],
    samples: Iterable[NDArray[np.float32]],
) -> dict[str, float]:
    """The largest magnitude of each tensor over all samples."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    for name in names:
        probed.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    largest = dict.fromkeys(names, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probed.onnx"
        path.write_bytes(probed.SerializeToString())
        session = open_session(path, weights)
    for y in samples:
        for name, value in zip(names, session.run(list(names), {"y": y}), strict=True):
            largest[name] = max(largest[name], float(np.abs(value).max()))
    if not all(value > 0 for value in largest.values()):
        raise ModelError(
            "no range was seen for an int8 network. Pack with training pictures that are not blank."
        )
    return largest


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
    graph: onnx.GraphProto, source: str, target: str, scale: float, zero: int
) -> list[onnx.NodeProto]:
    """``target`` is ``source`` rounded to a byte and back."""
    step, middle, byte = f"{target}.step", f"{target}.zero", f"{target}.byte"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(scale, np.float32), step))
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(zero, np.uint8), middle))
    return [
        helper.make_node("QuantizeLinear", [source, step, middle], [byte]),
        helper.make_node("DequantizeLinear", [byte, step, middle], [target]),
    ]
