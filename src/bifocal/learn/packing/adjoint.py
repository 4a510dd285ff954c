"""The adjoint of synthesis as an ONNX graph: how the error of the decoded pixels changes with every latent.

Encoders that search for better symbols (see :mod:`bifocal.runtime.search`) need the gradient of the squared
error with respect to the latents. Backpropagation through a feed-forward network is itself one: every
convolution becomes its transpose with the same weights, every ReLU a mask. So the gradient is packed as a
graph that shares the weights of synthesis, and an encoder needs neither torch nor a second set of weights.

A synthesis whose linear path carries most of the picture has a cheaper stand-in: the gradient through that
path alone, nothing through activations. A search with it finds as good symbols (docs/effort.md).

The operators are those that synthesis graphs use: ``_RULES`` lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from bifocal.errors import ModelError

#: Height and width of the kernel of every packed weight, by name.
Kernels = dict[str, list[int]]


def adjoint_graph(synthesis: bytes, *, linear: bool = False) -> bytes:
    """The graph of a synthesis and its adjoint, from the graph of synthesis; with ``linear`` the gradient is
    that through its linear path alone.

    Inputs: ``y`` ``[1, c, h, w]`` after inverse gains, ``target`` ``[1, 3, 16h, 16w]``, the true pixels in
    0..255, and ``weight`` ``[1, 1, 16h, 16w]``. Outputs: ``pixels``, clipped to 0..255 but not rounded, and
    ``gradient`` ``[1, c, h, w]``, of half the weighted squared error with respect to ``y``.

    :raises ModelError: if the graph uses an operator whose adjoint is not known here, or has no linear path.
    """
    model = onnx.load_model_from_string(synthesis)
    graph = model.graph
    constants = [
        onnx.numpy_helper.from_array(np.array(value), f"adjoint_{name}")
        for name, value in (
            ("black", np.float32(0)),
            ("white", np.float32(255)),
            ("axes", [2, 3]),
            ("last", [-1, -1]),
            ("first", [np.iinfo(np.int64).min + 1] * 2),
            ("back", [-1, -1]),
        )
    ]
    nodes = list(graph.node)
    (result,) = (output.name for output in graph.output)
    for node in nodes:  # the plain result keeps a name of its own; ours is the clipped one
        node.output[:] = ["adjoint_plain" if name == result else name for name in node.output]
    tape = _Tape(nodes, linear=linear)
    clipped = tape.add("Clip", ["adjoint_plain", "adjoint_black", "adjoint_white"], output=result)
    inside = tape.add("Cast", [tape.add("Equal", [clipped, "adjoint_plain"])], to=TensorProto.FLOAT)
    error = tape.add("Mul", [tape.add("Sub", [clipped, "target"]), "weight"])
    tape.gradients["adjoint_plain"] = tape.add("Mul", [error, inside])
    kernels = {tensor.name: list(tensor.dims[2:]) for tensor in graph.initializer}
    for node in reversed(graph.node):
        arriving = [tape.gradients.get(name) for name in node.output]
        if linear and not any(arriving):  # beside the linear path
            continue
        if node.op_type not in _RULES or (None in arriving and not (linear and node.op_type == "Split")):
            raise ModelError(
                f"synthesis has the operator {node.op_type}, whose adjoint is not known. Write a rule for "
                "it, or pack the model without the graph of the adjoint."
            )
        _RULES[node.op_type](tape, node, [name or "" for name in arriving], kernels)
    if graph.input[0].name not in tape.gradients:
        raise ModelError("synthesis has no linear path. Pack the model with the whole adjoint.")
    tape.add("Identity", [tape.gradients[graph.input[0].name]], output="gradient")
    y, pixels = graph.input[0], graph.output[0]
    given = [
        y,
        helper.make_tensor_value_info("target", TensorProto.FLOAT, [1, 3, "rows", "columns"]),
        helper.make_tensor_value_info("weight", TensorProto.FLOAT, [1, 1, "rows", "columns"]),
    ]
    gradient = helper.make_tensor_value_info("gradient", TensorProto.FLOAT, None)
    made = helper.make_graph(
        tape.nodes, "adjoint", given, [pixels, gradient], [*graph.initializer, *constants]
    )
    packed = helper.make_model(made, opset_imports=list(model.opset_import), producer_name="bifocal")
    packed.ir_version = model.ir_version
    return bytes(packed.SerializeToString())


class _Tape:
    """Nodes in order, and the name of the gradient of each tensor met so far."""

    def __init__(self, nodes: list[Any], *, linear: bool = False) -> None:
        self.nodes, self.gradients, self.linear = nodes, dict[str, str](), linear

    def add(self, op: str, inputs: list[str], *, output: str = "", **attributes: Any) -> str:
        name = output or f"adjoint_{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"at_{name}", **attributes))
        return name

    def constant(self, value: float) -> str:
        return self.add("Constant", [], value_float=float(value))

    def credit(self, tensor: str, gradient: str) -> None:
        """A tensor used twice has the sum of both gradients."""
        known = self.gradients.get(tensor)
        self.gradients[tensor] = gradient if known is None else self.add("Add", [known, gradient])


def _attributes(node: Any) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _conv(tape: _Tape, node: Any, arriving: list[str], kernels: Kernels) -> None:
    """A kernel turned around, with inputs and outputs exchanged: faster than ConvTranspose where measured."""
    settings = _attributes(node)
    sides, pads = kernels[node.input[1]], list(settings.get("pads", [0, 0, 0, 0]))
    if any(step != 1 for step in settings.get("strides", [1, 1])):
        turned = {"strides": settings["strides"], "kernel_shape": sides, "pads": pads}
        tape.credit(node.input[0], tape.add("ConvTranspose", [arriving[0], node.input[1]], **turned))
        return
    swapped = tape.add("Transpose", [node.input[1]], perm=[1, 0, 2, 3])
    ends = ["adjoint_last", "adjoint_first", "adjoint_axes", "adjoint_back"]
    kernel = tape.add("Slice", [swapped, *ends])
    outer = [side - 1 - pad for side, pad in zip(sides * 2, pads, strict=True)]
    tape.credit(node.input[0], tape.add("Conv", [arriving[0], kernel], kernel_shape=sides, pads=outer))


def _conv_transpose(tape: _Tape, node: Any, arriving: list[str], kernels: Kernels) -> None:
    settings = _attributes(node)
    settings.pop("output_padding", None)  # what it added at the far ends depends on nothing else
    tape.credit(node.input[0], tape.add("Conv", [arriving[0], node.input[1]], **settings))


def _relu(tape: _Tape, node: Any, arriving: list[str], kernels: Kernels) -> None:
    if not tape.linear:
        tape.credit(node.input[0], tape.add("Mul", [arriving[0], tape.add("Sign", [node.output[0]])]))


def _leaky_relu(tape: _Tape, node: Any, arriving: list[str], kernels: Kernels) -> None:
    """Where the output is negative the gradient is ``alpha`` times as large."""
    if tape.linear:
        return
    slope = tape.constant(_attributes(node).get("alpha", 0.01))
    below = tape.add("Less", [node.output[0], "adjoint_black"])
    gentle = tape.add("Mul", [arriving[0], slope])
    tape.credit(node.input[0], tape.add("Where", [below, gentle, arriving[0]]))


def _add(tape: _Tape, node: Any, arriving: list[str], kernels: Kernels) -> None:
    for name in node.input:
        if name not in kernels:
            tape.credit(name, arriving[0])


def _mul(tape: _Tape, node: Any, arriving: list[str], kernels: Kernels) -> None:
    """A product with a constant; of two tensors it has no rule here."""
    names = [name for name in node.input if name not in kernels]
    if len(names) != 1:
        raise ModelError(
            "synthesis multiplies two of its tensors, and the adjoint of that is not known. Pack the model "
            "without the graph of the adjoint."
        )
    (constant,) = (name for name in node.input if name in kernels)
    tape.credit(names[0], tape.add("Mul", [arriving[0], constant]))


def _split(tape: _Tape, node: Any, arriving: list[str], kernels: Kernels) -> None:
    """A part without a gradient, beside the linear path, has one of zeros."""
    axis = _attributes(node).get("axis", 0)
    parts = zip(arriving, node.output, strict=True)
    arriving = [name or tape.add("Mul", [part, "adjoint_black"]) for name, part in parts]
    tape.credit(node.input[0], tape.add("Concat", arriving, axis=axis))


def _reshape(tape: _Tape, node: Any, arriving: list[str], kernels: Kernels) -> None:
    tape.credit(node.input[0], tape.add("Reshape", [arriving[0], tape.add("Shape", [node.input[0]])]))


def _transpose(tape: _Tape, node: Any, arriving: list[str], kernels: Kernels) -> None:
    perm = _attributes(node)["perm"]
    tape.credit(node.input[0], tape.add("Transpose", arriving, perm=np.argsort(perm).tolist()))


def _identity(tape: _Tape, node: Any, arriving: list[str], kernels: Kernels) -> None:
    tape.credit(node.input[0], arriving[0])


_RULES: dict[str, Callable[[_Tape, Any, list[str], Kernels], None]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Relu": _relu,
    "LeakyRelu": _leaky_relu,
    "Add": _add,
    "Mul": _mul,
    "Split": _split,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Identity": _identity,
}
