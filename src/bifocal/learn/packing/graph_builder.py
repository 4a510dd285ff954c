"""Writing an ONNX graph node by node, without its weights: the runtime supplies those from one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from bifocal.learn.packing.graphs import OPSET, Arrays

#: How weights of bytes are declared; all others are float32.
BYTES = {np.dtype(np.int8): TensorProto.INT8, np.dtype(np.uint8): TensorProto.UINT8}


@dataclass
class GraphBuilder:
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

    def model(
        self,
        inputs: dict[str, list[Any]],
        outputs: dict[str, tuple[str, list[Any]]],
        types: Mapping[str, int] = MappingProxyType({}),
    ) -> bytes:
        """Serialise. ``inputs`` name → shape; ``outputs`` name → (node output, shape).

        ``types`` are those of inputs and outputs that are not float32. Weights are int8 or uint8 where their
        values are, float32 elsewhere.
        """

        def declared(name: str, shape: list[Any]) -> Any:
            return helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), shape)

        for name, (node, _) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [node], [name]))
        external = []
        for name, value in self.weights.items():
            kind = BYTES.get(value.dtype, TensorProto.FLOAT)
            tensor = TensorProto(name=name, data_type=kind, dims=value.shape)
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="weights.safetensors")
            external.append(tensor)
        graph = helper.make_graph(
            self.nodes,
            self.prefix,
            [declared(name, shape) for name, shape in inputs.items()],
            [declared(name, shape) for name, (_, shape) in outputs.items()],
            external + self.constants,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        opsets += [helper.make_opsetid(name, 1) for name in sorted({n.domain for n in self.nodes} - {""})]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="bifocal")
        model.ir_version = 9
        return bytes(model.SerializeToString())
