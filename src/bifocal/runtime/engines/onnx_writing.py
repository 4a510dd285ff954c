"""Just enough of ONNX's file format to write a small graph with its weights in it.

The ``onnx`` package is no dependency of decoding. Fields and their numbers are those of onnx.proto, a
message's layout that of protocol buffers (protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bifocal.stream.container import varint

#: The version of ONNX's operators, of its file format, and of ONNX Runtime's own operators.
OPSET, IR_VERSION, MICROSOFT_OPSET = 17, 8, 1
#: The domain of ONNX Runtime's own operators.
MICROSOFT = "com.microsoft"

#: What Cast calls 16-bit integers.
INT16 = 5

_INT, _INTS = 2, 7
_TYPES = {
    np.dtype(np.float32): 1,
    np.dtype(np.uint8): 2,
    np.dtype(np.int8): 3,
    np.dtype(np.int16): 5,
    np.dtype(np.int32): 6,
    np.dtype(np.int64): 7,
}

#: A side that is known when the graph runs, by name, or a number.
Shape = Sequence[int | str]


class GraphWriter:
    """A graph, node by node; :meth:`model` gives the file.

    >>> graph = GraphWriter("double")
    >>> data = graph.model({"x": (np.float32, ["n"])}, {"y": (graph.add("Add", "x", "x"), np.float32, ["n"])})
    >>> data[:2].hex(), b"Add" in data
    ('0808', True)
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []

    def add(self, op: str, *inputs: str, domain: str = "", **attributes: int | Sequence[int]) -> str:
        """Add a node with one output, and give its name. An empty input is one that is left out."""
        name = f"{op}_{len(self._nodes)}"
        self._node(op, inputs, name, domain, attributes)
        return name

    def constant(self, value: NDArray[np.generic]) -> str:
        """Add an array, and give its name."""
        name = f"constant_{len(self._constants)}"
        little = np.ascontiguousarray(value, value.dtype.newbyteorder("<"))
        fields = [_number(1, side) for side in value.shape]
        fields += [_number(2, _TYPES[value.dtype]), _text(8, name), _bytes(9, little.tobytes())]
        self._constants.append(b"".join(fields))
        return name

    def model(
        self,
        inputs: Mapping[str, tuple[type[np.generic], Shape]],
        outputs: Mapping[str, tuple[str, type[np.generic], Shape]],
    ) -> bytes:
        """The file. ``inputs``: name → type, shape; ``outputs``: name → what gives it, type, shape."""
        for name, (node, _, _) in outputs.items():
            self._node("Identity", [node], name, "", {})
        fields = [_bytes(1, node) for node in self._nodes]
        fields += [_text(2, self._name), *(_bytes(5, constant) for constant in self._constants)]
        fields += [_bytes(11, _port(name, *port)) for name, port in inputs.items()]
        fields += [_bytes(12, _port(name, kind, shape)) for name, (_, kind, shape) in outputs.items()]
        opsets = ((b"", OPSET), (_text(1, MICROSOFT), MICROSOFT_OPSET))
        imports = [_bytes(8, domain + _number(2, version)) for domain, version in opsets]
        return b"".join([_number(1, IR_VERSION), _bytes(7, b"".join(fields)), *imports])

    def _node(
        self,
        op: str,
        inputs: Sequence[str],
        output: str,
        domain: str,
        attributes: Mapping[str, int | Sequence[int]],
    ) -> None:
        fields = [_text(1, name) for name in inputs] + [_text(2, output), _text(3, output), _text(4, op)]
        fields += [_bytes(5, _attribute(name, value)) for name, value in attributes.items()]
        self._nodes.append(b"".join([*fields, _text(7, domain)]))


def _attribute(name: str, value: int | Sequence[int]) -> bytes:
    if isinstance(value, int):
        return _text(1, name) + _number(3, value) + _number(20, _INT)
    return _text(1, name) + b"".join(_number(8, one) for one in value) + _number(20, _INTS)


def _port(name: str, kind: type[np.generic], shape: Shape) -> bytes:
    sides = (_bytes(1, _text(2, n) if isinstance(n, str) else _number(1, n)) for n in shape)
    tensor = _number(1, _TYPES[np.dtype(kind)]) + _bytes(2, b"".join(sides))
    return _text(1, name) + _bytes(2, _bytes(1, tensor))


def _number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value & ((1 << 64) - 1))


def _bytes(field: int, value: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())
