"""An exact network as an ONNX graph; written when a model is packed (needs ``onnx``, of the ``train`` extra).

Convolutions are spelt out as unfold (Pad, Slice, Concat) and a 1×1 Conv, so that no engine may choose Winograd or an FFT,
which would compute with fractions. The graph holds no weights: they are declared external, and whoever runs the
graph (:mod:`bifocal.runtime.exact_ort`) supplies them from the packed model, converted to float32.

    x [1,i,h,w] ─ clip ±input_max ─┬─ per layer: [unfold] ─ Conv 1×1 ─ Add bias.L ─ Mul 2^-shift ─ Floor ─ Clip ─ [shuffle] ─► y

There is no Relu: a clip from zero up is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bifocal.stream.exact import ExactLayer, ExactNet

if TYPE_CHECKING:
    import onnx

#: Old enough for every ONNX Runtime since 1.17.
OPSET = 17


def exact_graph(net: ExactNet) -> onnx.ModelProto:
    """The ONNX graph of ``net``: input ``x`` float ``[1, i, h, w]``, inputs ``bias.L`` ``[1, o, 1, 1]``, output ``y``.

    External initialisers, all float32, in the order of :func:`bifocal.runtime.exact_ort.graph_weights`:
    ``exact.NET.input_max`` ``[1, i, 1, 1]`` and, for every layer, ``.weight`` ``[o, k·k·i, 1, 1]`` and ``.scale``
    ``[1, o, 1, 1]``.
    """
    from onnx import TensorProto, helper

    name = f"exact.{net.name}"
    external = [_external(f"{name}.input_max", (1, net.inputs, 1, 1))]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, net.inputs, "h", "w"])]
    constants: dict[str, Any] = {}
    nodes = [
        helper.make_node("Neg", [f"{name}.input_max"], ["input_min"]),
        helper.make_node("Min", ["x", f"{name}.input_max"], ["x.below"]),
        helper.make_node("Max", ["x.below", "input_min"], ["clip"]),
    ]
    value = "clip"
    for number, layer in enumerate(net.layers):
        rows, columns = len(layer.weight), layer.inputs * layer.kernel**2
        external += [
            _external(f"{name}.{number}.weight", (rows, columns, 1, 1)),
            _external(f"{name}.{number}.scale", (1, rows, 1, 1)),
        ]
        inputs.append(helper.make_tensor_value_info(f"bias.{number}", TensorProto.FLOAT, [1, rows, 1, 1]))
        value = _layer(nodes, constants, layer, f"{name}.{number}", number, value)
    nodes[-1].output[0] = "y"
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, net.outputs, None, None])]
    initialisers = external + [helper.make_tensor(k, t, d, v) for k, (t, d, v) in constants.items()]
    graph = helper.make_graph(nodes, net.name, inputs, outputs, initialisers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="bifocal")
    model.ir_version = 8  # of opset 17: newer numbers keep older runtimes out for nothing
    return model


def _layer(nodes: list[Any], constants: dict[str, Any], layer: ExactLayer, name: str, number: int, x: str) -> str:
    from onnx import TensorProto, helper

    def add(kind: str, inputs: list[str], what: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [f"{what}.{number}"], **attributes))
        return f"{what}.{number}"

    def constant(key: str, kind: int, shape: list[int], values: list[Any]) -> str:
        constants[key] = (kind, shape, values)
        return key

    if layer.kernel == 3:
        around = constant("pads", TensorProto.INT64, [8], [0, 0, 1, 1, 0, 0, 1, 1])
        axes = constant("axes", TensorProto.INT64, [2], [2, 3])
        padded = add("Pad", [x, around], "pad")
        shifted = []
        for a in range(3):
            for b in range(3):
                start = constant(f"start.{a}{b}", TensorProto.INT64, [2], [a, b])
                # up to the last row and column but 2 - a and 2 - b; "no end" is any number beyond every size
                ends = [2**31 - 1 if a == 2 else a - 2, 2**31 - 1 if b == 2 else b - 2]
                stop = constant(f"stop.{a}{b}", TensorProto.INT64, [2], ends)
                shifted.append(add("Slice", [padded, start, stop, axes], f"at{a}{b}"))
        x = add("Concat", shifted, "unfold", axis=1)
    x = add("Conv", [x, f"{name}.weight"], "sum", kernel_shape=[1, 1])
    x = add("Add", [x, f"bias.{number}"], "biased")
    x = add("Mul", [x, f"{name}.scale"], "scaled")
    x = add("Floor", [x], "floor")
    lo = max(layer.lo, 0) if layer.relu else layer.lo
    low = constant(f"lo.{number}", TensorProto.FLOAT, [], [float(lo)])
    high = constant(f"hi.{number}", TensorProto.FLOAT, [], [float(layer.hi)])
    x = add("Clip", [x, low, high], "out")
    if layer.shuffle:
        x = add("DepthToSpace", [x], "shuffle", blocksize=2, mode="CRD")
    return x


def _external(name: str, shape: tuple[int, ...]) -> onnx.TensorProto:
    """An initialiser of which only the shape is known here; its values are handed over when a session is made."""
    from onnx import TensorProto, external_data_helper

    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
    tensor.raw_data = b""
    external_data_helper.set_external_data(tensor, "weights.safetensors")
    tensor.data_location = TensorProto.EXTERNAL
    return tensor
