"""The sizes of all tensors of a graph when certain arrays are fed, before anything runs.

What operators say of the sizes that they make is not enough where a network computes shapes itself. So small
tensors that sizes alone decide are computed, and sizes are inferred again, until nothing is new.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from bifocal.errors import GraphError
from bifocal.hardware.cost.graph import Array, Graph, Node, Shape, described, first_line

#: Values of one tensor, so that no graph asks for all the memory there is.
MAX_VALUES = 1 << 30
#: Values of a tensor that is taken for shape arithmetic, and computed before anything runs.
MAX_FIXED = 64


def infer_sizes(
    graph: Graph, feeds: Mapping[str, Array]
) -> tuple[dict[str, tuple[Shape, int]], dict[str, Array]]:
    """For every tensor its shape and ONNX element type, when these arrays are fed; and the values of those
    that only sizes decide, such as the shapes that others are brought into.

    :raises GraphError: if one stays unknown.
    :raises OptionError: if the feeds are not those of the graph.
    """
    graph.check_feeds(feeds)
    model = _of_sizes(graph, feeds)
    fixed: dict[str, Array] = {}
    while True:
        known = _inferred(graph.name, model)
        found = dict(_evaluated(graph, known, fixed))
        if not found:
            break
        fixed |= found
        kept = [node for node in model.graph.node if not set(node.output) & set(found)]
        del model.graph.node[:]
        model.graph.node.extend(kept)
        model.graph.initializer.extend(numpy_helper.from_array(array, n) for n, array in found.items())
    read = {name for node in graph.nodes for name in node.inputs} | set(graph.outputs)
    for node in graph.nodes:
        for name in node.outputs:
            if name in read:
                _check_size(graph.name, known.get(name), name, node)
    return known, fixed


def _of_sizes(graph: Graph, feeds: Mapping[str, Array]) -> Any:
    """A copy of the model with the sizes of feeds, and those alone."""
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    for value in model.graph.input:
        shape = value.type.tensor_type.shape
        shape.Clear()
        for size in feeds[value.name].shape:
            shape.dim.add().dim_value = size
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    return model


def _inferred(name: str, model: Any) -> dict[str, tuple[Shape, int]]:
    """The shapes that follow from those of the inputs by the rules of the operators."""
    try:
        inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    except Exception as error:  # onnx raises its own kinds
        raise GraphError(
            f"{name} does not take inputs of these sizes: {first_line(error)}. Give feeds of the "
            "sizes that it was made for."
        ) from error
    known: dict[str, tuple[Shape, int]] = {
        tensor.name: (tuple(tensor.dims), tensor.data_type) for tensor in inferred.initializer
    }
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(d.HasField("dim_value") for d in tensor.shape.dim):
            known[value.name] = tuple(d.dim_value for d in tensor.shape.dim), tensor.elem_type
    return known


def _evaluated(
    graph: Graph, known: Mapping[str, tuple[Shape, int]], fixed: Mapping[str, Array]
) -> Iterator[tuple[str, Array]]:
    """Values of further small tensors that follow from shapes that are known."""
    values = {n: a for n, a in graph.constants.items() if a.size <= MAX_FIXED} | dict(fixed)
    for node in graph.nodes:
        if node.outputs[0] in values or len(node.outputs) != 1:
            continue
        if node.op == "Shape" and node.inputs[0] in known:
            shape = np.array(known[node.inputs[0]][0], np.int64)
            made: Array | None = shape[node.attributes.get("start", 0) : node.attributes.get("end")]
        elif all(name in values for name in node.inputs) and _is_small(known.get(node.outputs[0])):
            made = _evaluate(node, values, graph.model)
        else:
            continue
        if made is not None:
            values[node.outputs[0]] = made
            yield node.outputs[0], made


def _check_size(graph: str, size: tuple[Shape, int] | None, name: str, node: Node) -> None:
    if size is None:
        raise GraphError(
            f"{graph}: the size of {name}, made by {described(node)}, stays unknown. Fix the sizes of "
            "the graph's inputs when you export it, or fold its shape arithmetic with a simplifier, then "
            "try again."
        )
    if math.prod(size[0]) > MAX_VALUES:
        raise GraphError(
            f"{graph}: {name}, made by {described(node)}, would have {math.prod(size[0]):,} values, "
            f"more than {MAX_VALUES:,}. Give a smaller picture."
        )


def _is_small(size: tuple[Shape, int] | None) -> bool:
    return size is not None and math.prod(size[0]) <= MAX_FIXED


def _evaluate(node: Node, values: Mapping[str, Array], model: Any) -> Array | None:
    """What a node makes of known values; None where onnx's own evaluator cannot say."""
    from onnx.reference import ReferenceEvaluator

    given = [helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in node.inputs]
    made = [helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in node.outputs]
    graph = helper.make_graph([node.proto], "one", given, made)
    try:
        single = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
        result = ReferenceEvaluator(single).run(None, {name: values[name] for name in node.inputs})
        return np.asarray(list(result)[0])
    except Exception:  # whatever it lacks stays a node that runs
        return None
