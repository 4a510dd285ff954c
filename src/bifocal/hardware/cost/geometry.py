"""What each operator multiplies, and which rows or columns of its input a stretch of its output needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from onnx import TensorProto

from bifocal.hardware.cost.graph import Node, Shape
from bifocal.hardware.cost.layers import POINTWISE, Plan

Stretch = tuple[int, int]
_WINDOWED = frozenset({"Conv", "AveragePool", "MaxPool", "LpPool"})
_WEIGHTS = (
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.BFLOAT16,
    TensorProto.DOUBLE,
    TensorProto.INT8,
    TensorProto.UINT8,
)
#: Operators whose output at a position depends on the whole picture.
WHOLE = (-1, -1)


def multiply_adds(node: Node, sizes: Mapping[str, tuple[Shape, int]]) -> int:
    """Multiply–adds of a convolution or matrix product; 0 for any other operator."""
    out = math.prod(sizes[node.outputs[0]][0])
    if node.op in ("Conv", "ConvTranspose"):
        weight = sizes[node.inputs[1]][0]
        given = math.prod(sizes[node.inputs[0]][0])
        return (given if node.op == "ConvTranspose" else out) * math.prod(weight[1:])
    if node.op == "MatMul":
        return out * sizes[node.inputs[0]][0][-1]
    if node.op == "Gemm":
        return out * sizes[node.inputs[0]][0][0 if node.attributes.get("transA") else 1]
    return 0


def weight_values(plan: Plan, nodes: Sequence[Node]) -> int:
    """Numbers among what nodes read that does not depend on the picture, floats and 8-bit integers."""
    names = {name for node in nodes for name in node.inputs if name in plan.static}
    sizes = (plan.sizes[name] for name in names)
    return sum(math.prod(shape) for shape, kind in sizes if kind in _WEIGHTS)


def needed(plan: Plan, node: Node, axis: int, stretch: Stretch) -> dict[str, Stretch]:
    """For each input of a node the rows (``axis`` 0) or columns (1) that a stretch of its output needs.

    Stretches end at the edges of the tensors. :data:`WHOLE` says that all is needed, whatever the stretch.
    """
    found = {}
    for name in node.inputs:
        if name in plan.static:
            continue
        shape, out = plan.sizes[name][0], plan.sizes[node.outputs[0]][0]
        if len(shape) == 0 or (len(shape) == 4 and shape[2 + axis] == 1 and node.op in POINTWISE):
            found[name] = (0, 1)
        elif len(shape) != 4 or len(out) != 4 or stretch == WHOLE:
            found[name] = WHOLE
        else:
            start, stop = _stretch(plan, node, axis, stretch, shape[2 + axis], out[2 + axis])
            whole = (start, stop) == WHOLE
            found[name] = WHOLE if whole else (max(0, start), max(0, min(stop, shape[2 + axis])))
    return found


def _stretch(plan: Plan, node: Node, axis: int, stretch: Stretch, size: int, out: int) -> Stretch:
    start, stop = stretch
    if node.op in _WINDOWED or node.op == "ConvTranspose":
        kernel, stride, dilation, before = _window(plan, node, axis, size, out)
        reach = dilation * (kernel - 1)
        if node.op == "ConvTranspose":
            return -((reach - start - before) // stride), (stop - 1 + before) // stride + 1
        return start * stride - before, (stop - 1) * stride - before + reach + 1
    if node.op in POINTWISE or node.op in ("Identity", "Concat", "Split", "Pad", "Slice", "Gather"):
        moved = abs(size - out)  # what Pad and Slice may have taken or put in front
        return start - moved, stop + moved
    if node.op == "DepthToSpace":
        block = int(node.attributes["blocksize"])
        return start // block, -(-stop // block)
    if node.op == "SpaceToDepth":
        block = int(node.attributes["blocksize"])
        return start * block, stop * block
    if node.op in ("Resize", "Upsample"):
        margin = 3 if node.attributes.get("mode", b"nearest") != b"nearest" else 1
        return math.floor(start * size / out) - margin, math.ceil(stop * size / out) + margin
    return WHOLE


def _window(plan: Plan, node: Node, axis: int, size: int, out: int) -> tuple[int, int, int, int]:
    """Kernel, stride, dilation and padding in front along an axis."""

    def attribute(name: str, default: int) -> int:
        value: Any = node.attributes.get(name)
        return int(value[axis]) if value else default

    weight = plan.sizes[node.inputs[1]][0] if len(node.inputs) > 1 else ()
    kernel = attribute("kernel_shape", weight[2 + axis] if len(weight) == 4 else 1)
    stride, dilation = attribute("strides", 1), attribute("dilations", 1)
    pads = attribute("pads", 0)
    if node.attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        short = abs((out - 1) * stride + dilation * (kernel - 1) + 1 - size)
        pads = -(-short // 2)
    return kernel, stride, dilation, pads
