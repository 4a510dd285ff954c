"""ONNX graphs of torch modules, by torch's own exporter, brought into the form of a packed model.

The exporter traces a module for any size; what is ours is the form: weights leave the graph under one prefix,
for the one safetensors file of a packed model or a head, and only small constants stay inside. The default
codec has graphs made by hand (``learn/packing/two_path_graphs.py``), because fusing its paths is faster; any
other system, and every head, comes through here.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

from bifocal.errors import ModelError
from bifocal.learn.nets.codec import Codec
from bifocal.runtime.windows import padded_size
from bifocal.stream.limits import TILE_UNIT

OPSET = 18
#: Constants of fewer numbers stay in the graph.
INLINE = 32
#: Side in pixels of what the reach of a network is measured on.
REACH_SIDE = 1024
Arrays = dict[str, NDArray[Any]]
#: Graphs without weights by the names of their files, each with the weights that it asks for.
Graphs = dict[str, tuple[bytes, Arrays]]


class Part(nn.Module):
    """One method of a codec as a module, such as ``analyse`` or ``synthesise``."""

    def __init__(self, codec: Codec, method: str) -> None:
        super().__init__()
        self.codec, self.method = codec, method

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = getattr(self.codec, self.method)(x)
        return result


def module_graph(
    module: nn.Module,
    name: str,
    inputs: Mapping[str, Tensor],
    dims: Mapping[str, Mapping[int, Any]],
    outputs: tuple[str, ...],
) -> tuple[bytes, Arrays]:
    """The graph of ``module`` without weights, and its weights by the names that the graph asks for.

    ``inputs`` are examples, in the order of ``forward``; ``dims`` give each input's dynamic axes as
    ``torch.export.Dim`` or multiples of one. Weights are called ``name.…``.

    :raises ModelError: if torch cannot trace the module for all sizes.
    """
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                dynamo=True,
                dynamic_shapes=tuple(dict(dims.get(key, {})) or None for key in inputs),
                input_names=list(inputs),
                output_names=list(outputs),
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # the exporter's own errors have no class in common
        lines = str(error).strip().splitlines()
        raise ModelError(
            f"{name} cannot become an ONNX graph ({lines[0] if lines else type(error).__name__}). Write its "
            "forward with tensor operations only, for any height and width that are multiples of 64 pixels."
        ) from error
    assert program is not None
    return _without_weights(program.model_proto, name)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The exporter talks to everybody about operators of libraries that are not installed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _without_weights(model: onnx.ModelProto, name: str) -> tuple[bytes, Arrays]:
    """Take large float initialisers out of ``model``, under ``name.…``; drop what describes the tracing."""
    weights: Arrays = {}
    renamed: dict[str, str] = {}
    for tensor in model.graph.initializer:
        count = int(np.prod(tensor.dims))
        if tensor.data_type != TensorProto.FLOAT or count < INLINE:
            continue
        own = tensor.name.removeprefix("codec.").removeprefix(f"{name}.")
        renamed[tensor.name] = f"{name}.{own}"
        weights[f"{name}.{own}"] = numpy_helper.to_array(tensor).copy()
        dims = list(tensor.dims)
        tensor.Clear()
        tensor.name, tensor.data_type = f"{name}.{own}", TensorProto.FLOAT
        tensor.dims.extend(dims)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="weights.safetensors")
    for node in model.graph.node:
        for i, given in enumerate(node.input):
            node.input[i] = renamed.get(given, given)
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.value_info[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    model.graph.name, model.ir_version = name, 9
    return bytes(model.SerializeToString()), weights


def codec_graphs(codec: Codec) -> Graphs:
    """``analysis``, ``synthesis`` and, where it has them, ``half`` and ``thumb`` of any codec."""
    stride = codec.plan.y_stride
    h, w = (torch.export.Dim(side, min=1, max=64) for side in "hw")
    sides = (2 * TILE_UNIT, 3 * TILE_UNIT)
    pixels = {"pixels": torch.rand(1, 3, *sides) * 255}
    in_pixels = {"pixels": {2: TILE_UNIT * h, 3: TILE_UNIT * w}}
    made = {"analysis": module_graph(Part(codec, "analyse"), "analysis", pixels, in_pixels, ("y",))}
    unit = TILE_UNIT // stride
    in_positions = {"y": {2: unit * h, 3: unit * w}}
    for name, method, channels in synthesis_networks(codec):
        y = {"y": torch.randn(1, channels, *(side // stride for side in sides))}
        made[name] = module_graph(Part(codec, method), name, y, in_positions, ("pixels",))
    return made


def synthesis_networks(codec: Codec) -> list[tuple[str, str, int]]:
    """The networks from y to pixels that a codec has: name, method, and how many channels of y it reads."""
    plan, extras = codec.plan, codec.packing_extras()
    small = {"half": plan.y_channels, "thumb": plan.groups[0].stop}
    found = [("synthesis", "synthesise", plan.y_channels)]
    return found + [(name, f"synthesise_{name}", small[name]) for name in small if name in extras]


def reach(codec: Codec) -> dict[str, int]:
    """How many pixels beyond a position each float network looks: what a window computes beyond its core.

    Measured, by the gradient of one unit of 64×64 pixels in the middle of a random picture, and of its
    latents: units behind ReLUs that happen to be off are reached by others.

    :raises ModelError: if a network sees further than windows can allow for.
    """
    stride = codec.plan.y_stride
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(1, 3, REACH_SIDE, REACH_SIDE, generator=generator) * 255
    found = {"analysis": _reach("analysis", codec.analyse, pixels, 1)}
    for name, method, channels in synthesis_networks(codec):
        side = REACH_SIDE // stride
        y = torch.randn(1, channels, side, side, generator=generator) * 8
        found[name] = _reach(name, getattr(codec, method), y, stride)
    return found


def _reach(name: str, network: Callable[[Tensor], Tensor], x: Tensor, given: int) -> int:
    """How many pixels beyond a unit of its output a network looks; ``given`` pixels a position of ``x``."""
    y = network(x.requires_grad_())
    made = REACH_SIDE // y.shape[-1]
    middle = REACH_SIDE // 2
    unit = slice(middle // made, (middle + TILE_UNIT) // made)
    y[:, :, unit, unit].square().sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().amax((0, 1))
    rows, columns = seen.amax(1).nonzero()[:, 0], seen.amax(0).nonzero()[:, 0]
    first = int(min(rows[0], columns[0])) * given
    last = (int(max(rows[-1], columns[-1])) + 1) * given
    if first == 0 or last == REACH_SIDE:
        raise ModelError(
            f"{name} sees {middle} pixels and more beyond a position, too far for windows. Give it smaller "
            "kernels or fewer layers at low resolutions."
        )
    # windows begin at whole units: a network with strides or blocks sees the same grid in each
    return padded_size(max(middle - first, last - middle - TILE_UNIT, 0), TILE_UNIT)
