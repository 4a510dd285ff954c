"""Exact networks in 8-bit products on ONNX Runtime: models of wire id 2, several times faster than float32.

Wire id 2 keeps weights within ±63 and hidden activations within 0..255, so that products of bytes can run
these networks: two of them never leave 16 bits (2·255·63), and no processor saturates. Sums are int32. The
engine computes less, too. A predictor reads the channels that some group before it has decoded, and its last
layer is computed at the positions that its group has symbols at, phase by phase.

Contexts, up to ±1023, do not fit a byte: ``x = 256·high + low - 128`` with ``high = (x + 128) >> 8``, each
a byte, and a layer is the sum of two products.

What comes between the products is float32, and exact. With shift s, sum a and bias b, a hidden value is
``floor((a + b) / 2^s)``, clipped to 0..255. The nearest integer to ``a·2^-s + (2b - 2^s + 1) / 2^(s+1)`` is
the same number: what is rounded lies less than a half from it. :func:`check_bytes` proves that both terms
and, where it matters, their sum are float32 numbers. Beyond ±1024 a sum may be rounded, but never back below
the clip. The graphs are those of the packed model (:func:`bifocal.learn.packing.exact_graphs.byte_graph`).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import ModelError
from bifocal.runtime.engines.onnxruntime import OnnxEngine, open_session
from bifocal.stream.exact import EXACT_LIMIT, ExactEngine, ExactLayer, ExactNet, bands
from bifocal.stream.plan import Group, phase_channels, phase_views, place, seen_channels

if TYPE_CHECKING:
    import onnxruntime

    from bifocal.stream.entropy_model import EntropyModel

#: Positions of the input map that run at once. A 768×512 picture is one band.
BAND = 4096
#: What a byte holds of a signed number: the number and this.
ZERO = 128
#: Shifts up to here leave float32 room for all of v within ±1024.
LARGEST_SHIFT = 13
#: Weights, and what hidden layers give, fit signed and unsigned bytes with two products in 16 bits.
WEIGHT_MAX, BYTE_MAX = 63, 255


def exact_engine(model: EntropyModel, folder: Path, *, threads: int | None = None) -> ExactEngine:
    """The fastest engine for the exact networks of the packed model in ``folder``."""
    packed = all((folder / byte_file(net.name)).exists() for net in (model.hyper, *model.predictors))
    if packed and runs_in_bytes(model):
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
    largest = model.hyper.layers[-1].output_max
    for net in (model.hyper, *model.predictors):
        for number, layer in enumerate(net.layers):
            hidden = net is model.hyper or number + 1 < len(net.layers)
            _check_layer(f"{net.name} layer {number}", layer, hidden, need)
    for group, net in zip(model.plan.groups, model.predictors, strict=True):
        need(phase_channels(group) is not None, f"{group} has unequal phases")
        limit, features = net.input_max, model.hyper.outputs
        need(bool((limit[:features] >= largest).all()), f"{net.name} clips its features")
        need(bool((limit[features:] >= model.plan.context_max).all()), f"{net.name} clips its contexts")
        need(model.plan.context_max < 256 * (ZERO - 1), "its contexts do not fit two bytes")
        need(not any(layer.shuffle for layer in net.layers), f"{net.name} changes its size")
        _check_split(net, features, need)


def _check_layer(name: str, layer: ExactLayer, hidden: bool, need: Any) -> None:
    need(
        int(np.abs(layer.weight.astype(int)).max()) <= WEIGHT_MAX, f"{name} has weights beyond ±{WEIGHT_MAX}"
    )
    need(not hidden or (layer.relu and layer.hi <= BYTE_MAX), f"{name} gives more than a byte")
    rounded = slice(None) if hidden else slice(len(layer.weight) // 2, None)  # means keep their floor
    shift, bias = layer.shift[rounded], layer.bias[:, rounded]
    need(bool((shift <= LARGEST_SHIFT).all()), f"{name} shifts by more than {LARGEST_SHIFT}")
    need(_is_float32(_middle(bias, shift)), f"{name} has a bias that float32 does not hold")


def _check_split(net: ExactNet, features: int, need: Any) -> None:
    """A predictor's first layer adds two products: the first must be exact by itself, with the bias."""
    layer = net.layers[0]
    for seen in {0, net.inputs - features}:
        bias = _first_bias(layer.weight, layer.bias, features, seen)
        need(_is_float32(_middle(bias, layer.shift)), f"{net.name} has a bias that float32 does not hold")
        total = np.abs(layer.weight.astype(np.int64)).sum(axis=(1, 2, 3)) * BYTE_MAX
        total += np.abs(bias.astype(np.int64)).max(axis=0)
        need(
            bool((2 * total + (1 << layer.shift.astype(np.int64)) <= EXACT_LIMIT).all()),
            f"{net.name} adds up to too much",
        )


def _is_float32(values: NDArray[np.float64]) -> bool:
    return bool((values.astype(np.float32) == values).all())


def _middle(bias: NDArray[np.int32], shift: NDArray[np.int32]) -> NDArray[np.float64]:
    """A bias such that the nearest integer to the scaled sum is the floor of what it was (float64: exact)."""
    odd = 2 * bias.astype(np.int64) - (1 << shift.astype(np.int64)) + 1
    return np.ldexp(odd.astype(np.float64), -shift - 1)


def _first_bias(
    weight: NDArray[np.int8], bias: NDArray[np.int32], features: int, seen: int
) -> NDArray[np.int32]:
    """The bias of a predictor's first layer, which sees its contexts ``ZERO`` too large."""
    extra = weight[:, features : features + seen].astype(np.int32).sum(axis=(1, 2, 3)) * ZERO
    return np.asarray(bias - extra, np.int32)


def byte_file(net: str) -> str:
    """The file of an exact network's graph of 8-bit products in a packed model.

    >>> byte_file("predict.0")
    'exact-predict.0-int8.onnx'
    """
    return f"exact-{net}-int8.onnx"


class ByteNet:
    """The numbers of an exact network as its graph of 8-bit products takes them.

    Maps are channels last. A predictor is given its ``group``, how many of its inputs are ``features``, and
    how many contexts, from the first, any group before has ``seen``.
    """

    def __init__(self, net: ExactNet, features: int = 0, seen: int = 0, group: Group | None = None) -> None:
        self.net, self.features, self.seen, self.group = net, features, seen, group
        self._biases: dict[int, dict[str, NDArray[np.float32]]] = {}

    @property
    def weights(self) -> dict[str, NDArray[Any]]:
        """The external initialisers of the graph.

        For layer L ``exact.NET.L.bytes``, int8 ``[k·k·i, o]`` in the order that the graph unfolds in, and
        ``exact.NET.L.scale``, 2^-shift ``[o]``. Rows of layers that shuffle are in the order (row, column,
        channel). A predictor's first layer has ``high`` and ``high_scale``, too, for the upper bytes of its
        contexts, if it has any. Its last has ``mean.bytes``, ``mean.scale``, ``index.bytes`` and
        ``index.scale`` instead, for the channels of each phase: ``[4, k·k·i, m]`` and ``[4, 1, m]``.
        """
        made: dict[str, NDArray[Any]] = {}
        for number, layer in enumerate(self.net.layers):
            name = f"exact.{self.net.name}.{number}"
            weight = layer.weight
            if number == 0 and self.group:
                weight = weight[:, : self.features + self.seen]
            matrix = weight.transpose(2, 3, 1, 0).reshape(-1, len(weight))
            scale = np.ldexp(1.0, -layer.shift).astype(np.float32)
            for part, columns in self._columns(number):
                made[f"{name}{part}.bytes"] = np.ascontiguousarray(np.moveaxis(matrix[:, columns], 0, -2))
                made[f"{name}{part}.scale"] = scale[columns] if columns.ndim == 1 else scale[columns][:, None]
            if number == 0 and self.seen:
                upper = weight[:, self.features :].transpose(2, 3, 1, 0).reshape(-1, len(weight))
                made[f"{name}.high"] = np.ascontiguousarray(upper)
                made[f"{name}.high_scale"] = scale * np.float32(256)
        return made

    def biases(self, quality: int) -> dict[str, NDArray[np.float32]]:
        """What the graph takes as ``bias.L``, or ``bias.L.mean`` and ``bias.L.index``, at a quality.

        Made once for each quality.
        """
        if quality not in self._biases:
            self._biases[quality] = self._biases_at(quality)
        return self._biases[quality]

    def _biases_at(self, quality: int) -> dict[str, NDArray[np.float32]]:
        made: dict[str, NDArray[np.float32]] = {}
        for number, layer in enumerate(self.net.layers):
            bias = layer.bias_row(quality)
            if number == 0 and self.group:
                bias = _first_bias(layer.weight, bias, self.features, self.seen)
            for part, columns in self._columns(number):
                kept = bias[columns], layer.shift[columns]
                value = np.ldexp(kept[0].astype(np.float64), -kept[1]) if part == ".mean" else _middle(*kept)
                made[f"bias.{number}{part}"] = (value if value.ndim == 1 else value[:, None]).astype(
                    np.float32
                )
        return made

    def _columns(self, number: int) -> list[tuple[str, NDArray[np.intp]]]:
        """The rows of a layer that each of its products computes: ``[o]``, or ``[4, m]`` by phase."""
        layer = self.net.layers[number]
        rows = np.arange(len(layer.weight))
        if self.group and number + 1 == len(self.net.layers):
            channels, firsts = self.group.channels, phase_channels(self.group)
            assert firsts is not None
            means = np.stack([rows[first : channels : self.group.steps] for first in firsts])
            return [(".mean", means), (".index", means + channels)]
        return [("", rows.reshape(-1, 4).T.reshape(-1) if layer.shuffle else rows)]


class Int8Engine:
    """Runs exact networks in 8-bit products; sessions are made on first use.

    It codes tiles through contexts of its own, which is what ``layers_run`` counts. A whole map, which no
    coding of a stream asks for, comes from float32 products: see :class:`OnnxEngine`.
    """

    name = "onnxruntime-int8"

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        self.layers_run: Counter[str] = Counter()
        self._folder, self._threads = folder, threads
        self._whole = OnnxEngine(folder, threads=threads)
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        self._nets: dict[str, ByteNet] = {}

    def net(self, net: ExactNet, features: int = 0, seen: int = 0, group: Group | None = None) -> ByteNet:
        """The :class:`ByteNet` of an exact network, always the same one."""
        if net.name not in self._nets:
            self._nets[net.name] = ByteNet(net, features, seen, group)
        return self._nets[net.name]

    def __call__(self, net: ExactNet, x: NDArray[np.int32], quality: int) -> NDArray[np.int32]:
        return self._whole(net, x, quality)

    def contexts(self, model: EntropyModel, z: NDArray[np.int32], quality: int) -> ByteContexts:
        """See :class:`bifocal.stream.contexts.ContextEngine`."""
        return ByteContexts(model, self, z, quality)

    def run(self, net: ByteNet, outputs: list[str], feeds: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The named outputs of the graph of ``net``."""
        session = self._sessions.get(net.net.name)
        if session is None:
            session = self._sessions[net.net.name] = self._open(net, set(feeds))
        made: list[NDArray[Any]] = session.run(outputs, feeds)
        return made

    def count(self, net: ExactNet) -> None:
        """Note that every layer of ``net`` has run on a tile."""
        for number in range(len(net.layers)):
            self.layers_run[f"{net.name}.{number}"] += 1

    def _open(self, net: ByteNet, inputs: set[str]) -> onnxruntime.InferenceSession:
        path = self._folder / byte_file(net.net.name)
        session = open_session(path, net.weights, threads=self._threads)
        if {i.name for i in session.get_inputs()} != inputs:
            raise ModelError(f"{path} is not the graph of {net.net.name}. Pack the model again.")
        return session


class ByteContexts:
    """What the predictors of a tile see, as bytes, channels last: features and lower bytes, and upper bytes.

    See :class:`bifocal.stream.contexts.Contexts`.
    """

    def __init__(self, model: EntropyModel, engine: Int8Engine, z: NDArray[np.int32], quality: int) -> None:
        self._model, self._engine, self._quality = model, engine, quality
        features = self._hyper(z)
        self.size = features.shape[0], features.shape[1]
        self._features = features.shape[2]
        contexts = model.plan.y_channels
        self._low = np.full((*self.size, self._features + contexts), ZERO, np.uint8)
        self._low[:, :, : self._features] = features
        self._high: NDArray[np.uint8] | None = None  # until a context needs it

    def _hyper(self, z: NDArray[np.int32]) -> NDArray[np.uint8]:
        net = self._model.hyper
        limit = net.input_max[:, None, None]
        x = (np.clip(z, -limit, limit) + ZERO).astype(np.uint8).transpose(1, 2, 0)
        made = self._engine.net(net)
        feeds = made.biases(self._quality)
        h, w, _ = x.shape
        out = np.empty((h * net.scale, w * net.scale, net.outputs), np.uint8)
        for needed, given, inner in bands(net, h, w, BAND // net.scale**2):
            (part,) = self._engine.run(made, ["y"], {"x": np.ascontiguousarray(x[needed]), **feeds})
            out[given] = part[inner]
        self._engine.count(net)
        return out

    def predict(self, k: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """Means, in fixed point, and table indexes of group ``k``, ``[n]`` each."""
        plan, net = self._model.plan, self._model.predictors[k]
        group, seen = plan.groups[k], seen_channels(plan, k)
        made = self._engine.net(net, self._features, seen, group)
        feeds: dict[str, NDArray[Any]] = {**made.biases(self._quality)}
        h, w = self.size
        count = group.channels * h * w // group.steps
        mu, index = np.empty(count, np.int32), np.empty(count, np.uint8)
        views = [phase_views(values, group, h, w) for values in (mu, index)]
        for needed, given, inner in bands(net, h, w, BAND, unit=2):
            feeds["x"] = np.ascontiguousarray(self._low[needed, :, : self._features + seen])
            if seen:
                # where no context needs an upper byte, one position stands for all
                high = np.full((1, 1, seen), ZERO, np.uint8) if self._high is None else self._high[needed]
                feeds["high"] = np.ascontiguousarray(high[:, :, :seen])
            parts = self._engine.run(made, ["mean", "index"], feeds)  # [4, m, n] each
            rows, inside = _half(given), _half(inner)
            for into, part in zip(views, parts, strict=True):
                for phase in range(4):
                    found = part[phase].reshape(part.shape[1], -1, w // 2)
                    into[phase][:, rows] = found[:, inside]
        self._engine.count(net)
        return mu, np.minimum(index, np.uint8(self._model.tables.count - 1), out=index)

    def put(self, k: int, values: NDArray[np.int32]) -> None:
        """Let later groups see the contexts of group ``k``, int32 ``[n]``."""
        group = self._model.plan.groups[k]
        values = values + ZERO
        parts = [(self._low, self._features, values)]
        if self._high is not None or (values.size and not 0 <= values.min() <= values.max() <= BYTE_MAX):
            if self._high is None:
                self._high = np.full((*self.size, self._model.plan.y_channels), ZERO, np.uint8)
            parts.append((self._high, 0, (values >> 8) + ZERO))
        for into, first, part in parts:
            channels = into[:, :, first + group.start : first + group.stop]
            place(part.astype(np.uint8), channels.transpose(2, 0, 1), group)


def _half(rows: slice) -> slice:
    return slice(rows.start // 2, rows.stop // 2)
