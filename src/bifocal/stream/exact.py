"""Exact networks: the small integer networks whose outputs the entropy decoder needs.

A layer holds int8 weights, an integer bias, a right shift for every row and a saturating clip. It runs in
ordinary float32 as a plain matrix product and is exact there, in any order of summation, because packing
and loading prove for every output row that ``sum |w|·max|x| + |bias| <= 2^24``. The maximum is the clip
before the row, which every engine applies at run time, never an observed value. int64 is the reference.

    acc = sum w·x + bias[quality]               3×3 kernels see zeros beyond the edge; the bias holds the
    out = clip(floor(acc / 2^shift), lo, hi)    rounding half; with relu, negatives become 0 before the clip
    shuffle: out[c, 2i+a, 2j+b] = out[4c+2a+b, i, j]

Integer arithmetic for reproducible probabilities is Ballé et al., "Integer networks for data compression with
latent-variable models" (ICLR 2019); power-of-two rescaling, int8 rows and the per-row proof are our choices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import BoundError, ModelError

#: Every integer up to here, and every sum of them below it, is exact in float32.
EXACT_LIMIT = 1 << 24
#: Columns of the matrix product done at once: bounds memory, and keeps the unfolded block near the cache.
STRIP = 4096

Kind = Literal["float32", "float64", "int64"]


@dataclass(frozen=True, eq=False)
class ExactLayer:
    """``weight`` int8 ``[o, i, k, k]``, ``bias`` int32 ``[1 or 100, o]``, ``shift`` int32 ``[o]``; a clip."""

    weight: NDArray[np.int8]
    bias: NDArray[np.int32]
    shift: NDArray[np.int32]
    relu: bool
    lo: int
    hi: int
    shuffle: bool = False

    @property
    def kernel(self) -> int:
        return int(self.weight.shape[2])

    @property
    def inputs(self) -> int:
        return int(self.weight.shape[1])

    @property
    def outputs(self) -> int:
        """Channels that the next layer sees."""
        return int(self.weight.shape[0]) // (4 if self.shuffle else 1)

    @property
    def output_max(self) -> int:
        """The largest magnitude that the clip lets through."""
        lo = max(self.lo, 0) if self.relu else self.lo
        return max(abs(lo), abs(self.hi))

    @cached_property
    def weight_float32(self) -> NDArray[np.float32]:
        """``[o, i·k·k]``, converted once: layers outlive pictures."""
        return np.ascontiguousarray(self.weight.reshape(len(self.weight), -1), dtype=np.float32)

    def bias_row(self, quality: int) -> NDArray[np.int32]:
        row: NDArray[np.int32] = self.bias[quality - 1 if len(self.bias) > 1 else 0]
        return row


@dataclass(frozen=True, eq=False)
class ExactNet:
    """Layers in order, and the clip ``±input_max[c]`` of every input channel (int32 ``[i]``)."""

    name: str
    input_max: NDArray[np.int32]
    layers: tuple[ExactLayer, ...]

    @property
    def inputs(self) -> int:
        return len(self.input_max)

    @property
    def outputs(self) -> int:
        return self.layers[-1].outputs

    @property
    def scale(self) -> int:
        """How many times larger the output map is than the input map, along each side."""
        return int(2 ** sum(layer.shuffle for layer in self.layers))


def check_bound(net: ExactNet) -> int:
    """Prove that float32 runs ``net`` exactly; return the largest sum that any row can reach.

    Raises :class:`BoundError` at the first row whose ``sum |w|·max|x| + |bias|`` exceeds 2^24.
    """
    largest = 0
    maximum = net.input_max.astype(np.int64)
    for number, layer in enumerate(net.layers):
        rows = np.abs(layer.weight.astype(np.int64)).sum(axis=(2, 3)) @ maximum
        rows = rows + np.abs(layer.bias.astype(np.int64)).max(axis=0)
        worst = int(rows.argmax())
        if rows[worst] > EXACT_LIMIT:
            raise BoundError(net.name, number, worst, int(rows[worst]))
        largest = max(largest, int(rows[worst]))
        maximum = np.full(layer.outputs, layer.output_max, dtype=np.int64)
    return largest


def bands(
    net: ExactNet, h: int, w: int, positions: int, unit: int = 1
) -> Iterator[tuple[slice, slice, slice]]:
    """Cut an input map of ``h`` rows so that a network may run on one band of rows after the other.

    Yields the rows that a band needs, the rows of the whole output that it gives, and where they lie in its
    own output. A band has about that many ``positions``, and at least one row. It sees one row more on each
    side for every 3×3 layer, which is as far as those reach, so its output is that of the whole map: exactly,
    since these are integers. Bands, and what they see, begin at multiples of ``unit`` rows.

    >>> net = ExactNet("none", np.array([1], np.int32), ())
    >>> [(given.start, given.stop) for _, given, _ in bands(net, 5, 10, 30)]
    [(0, 3), (3, 5)]
    """
    halo = -(-sum(layer.kernel == 3 for layer in net.layers) // unit) * unit
    for top in range(0, h, height := max(1, positions // (w * unit)) * unit):
        bottom = min(top + height, h)
        first, last = max(top - halo, 0), min(bottom + halo, h)
        inner = slice((top - first) * net.scale, (bottom - first) * net.scale)
        yield slice(first, last), slice(top * net.scale, bottom * net.scale), inner


def net_spec(net: ExactNet) -> dict[str, Any]:
    """The part of a net that goes into ``model.json``; :func:`net_arrays` gives the rest."""
    layers = [
        {"kernel": a.kernel, "relu": a.relu, "lo": a.lo, "hi": a.hi, "shuffle": a.shuffle} for a in net.layers
    ]
    return {"input_max": net.input_max.tolist(), "layers": layers}


def net_arrays(net: ExactNet) -> dict[str, NDArray[Any]]:
    """The arrays of a net as ``weights.safetensors`` names them: ``exact.NET.LAYER.weight`` and so on."""
    arrays: dict[str, NDArray[Any]] = {}
    for number, layer in enumerate(net.layers):
        for part in ("weight", "bias", "shift"):
            arrays[f"exact.{net.name}.{number}.{part}"] = getattr(layer, part)
    return arrays


def read_net(name: str, spec: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> ExactNet:
    """Build and validate a net from its spec and arrays, and prove its bound.

    Raises :class:`ModelError` if a part is missing or misshapen, :class:`BoundError` if a row is too large.
    """
    try:
        input_max = np.array([_integer(v) for v in spec["input_max"]], dtype=np.int32)
        layers = tuple(
            ExactLayer(
                weight=np.asarray(arrays[f"exact.{name}.{i}.weight"]),
                bias=np.asarray(arrays[f"exact.{name}.{i}.bias"]),
                shift=np.asarray(arrays[f"exact.{name}.{i}.shift"]),
                relu=bool(item["relu"]),
                lo=_integer(item["lo"]),
                hi=_integer(item["hi"]),
                shuffle=bool(item.get("shuffle", False)),
            )
            for i, item in enumerate(spec["layers"])
        )
        kernels = [_integer(item["kernel"]) for item in spec["layers"]]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(
            f"exact network {name} of the packed model is incomplete ({error!r}). Pack the model again."
        ) from error
    net = ExactNet(name, input_max, layers)
    _check_shapes(net, kernels)
    check_bound(net)
    return net


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > EXACT_LIMIT:
        raise ValueError(f"{value!r} is not an integer of at most 2^24")
    return value


def _check_shapes(net: ExactNet, kernels: list[int]) -> None:
    def need(true: bool, what: str) -> None:
        if not true:
            raise ModelError(f"exact network {net.name}: {what}. The packed model is damaged; pack it again.")

    need(
        len(net.layers) > 0 and net.input_max.ndim == 1 and len(net.input_max) > 0,
        "it has no layers or inputs",
    )
    need(bool((net.input_max >= 0).all()), "a largest input is negative")
    channels = net.inputs
    for i, (layer, kernel) in enumerate(zip(net.layers, kernels, strict=True)):
        rows = layer.weight.shape[0] if layer.weight.ndim else 0
        need(kernel in (1, 3), f"layer {i} has a {kernel}×{kernel} kernel, not 1×1 or 3×3")
        need(
            layer.weight.shape == (rows, channels, kernel, kernel) and rows > 0,
            f"layer {i} has misshapen weights",
        )
        need(layer.bias.shape in ((1, rows), (100, rows)), f"layer {i} has neither 1 nor 100 rows of biases")
        need(layer.shift.shape == (rows,), f"layer {i} has misshapen shifts")
        types = [array.dtype.name for array in (layer.weight, layer.bias, layer.shift)]
        need(
            types == ["int8", "int32", "int32"],
            f"layer {i} is not int8 weights with int32 biases and shifts",
        )
        need(
            bool(((layer.shift >= 0) & (layer.shift <= 24)).all()),
            f"layer {i} shifts by less than 0 or more than 24",
        )
        need(layer.lo <= layer.hi and (layer.hi >= 0 or not layer.relu), f"layer {i} clips to nothing")
        need(not layer.shuffle or rows % 4 == 0, f"layer {i} shuffles {rows} rows, which 4 does not divide")
        channels = layer.outputs


class ExactEngine(Protocol):
    """Runs exact networks. Whoever runs one also says so: ``layers_run["predict.0.1"]`` counts executions of
    layer 1 of ``predict.0`` by the engine called ``name``, so a test can assert what executed."""

    name: str
    layers_run: Counter[str]

    def __call__(self, net: ExactNet, x: NDArray[np.int32], quality: int) -> NDArray[np.int32]:
        """Return int32 ``[o, h·scale, w·scale]`` for int32 ``x`` ``[i, h, w]`` and quality 1 to 100."""


class NumpyEngine:
    """Exact networks in NumPy: ``float32`` (fast), ``float64`` (the fallback) or ``int64`` (the reference).

    ``shuffle_seed`` permutes the order of every sum: the output may not change, and tests say so.

    >>> weight, bias = np.full((1, 1, 1, 1), 3, np.int8), np.array([[4]], np.int32)
    >>> layer = ExactLayer(weight, bias, np.array([3], np.int32), relu=False, lo=-8, hi=7)
    >>> net = ExactNet("thirds", np.array([100], np.int32), (layer,))
    >>> NumpyEngine("int64")(net, np.array([[[-5, 0, 5, 900]]], np.int32), 1)
    array([[[-2,  0,  2,  7]]], dtype=int32)
    """

    def __init__(self, kind: Kind = "float32", *, shuffle_seed: int | None = None) -> None:
        self.name = f"numpy-{kind}"
        self.layers_run: Counter[str] = Counter()
        self._dtype = np.dtype(kind)
        self._seed = shuffle_seed

    def __call__(self, net: ExactNet, x: NDArray[np.int32], quality: int) -> NDArray[np.int32]:
        if x.ndim != 3 or len(x) != net.inputs or not 1 <= quality <= 100:
            raise ModelError(
                f"{net.name} takes [{net.inputs}, h, w] at a quality 1 to 100, not {list(x.shape)}."
            )
        # Beyond 2^24 a float32 may round, but never back below a clip: converting before the clip is exact.
        maps: NDArray[Any] = x.astype(self._dtype)
        limit = net.input_max.astype(self._dtype)[:, None, None]
        np.minimum(maps, limit, out=maps)
        np.maximum(maps, -limit, out=maps)
        for number, layer in enumerate(net.layers):
            maps = self._layer(layer, maps, quality)
            if maps.dtype != self._dtype:
                raise ModelError(
                    f"{net.name}.{number} ran in {maps.dtype}, not {self._dtype}: a bug, report it."
                )
            self.layers_run[f"{net.name}.{number}"] += 1
        return maps.astype(np.int32)

    def _layer(self, layer: ExactLayer, maps: NDArray[Any], quality: int) -> NDArray[Any]:
        _, h, w = maps.shape
        rows, k = len(layer.weight), layer.kernel
        flat = layer.weight_float32
        weight = flat if self._dtype == np.float32 else flat.astype(self._dtype)
        order = None
        if self._seed is not None:
            order = np.random.default_rng(self._seed).permutation(weight.shape[1])
            weight = np.ascontiguousarray(weight[:, order])
        out = np.empty((rows, h * w), dtype=self._dtype)
        padded = np.pad(maps, ((0, 0), (1, 1), (1, 1))) if k == 3 else maps
        height = max(1, STRIP // w)
        for top in range(0, h, height):
            bottom = min(top + height, h)
            columns = _unfold(padded, top, bottom, w, k)
            strip = out[:, top * w : bottom * w]
            np.matmul(weight, columns if order is None else columns[order], out=strip)
            self._rescale(layer, strip, quality)
        return _shuffle(out.reshape(rows, h, w)) if layer.shuffle else out.reshape(rows, h, w)

    def _rescale(self, layer: ExactLayer, acc: NDArray[Any], quality: int) -> None:
        acc += layer.bias_row(quality).astype(self._dtype)[:, None]
        if self._dtype == np.int64:
            acc >>= layer.shift.astype(np.int64)[:, None]
        else:  # a product with a power of two is exact, and floor then is the arithmetic shift
            acc *= np.ldexp(1.0, -layer.shift).astype(self._dtype)[:, None]
            np.floor(acc, out=acc)
        np.clip(acc, max(layer.lo, 0) if layer.relu else layer.lo, layer.hi, out=acc)


def _unfold(padded: NDArray[Any], top: int, bottom: int, w: int, k: int) -> NDArray[Any]:
    """Rows ``top..bottom-1`` as columns of a matrix product, ``[i·k·k, rows·w]``, in the order of weights."""
    i = len(padded)
    if k == 1:
        return padded[:, top:bottom].reshape(i, -1)
    columns = np.empty((i, k, k, bottom - top, w), dtype=padded.dtype)
    for a in range(k):
        for b in range(k):
            columns[:, a, b] = padded[:, top + a : bottom + a, b : b + w]
    return columns.reshape(i * k * k, -1)


def _shuffle(maps: NDArray[Any]) -> NDArray[Any]:
    """Depth to space: ``[4c, h, w]`` to ``[c, 2h, 2w]``."""
    c, h, w = len(maps) // 4, maps.shape[1], maps.shape[2]
    return maps.reshape(c, 2, 2, h, w).transpose(0, 3, 1, 4, 2).reshape(c, 2 * h, 2 * w)


def run_float32(net: ExactNet, x: NDArray[np.int32], quality: int) -> NDArray[np.int32]:
    """One run of ``net`` in float32; see :class:`NumpyEngine`."""
    return NumpyEngine("float32")(net, x, quality)


def run_int64(net: ExactNet, x: NDArray[np.int32], quality: int) -> NDArray[np.int32]:
    """One run of ``net`` in int64, the reference; see :class:`NumpyEngine`."""
    return NumpyEngine("int64")(net, x, quality)
