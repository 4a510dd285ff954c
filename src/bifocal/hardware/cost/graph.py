"""A network as an ONNX graph: read, checked, and given the sizes that a picture has.

Anything that cannot be measured is refused before the first product, by an error that names the node.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import GraphError, OptionError, ToolError, install_command

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError as missing:
    raise ToolError(
        f"reading networks needs the package onnx, which is not here. Run: {install_command('hardware')}"
    ) from missing

Array = NDArray[Any]
Shape = tuple[int, ...]

#: Constants of a graph that is measured, in bytes: the limit of its file format.
MAX_CONSTANTS = (2 << 30) - 1
_DOMAINS = ("", "ai.onnx")
_RANDOM = {
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
}


@dataclass(frozen=True, eq=False)
class Node:
    """One operator: ``inputs`` without what is left out; ``number`` is its position in the file."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    proto: Any


@dataclass(frozen=True, eq=False)
class Graph:
    """A checked graph. ``inputs`` are its names and declared shapes, None where a size is open; ``constants``
    its weights by name; ``nodes`` in an order in which they can run."""

    name: str
    nodes: tuple[Node, ...]
    inputs: Mapping[str, tuple[int | None, ...]]
    outputs: tuple[str, ...]
    constants: Mapping[str, Array]
    model: Any

    def picture_input(self) -> tuple[str, tuple[int | None, ...]]:
        """Name and shape of the one input that is shaped like a picture: ``[1, 1 or 3, h, w]``.

        :raises GraphError: if there is none, or another input that pictures cannot fill.
        """
        shaped = [name for name, shape in self.inputs.items() if len(shape) == 4 and shape[1] in (1, 3)]
        if len(self.inputs) != 1 or len(shaped) != 1:
            listed = ", ".join(f"{name} {_shown(shape)}" for name, shape in self.inputs.items()) or "none"
            raise GraphError(
                f"{self.name} has no single input shaped like a picture, [1, 3, height, width]: its "
                f"inputs are "
                f"{listed}. Give --data an .npz file with an array for each of them."
            )
        return shaped[0], self.inputs[shaped[0]]

    def check_feeds(self, feeds: Mapping[str, Array]) -> None:
        """
        :raises OptionError: if the arrays are not those that the graph takes.
        """
        missing, extra = set(self.inputs) - set(feeds), set(feeds) - set(self.inputs)
        if missing or extra:
            raise OptionError(
                f"{self.name} takes {', '.join(self.inputs)}; the feeds are {', '.join(feeds) or 'none'}."
            )
        for name, array in feeds.items():
            declared = self.inputs[name]
            fits = len(declared) == array.ndim and all(
                want in (None, size) for want, size in zip(declared, array.shape, strict=True)
            )
            if not fits or (array.ndim and array.shape[0] != 1):
                raise OptionError(
                    f"{self.name} takes {name} as {_shown(declared)}, and one picture at a time; the "
                    f"array is "
                    f"{list(array.shape)}."
                )
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise OptionError(f"the array for {name} has NaN or infinite values. Give finite ones.")


def load_graph(
    source: str | os.PathLike[str] | bytes,
    *,
    weights: Mapping[str, Array] | None = None,
    name: str = "",
) -> Graph:
    """Read an ONNX file, or its bytes. ``weights`` fill constants that it has no values for.

    :raises GraphError: if it cannot be read, needs files that are missing, or has what cannot be measured:
        control flow, unknown or random operators, inputs or constants that are not arrays of numbers, more
        than 2 GB of constants.
    """
    if isinstance(source, bytes):
        folder, data, name = None, source, name or "graph"
    else:
        folder, name = Path(source).parent, name or Path(source).name
        data = _read(Path(source))
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's own kinds
        raise GraphError(f"{name} is no ONNX file: {first_line(error)}. Export the network again.") from error
    if not model.graph.node:
        raise GraphError(f"{name} is an ONNX file without operators, or no ONNX file. Export it again.")
    model = _inlined(model, name)
    _check_operators(model, name)
    constants = _constants(model, name, folder, weights or {})
    made = {tensor for node in model.graph.node for tensor in node.output} | set(constants)
    inputs = {v.name: _declared(v, name) for v in model.graph.input if v.name not in constants}
    for node in model.graph.node:
        for tensor in node.input:
            if tensor and tensor not in made and tensor not in inputs:
                raise GraphError(
                    f"{name}: {described(node)} reads {tensor}, which nothing makes. Export the network "
                    f"again."
                )
    kept = [value for value in model.graph.input if value.name in inputs]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return Graph(
        name,
        tuple(_node(node) for node in model.graph.node),
        inputs,
        tuple(value.name for value in model.graph.output),
        constants,
        model,
    )


def described(node: Any) -> str:
    """A node as errors name it.

    >>> described(helper.make_node("Relu", ["x"], ["y"], name="act"))
    'the node act (Relu)'
    """
    op = getattr(node, "op_type", None) or node.op
    first = node.output[0] if hasattr(node, "output") else node.outputs[0]
    return f"the node {node.name} ({op})" if node.name else f"the {op} node that makes {first}"


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_CONSTANTS:
            raise GraphError(
                f"{path.name} has {path.stat().st_size:,} bytes: a graph has at most 2 GB of constants here. "
                "Export a smaller network, or a part of it."
            )
        return path.read_bytes()
    except OSError as error:
        raise GraphError(f"{path} cannot be read: {error.strerror}. Name an ONNX file.") from error


def _inlined(model: Any, name: str) -> Any:
    """The model with its own functions put where they are called."""
    if not model.functions:
        return model
    from onnx import inliner

    try:
        return inliner.inline_local_functions(model)
    except Exception as error:
        raise GraphError(
            f"{name}: its functions cannot be put in place: {first_line(error)}. Export it without functions."
        ) from error


def _check_operators(model: Any, name: str) -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""}
    for node in model.graph.node:
        kinds = {a.type for a in node.attribute}
        if {onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS} & kinds:
            raise GraphError(
                f"{name}: {described(node)} is control flow, whose traffic depends on the data. Export the "
                "network without it, for example by tracing."
            )
        if node.domain not in _DOMAINS or node.op_type not in known:
            domain = f" of {node.domain}" if node.domain not in _DOMAINS else ""
            raise GraphError(
                f"{name}: {described(node)} is an operator{domain} that is not ONNX's own. Export the "
                f"network "
                "with the standard operators."
            )
        if node.op_type in _RANDOM or node.op_type.startswith(("Sequence", "SplitToSequence", "Optional")):
            raise GraphError(
                f"{name}: {described(node)} gives random values or sequences, which are not measured. Export "
                "the network for inference, with tensors only."
            )


def _constants(model: Any, name: str, folder: Path | None, weights: Mapping[str, Array]) -> dict[str, Array]:
    """Every constant of a graph; those of other files are read."""
    graph = model.graph
    if graph.sparse_initializer:
        raise GraphError(f"{name} has sparse constants. Export it with dense ones.")
    found: dict[str, Array] = {}
    total = 0
    for tensor in graph.initializer:
        total += int(np.prod(tensor.dims, dtype=np.float64)) * _size_of(tensor.data_type)
        if total > MAX_CONSTANTS:
            raise GraphError(
                f"{name} has more than 2 GB of constants; {tensor.name}, read by "
                f"{_reader(graph, tensor.name)}, is the one beyond. Export a smaller network, or a part."
            )
        external = tensor.data_location == TensorProto.EXTERNAL
        if external and tensor.name in weights:
            array = np.ascontiguousarray(weights[tensor.name])
            if array.shape != tuple(tensor.dims):
                raise GraphError(f"{name}: {tensor.name} is {list(tensor.dims)}, its weights {array.shape}.")
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        elif external:
            _read_external(graph, tensor, name, folder)
        try:
            found[tensor.name] = numpy_helper.to_array(tensor)
        except Exception as error:
            raise GraphError(
                f"{name}: the constant {tensor.name}, read by {_reader(graph, tensor.name)}, cannot be "
                f"read: {first_line(error)}. Export the network again."
            ) from error
    return found


def _read_external(graph: Any, tensor: Any, name: str, folder: Path | None) -> None:
    """Values of a constant that stand in a file beside the graph, and nowhere else."""
    location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
    where = (
        f"{name}: the constant {tensor.name}, read by {_reader(graph, tensor.name)}, is in the file "
        f"'{location}', which"
    )
    inside = folder is not None and location and not Path(location).is_absolute()
    if not inside or ".." in Path(location).parts:
        raise GraphError(f"{where} is not beside the graph. Put it there, or export with weights inside.")
    assert folder is not None
    if not (folder / location).is_file():
        raise GraphError(f"{where} is missing. Put it beside the graph, or export with weights inside.")
    try:
        onnx.external_data_helper.load_external_data_for_tensor(tensor, str(folder))
    except Exception as error:
        raise GraphError(f"{where} cannot be read: {first_line(error)}. Export the network again.") from error
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]


def _reader(graph: Any, tensor: str) -> str:
    return next((described(node) for node in graph.node if tensor in node.input), "no node")


def _declared(value: Any, name: str) -> tuple[int | None, ...]:
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        raise GraphError(
            f"{name}: its input {value.name} is no array of a known number of dimensions. Export it with one."
        )
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in dims)


def _node(proto: Any) -> Node:
    attributes = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
    inputs = tuple(name for name in proto.input if name)
    outputs = tuple(name for name in proto.output if name)
    return Node(proto.name, proto.op_type, inputs, outputs, attributes, proto)


def _size_of(kind: int) -> int:
    try:
        return int(np.dtype(helper.tensor_dtype_to_np_dtype(kind)).itemsize)
    except (KeyError, TypeError):
        return 1


def _shown(shape: Iterable[int | None]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:300]
