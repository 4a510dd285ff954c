"""What each operator multiplies, and which rows or columns of its input a stretch of its output needs.

Views of other shapes are followed by the axis: of ``[1, c, 2, 2, h, w]``, as in a pixel shuffle, the rows are
axis 4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from onnx import TensorProto

from bifocal.hardware.cost.graph import Node, Shape
from bifocal.hardware.cost.layers import POINTWISE, Plan


class Stretch(NamedTuple):
    """The positions ``start`` to ``stop`` along one axis of a tensor."""

    axis: int
    start: int
    stop: int


#: Says that all of a tensor is needed.
WHOLE = Stretch(-1, -1, -1)
_WINDOWED = frozenset({"Conv", "AveragePool", "MaxPool", "LpPool"})
_RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
#: Whose output has a position where the input has it, or near.
_MOVES = POINTWISE | {"Identity", "Concat", "Split", "Pad", "Slice", "Gather"}
_WEIGHTS = (
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.BFLOAT16,
    TensorProto.DOUBLE,
    TensorProto.INT8,
    TensorProto.UINT8,
)


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


def needed(plan: Plan, node: Node, stretch: Stretch) -> dict[str, Stretch]:
    """For each input of a node what a stretch of its output needs: rows, columns, or what a view makes of
    them.

    Stretches end at the edges of the tensors. :data:`WHOLE` says that all is needed, whatever the stretch.
    """
    out = plan.sizes[node.outputs[0]][0]
    found = {}
    for name in node.inputs:
        if name in plan.static:
            continue
        shape = plan.sizes[name][0]
        made = WHOLE if stretch == WHOLE else _stretch(plan, node, stretch, shape, out)
        if made != WHOLE:
            stop = max(0, min(made.stop, shape[made.axis] if shape else 1))
            made = Stretch(made.axis, min(max(0, made.start), stop), stop)
        found[name] = made
    return found


def _stretch(plan: Plan, node: Node, stretch: Stretch, shape: Shape, out: Shape) -> Stretch:
    """What a stretch of an output of the shape ``out`` needs of an input; it may go beyond its edges."""
    if node.op in _RESHAPES:
        return _reshaped(stretch, shape, out)
    if node.op == "Transpose":
        order = node.attributes.get("perm") or range(len(shape))[::-1]
        return stretch._replace(axis=int(order[stretch.axis]))
    axis = stretch.axis - len(out) + len(shape)
    if node.op in POINTWISE and (axis < 0 or shape[axis] == 1):
        return Stretch(max(0, axis), 0, 1)  # one value for all positions
    if node.op in POINTWISE or (
        node.op in _MOVES and len(shape) == len(out) and not _reorders(plan, node, axis)
    ):
        moved = abs(shape[axis] - out[axis])  # what Pad and Slice may have taken or put in front
        return Stretch(axis, stretch.start - moved, stretch.stop + moved)
    if len(shape) == len(out) == 4 and axis >= 2:
        start, stop = _in_map(plan, node, stretch, shape[axis], out[axis])
        return WHOLE if (start, stop) == (-1, -1) else Stretch(axis, start, stop)
    return WHOLE


def _reorders(plan: Plan, node: Node, axis: int) -> bool:
    """Whether positions along an axis are picked one by one, or may run backwards."""
    if node.op == "Gather":
        return int(node.attributes.get("axis", 0)) % len(plan.sizes[node.inputs[0]][0]) == axis
    steps = node.proto.input[4] if node.op == "Slice" and len(node.proto.input) > 4 else ""
    values = {**plan.graph.constants, **plan.fixed}.get(steps)
    return bool(steps) and (values is None or min(values.flat) < 0)


def _reshaped(stretch: Stretch, shape: Shape, out: Shape) -> Stretch:
    """The stretch that a reshape reads: of the axis that begins where that of the output begins.

    >>> _reshaped(Stretch(2, 3, 5), (1, 4, 8, 2, 16), (1, 4, 16, 16))
    Stretch(axis=2, start=1, stop=3)
    >>> _reshaped(Stretch(3, 3, 5), (1, 4, 8, 16), (1, 4, 4, 2, 16)) == WHOLE
    True
    """
    before, after = math.prod(out[: stretch.axis]), math.prod(out[stretch.axis + 1 :])
    one = out[stretch.axis] == 1
    begins = [a for a, size in enumerate(shape) if math.prod(shape[:a]) == before and (size == 1) == one]
    if not begins:
        return WHOLE
    axis = stretch.axis if stretch.axis in begins else begins[-1]
    step = math.prod(shape[axis + 1 :])
    return Stretch(axis, stretch.start * after // step, -(-stretch.stop * after // step))


def _in_map(plan: Plan, node: Node, stretch: Stretch, size: int, out: int) -> tuple[int, int]:
    """Rows or columns that an operator on maps ``[1, c, h, w]`` needs; -1, -1 for all."""
    axis, start, stop = stretch
    if node.op in _WINDOWED or node.op == "ConvTranspose":
        kernel, stride, dilation, before = _window(plan, node, axis - 2, size, out)
        reach = dilation * (kernel - 1)
        if node.op == "ConvTranspose":
            return -((reach - start - before) // stride), (stop - 1 + before) // stride + 1
        return start * stride - before, (stop - 1) * stride - before + reach + 1
    if node.op == "DepthToSpace":
        block = int(node.attributes["blocksize"])
        return start // block, -(-stop // block)
    if node.op == "SpaceToDepth":
        block = int(node.attributes["blocksize"])
        return start * block, stop * block
    if node.op in ("Resize", "Upsample"):
        margin = 3 if node.attributes.get("mode", b"nearest") != b"nearest" else 1
        return math.floor(start * size / out) - margin, math.ceil(stop * size / out) + margin
    return -1, -1


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
