"""Exact networks in 8-bit products on ONNX Runtime: models of wire id 2, several times faster than float32.

Wire id 2 keeps weights within ±63 and hidden activations within 0..255, so that products of bytes can run
these networks: two of them never leave 16 bits (2·255·63), and no processor saturates. Sums are int32. The
engine computes less, too. A predictor reads the channels that some group before it has decoded, and its last
layer is computed at the positions that its group has symbols at, phase by phase.

The graphs are written when a model is loaded (:mod:`bifocal.runtime.engines.byte_graphs`, which also says why
they are exact). :func:`check_bytes` proves for a model what they rely on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import ModelError
from bifocal.runtime.engines.byte_graphs import (
    BYTE_MAX,
    ZERO,
    ByteGraph,
    hyper_graph,
    predictor_graph,
)
from bifocal.runtime.engines.onnxruntime import OnnxEngine, open_graph
from bifocal.stream.exact import ExactEngine, ExactLayer, ExactNet, bands
from bifocal.stream.plan import phase_channels, phase_views, place, seen_channels, symbol_positions

if TYPE_CHECKING:
    import onnxruntime

    from bifocal.stream.entropy_model import EntropyModel

#: Positions of the input map that run at once. A 768×512 picture is one band.
BAND = 4096
#: Shifts up to here leave float32 room between ties and what is next to them.
LARGEST_SHIFT = 13
#: Weights fit signed bytes with two products in 16 bits.
WEIGHT_MAX = 63
#: Contexts take at most so many bytes beside the one that every context has.
MORE_BYTES = 4


def exact_engine(model: EntropyModel, folder: Path, *, threads: int | None = None) -> ExactEngine:
    """The fastest engine for the exact networks of the packed model in ``folder``."""
    if runs_in_bytes(model):
        return Int8Engine(folder, threads=threads)
    return OnnxEngine(folder, threads=threads)


def runs_in_bytes(model: EntropyModel) -> bool:
    """Whether :func:`check_bytes` proves that 8-bit products run the networks of ``model`` exactly."""
    try:
        check_bytes(model)
    except ModelError:
        return False
    return True


def check_bytes(model: EntropyModel) -> None:
    """Prove that :class:`Int8Engine` runs all networks of ``model`` exactly.

    :raises ModelError: if it would not, or if they are not of a kind that it runs.
    """

    def need(true: bool, what: str) -> None:
        if not true:
            raise ModelError(f"model {model.name} cannot run in 8-bit products: {what}.")

    need(model.wire_id == 2, "only wire id 2 keeps its networks within bytes")
    need(bool((model.hyper.input_max < ZERO).all()), "its hyper network takes more than a signed byte")
    most = model.plan.context_max
    need(most < ZERO + MORE_BYTES * BYTE_MAX, f"its contexts do not fit {MORE_BYTES + 1} bytes")
    largest = model.hyper.layers[-1].output_max
    for net in (model.hyper, *model.predictors):
        for number, layer in enumerate(net.layers):
            hidden = net is model.hyper or number + 1 < len(net.layers)
            _check_layer(f"{net.name} layer {number}", layer, hidden, need)
    for group, net in zip(model.plan.groups, model.predictors, strict=True):
        need(phase_channels(group) is not None, f"{group} has unequal phases")
        limit, features = net.input_max, model.hyper.outputs
        need(bool((limit[:features] >= largest).all()), f"{net.name} clips its features")
        need(bool((limit[features:] >= most).all()), f"{net.name} clips its contexts")
        need(not any(layer.shuffle for layer in net.layers), f"{net.name} changes its size")
        ends = net.layers[0].kernel, net.layers[-1].kernel
        need(len(net.layers) > 1 and ends == (1, 1), f"{net.name} does not begin and end with 1×1 layers")


def _check_layer(name: str, layer: ExactLayer, hidden: bool, need: Callable[[bool, str], None]) -> None:
    """Sums up to 2^24 are proved for every network (:func:`bifocal.stream.exact.check_bound`)."""
    weight = int(np.abs(layer.weight.astype(int)).max())
    need(weight <= WEIGHT_MAX, f"{name} has weights beyond ±{WEIGHT_MAX}")
    need(not hidden or (layer.relu and layer.hi <= BYTE_MAX), f"{name} gives more than a byte")
    rounded = layer.shift if hidden else layer.shift[len(layer.shift) // 2 :]  # means are rounded down
    need(bool((rounded <= LARGEST_SHIFT).all()), f"{name} shifts by more than {LARGEST_SHIFT}")


class Int8Engine:
    """Runs exact networks in 8-bit products; sessions are made on first use.

    It codes tiles through contexts of its own, which is what ``layers_run`` counts. A whole map, which no
    coding of a stream asks for, comes from float32 products: see :class:`OnnxEngine`.
    """

    name = "onnxruntime-int8"

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        self.layers_run: Counter[str] = Counter()
        self._threads = threads
        self._whole = OnnxEngine(folder, threads=threads)
        self._opened: dict[str, tuple[ByteGraph, onnxruntime.InferenceSession]] = {}

    def __call__(self, net: ExactNet, x: NDArray[np.int32], quality: int) -> NDArray[np.int32]:
        return self._whole(net, x, quality)

    def contexts(self, model: EntropyModel, z: NDArray[np.int32], quality: int) -> ByteContexts:
        """See :class:`bifocal.stream.drivers.ContextEngine`."""
        return ByteContexts(model, self, z, quality)

    def opened(
        self, net: ExactNet, graph: Callable[[], ByteGraph]
    ) -> tuple[ByteGraph, onnxruntime.InferenceSession]:
        """The graph of an exact network and its session, made once."""
        if net.name not in self._opened:
            made = graph()
            self._opened[net.name] = made, open_graph(made.data, net.name, threads=self._threads)
        return self._opened[net.name]

    def count(self, net: ExactNet) -> None:
        """Note that every layer of ``net`` has run on a tile."""
        for number in range(len(net.layers)):
            self.layers_run[f"{net.name}.{number}"] += 1


class _CutOff:
    """What bytes leave of the contexts of a group: ``maps`` uint8 ``[h, w, n]``, and for each of these
    channels its ``context``, counted from the first, and ``sign`` 1 or -1."""

    def __init__(
        self,
        rest: NDArray[np.int32],
        context: NDArray[np.intp],
        where: NDArray[np.intp],
        size: tuple[int, int],
    ) -> None:
        amount = np.abs(rest)
        kinds, kind = np.unique(2 * context + (rest > 0), return_inverse=True)
        most = np.zeros(len(kinds), np.int32)
        np.maximum.at(most, kind, amount)
        bytes_ = -(-most // BYTE_MAX)
        first = np.cumsum(bytes_) - bytes_
        maps = np.zeros((size[0] * size[1], int(bytes_.sum())), np.uint8)
        for number in range(int(bytes_.max())):
            left = amount - number * BYTE_MAX
            some = left > 0
            maps[where[some], first[kind[some]] + number] = np.minimum(left[some], BYTE_MAX)
        self.maps = maps.reshape(*size, -1)
        self.context = np.repeat(kinds >> 1, bytes_)
        self.sign = np.repeat(2 * (kinds & 1) - 1, bytes_).astype(np.int8)


class ByteContexts:
    """What the predictors of a tile see, as bytes, channels last: features, contexts, and what was cut off.

    See :class:`bifocal.stream.drivers.Contexts`.
    """

    def __init__(self, model: EntropyModel, engine: Int8Engine, z: NDArray[np.int32], quality: int) -> None:
        self._model, self._engine, self._quality = model, engine, quality
        _, rows, columns = z.shape
        scale, self._features = model.hyper.scale, model.hyper.outputs
        self.size = rows * scale, columns * scale
        self._maps = np.full((*self.size, self._features + model.plan.y_channels), ZERO, np.uint8)
        self._cut_off: list[_CutOff] = []
        self._hyper(z)

    def _hyper(self, z: NDArray[np.int32]) -> None:
        net = self._model.hyper
        limit = net.input_max[:, None, None]
        x = (np.clip(z, -limit, limit) + ZERO).astype(np.uint8).transpose(1, 2, 0)
        graph, session = self._engine.opened(net, lambda: hyper_graph(net))
        feeds = graph.feeds(self._quality)
        for needed, given, inner in bands(net, len(x), x.shape[1], BAND // net.scale**2):
            (part,) = session.run(["y"], {"x": np.ascontiguousarray(x[None, needed]), **feeds})
            self._maps[given, :, : self._features] = part[0, inner]
        self._engine.count(net)

    def predict(self, k: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """Means, in fixed point, and table indexes of group ``k``, ``[n]`` each."""
        plan, net = self._model.plan, self._model.predictors[k]
        group, seen = plan.groups[k], seen_channels(plan, k)
        graph, session = self._engine.opened(net, lambda: predictor_graph(net, self._features, seen, group))
        feeds = graph.feeds(self._quality)
        columns = [graph.weight]
        columns += [graph.weight[:, self._features + part.context] * part.sign for part in self._cut_off]
        feeds["weight"] = np.concatenate(columns, axis=1)[:, :, None, None]
        h, w = self.size
        count = group.channels * h * w // group.steps
        mean, index = np.empty(count, np.int16), np.empty(count, np.uint8)
        views = [phase_views(values, group, h, w) for values in (mean, index)]
        for needed, given, inner in bands(net, h, w, BAND, unit=2):
            maps = [self._maps[needed, :, : self._features + seen]]
            maps += [part.maps[needed] for part in self._cut_off]
            feeds["x"] = np.concatenate(maps, axis=2)[None]
            rows, inside = _half(given), _half(inner)
            for into, part in zip(views, session.run(["mean", "index"], feeds), strict=True):
                for view, found in zip(into, part, strict=True):
                    view[:, rows] = found[:, inside]
        self._engine.count(net)
        mu = mean.astype(np.int32)  # after the strided copies, which are slower between types
        return mu, np.minimum(index, np.uint8(self._model.tables.count - 1), out=index)

    def put(self, k: int, values: NDArray[np.int32]) -> None:
        """Let later groups see the contexts of group ``k``, int32 ``[n]``."""
        group = self._model.plan.groups[k]
        values = values + np.int32(ZERO)
        outside = np.flatnonzero(values.view(np.uint32) > BYTE_MAX)
        if outside.size:
            channel, where = symbol_positions(outside, group, *self.size)
            cut = values[outside]
            values[outside] = np.clip(cut, 0, BYTE_MAX)
            self._cut_off.append(_CutOff(cut - values[outside], channel + group.start, where, self.size))
        first = self._features + group.start
        channels = self._maps[:, :, first : first + group.channels]
        place(values.astype(np.uint8), channels.transpose(2, 0, 1), group)


def _half(rows: slice) -> slice:
    return slice(rows.start // 2, rows.stop // 2)
