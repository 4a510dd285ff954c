"""Just enough of ONNX's file format to see which weights a graph lacks, and to put them in.

The graphs of a packed model come without weights. ONNX Runtime takes those beside the graph; OpenVINO reads
only whole files, and the ``onnx`` package is no dependency of decoding. ONNX files are protocol buffers
(protobuf.dev/programming-guides/encoding): a message is a row of fields, each a tag, maybe a length, and its
bytes, so that a field can be replaced while the rest is copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from bifocal.errors import ModelError

# numbers of the fields that matter here, from onnx.proto
_GRAPH, _INITIALIZER = 7, 5
_DIMS, _NAME, _RAW, _EXTERNAL, _LOCATION = 1, 8, 9, 13, 14
_FUNCTIONS, _NODE, _SPARSE = 25, 1, 15
_DOMAIN, _ATTRIBUTE = 7, 5
#: Fields of an attribute that hold a tensor, and those that hold a graph or a sparse tensor.
_TENSORS, _GRAPHS = (5, 10), (6, 11, 22, 23)
_VARINT, _BYTES = 0, 2


class _Field(NamedTuple):
    number: int
    value: int | memoryview
    whole: memoryview


def missing_weights(graph: bytes) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the initialisers whose values are not in the graph.

    :raises ModelError: if the bytes are no ONNX graph.
    """
    found = {}
    for part in _fields(memoryview(graph)):
        if part.number == _GRAPH:
            for field in _fields(_bytes(part)):
                if field.number == _INITIALIZER and _external(_bytes(field)):
                    name, shape = _tensor(_bytes(field))
                    found[name] = shape
    return found


def refuse_untrusted(graph: bytes, nodes: int) -> None:
    """Refuse a graph that could do more than arithmetic with the weights beside it.

    What is refused: loops and branches (any graph inside a node), functions, operators that are not ONNX's
    own, values in files elsewhere, and more than ``nodes`` nodes. Memory is the session's business.

    :raises ModelError: if the bytes are no ONNX graph, or one of these.
    """
    count = 0
    for part in _fields(memoryview(graph)):
        if part.number == _FUNCTIONS:
            raise _unwanted("functions of its own")
        if part.number != _GRAPH:
            continue
        for field in _fields(_bytes(part)):
            if field.number == _SPARSE:
                raise _unwanted("sparse weights")
            if field.number == _NODE:
                count += 1
                _refuse_node(_bytes(field))
    if count > nodes:
        raise _unwanted(f"{count} nodes, and {nodes} are read at most")


def _refuse_node(node: memoryview) -> None:
    for field in _fields(node):
        if field.number == _DOMAIN and bytes(_bytes(field)) not in (b"", b"ai.onnx"):
            raise _unwanted("operators that are not ONNX's own")
        if field.number == _ATTRIBUTE:
            for value in _fields(_bytes(field)):
                if value.number in _GRAPHS:
                    raise _unwanted("loops, branches or sparse tensors")
                if value.number in _TENSORS and _external(_bytes(value)):
                    raise _unwanted("values in other files")


def _unwanted(what: str) -> ModelError:
    return ModelError(f"a graph has {what}")


def with_weights(graph: bytes, weights: Mapping[str, NDArray[Any]]) -> bytes:
    """The graph with the values of all its missing initialisers, of the types that it declares.

    :raises ModelError: if the bytes are no ONNX graph, or a weight is missing or of another shape.
    """
    out = []
    for part in _fields(memoryview(graph)):
        if part.number != _GRAPH:
            out.append(bytes(part.whole))
            continue
        inner: list[bytes] = []
        for field in _fields(_bytes(part)):
            if field.number == _INITIALIZER and _external(_bytes(field)):
                inner.append(_prefixed(_INITIALIZER, _filled(_bytes(field), weights)))
            else:
                inner.append(bytes(field.whole))
        out.append(_prefixed(_GRAPH, b"".join(inner)))
    return b"".join(out)


def _filled(tensor: memoryview, weights: Mapping[str, NDArray[Any]]) -> bytes:
    name, shape = _tensor(tensor)
    if name not in weights or weights[name].shape != shape:
        given = f"of shape {list(weights[name].shape)}" if name in weights else "not there"
        raise ModelError(
            f"a graph of the model asks for weight {name} {list(shape)}, which is {given}. Install or "
            "pack the model again."
        )
    array = weights[name]
    values = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    kept = [bytes(f.whole) for f in _fields(tensor) if f.number not in (_EXTERNAL, _LOCATION)]
    return b"".join([*kept, _prefixed(_RAW, values)])


def _tensor(tensor: memoryview) -> tuple[str, tuple[int, ...]]:
    name, shape = "", []
    for field in _fields(tensor):
        if field.number == _NAME:
            name = bytes(_bytes(field)).decode("utf-8", "replace")
        elif field.number == _DIMS and isinstance(field.value, int):
            shape.append(field.value)
        elif field.number == _DIMS:  # packed: one after the other
            position, dims = 0, _bytes(field)
            while position < len(dims):
                size, position = _varint(dims, position)
                shape.append(size)
    return name, tuple(shape)


def _external(tensor: memoryview) -> bool:
    return any(field.number == _LOCATION and field.value == 1 for field in _fields(tensor))


def _fields(message: memoryview) -> Iterator[_Field]:
    position = 0
    while position < len(message):
        start = position
        tag, position = _varint(message, position)
        number, kind = tag >> 3, tag & 7
        value: int | memoryview
        if kind == _VARINT:
            value, position = _varint(message, position)
        else:
            size = {1: 8, 5: 4}.get(kind, -1)
            if kind == _BYTES:
                size, position = _varint(message, position)
            if size < 0 or position + size > len(message):
                raise _damaged()
            value = message[position : position + size]
            position += size
        yield _Field(number, value, message[start:position])


def _bytes(field: _Field) -> memoryview:
    if isinstance(field.value, int):
        raise _damaged()
    return field.value


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message) and shift < 70:
        byte = message[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
    raise _damaged()


def _prefixed(number: int, value: bytes) -> bytes:
    """A field of bytes: tag, length, value."""
    head, rest = bytearray(), len(value)
    head.append(number << 3 | _BYTES)
    while rest > 127:
        head.append(rest & 127 | 128)
        rest >>= 7
    head.append(rest)
    return bytes(head) + value


def _damaged() -> ModelError:
    return ModelError("a graph of the model is damaged: it is no ONNX file. Install or pack the model again.")
