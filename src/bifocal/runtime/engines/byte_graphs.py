"""ONNX graphs of exact networks in 8-bit products, written when a model is loaded, with their weights.

Maps are unsigned bytes, channels last, ``[1, h, w, c]``. A hidden layer is one ``QLinearConv``: an integer
convolution, a scale and a rounding to bytes in one pass, with no map of sums in memory. With shift s, sum a
and bias b it has to give ``floor((a + b) / 2^s)`` within 0..255, and it rounds to the nearest, ties to even.
So it is given the bias ``b - 2^(s-1)`` and the scale ``2^-s`` (1 + 2^-22). For ``a + b = k 2^s + r`` what is
rounded lies from k - 1/2, a tie, to k + 1/2 - 2^-s; the scale is so much too large that no tie is left and
too little for the other end to reach one, while s is at most 13 and k below 256.

Contexts, which may be negative and too large for a byte, come ``ZERO`` too large and cut to 0..255. What was
cut off is spread over further bytes, as many as it takes: channels of their own, with the weights of their
context or, for what lies below, the negative of them. So weights of a predictor's first layer are an input.

The last layer of a predictor is computed at each phase 2·(row&1) + (column&1) for the channels with symbols
there. Means may be negative, so they are floats, rounded down; sums below 2^24 are exact in float32.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bifocal.runtime.engines.onnx_writing import INT16, MICROSOFT, GraphWriter, Shape
from bifocal.stream.exact import ExactLayer, ExactNet
from bifocal.stream.plan import Group, phase_channels

#: What a byte holds of a signed number: the number and this.
ZERO = 128
#: How much more than 2^-shift a hidden layer is scaled by, so that no tie is rounded.
ABOVE_TIES = 1 + 2.0**-22
#: The largest byte.
BYTE_MAX = 255

_MAP: Shape = (1, "h", "w")
_Port = tuple[type[np.generic], Shape]


@dataclass(frozen=True, eq=False)
class ByteGraph:
    """A graph, and the biases among its inputs, ``[100, o]`` each, which depend on the quality.

    ``weight`` int8 ``[o, i]`` is that of a predictor's first layer.
    """

    data: bytes
    biases: dict[str, NDArray[Any]]
    weight: NDArray[np.int8]

    def feeds(self, quality: int) -> dict[str, NDArray[Any]]:
        """The biases of a quality, by input."""
        return {name: rows[quality - 1] for name, rows in self.biases.items()}


def hyper_graph(net: ExactNet) -> ByteGraph:
    """The hyper network: ``x`` uint8 ``[1, h, w, c]``, ``ZERO`` too large → ``y`` uint8."""
    steps = _Steps(net.name)
    x = "x"
    for number, layer in enumerate(net.layers):
        order = np.arange(len(layer.weight))
        if layer.shuffle:  # to (row, column, channel)
            order = order.reshape(-1, 4).T.reshape(-1)
        x = steps.hidden(x, number, layer, order, zero=0 if number else ZERO)
        x = steps.shuffled(x, layer.outputs) if layer.shuffle else x
    steps.inputs["x"] = np.uint8, (*_MAP, net.inputs)
    return steps.graph({"y": (x, np.uint8, (1, "oh", "ow", net.outputs))}, net.layers[0])


def predictor_graph(net: ExactNet, features: int, seen: int, group: Group) -> ByteGraph:
    """The predictor of a group that reads ``features`` and, from the first, ``seen`` contexts.

    Takes ``x`` uint8 ``[1, h, w, i]`` and the ``weight`` int8 ``[o, i, 1, 1]`` of its first layer: features,
    contexts, and whatever channels of what was cut off. Gives ``mean`` int16 and ``index`` uint8 of every
    phase, ``[4, m, h/2, w/2]``. Sides are even.
    """
    steps = _Steps(net.name)
    first, *hidden, last = net.layers
    first = replace(first, weight=np.ascontiguousarray(first.weight[:, : features + seen]))
    extra = first.weight[:, features:].astype(np.int32).sum(axis=(1, 2, 3)) * ZERO
    unbiased = replace(first, bias=np.asarray(first.bias - extra, np.int32))
    x = steps.hidden("x", 0, unbiased, weight="weight")
    for number, layer in enumerate(hidden, 1):
        x = steps.hidden(x, number, layer)
    mean, index = steps.last(x, len(net.layers) - 1, last, group)
    steps.inputs["x"] = np.uint8, (*_MAP, "inputs")
    steps.inputs["weight"] = np.int8, (len(first.weight), "inputs", 1, 1)
    shape = (4, "m", "oh", "ow")
    return steps.graph({"mean": (mean, np.int16, shape), "index": (index, np.uint8, shape)}, first)


class _Steps:
    """The nodes of one graph, its inputs and its biases."""

    def __init__(self, name: str) -> None:
        self.writer = GraphWriter(name)
        self.inputs: dict[str, _Port] = {}
        self.biases: dict[str, NDArray[Any]] = {}
        self.scalar = lru_cache(self._scalar)

    def graph(self, outputs: dict[str, tuple[str, type[np.generic], Shape]], first: ExactLayer) -> ByteGraph:
        weight = first.weight.reshape(len(first.weight), -1)
        return ByteGraph(self.writer.model(self.inputs, outputs), self.biases, weight)

    def _scalar(self, value: float, kind: type[np.generic]) -> str:
        return self.writer.constant(np.array(value, kind))

    def bias(self, name: str, rows: NDArray[Any]) -> str:
        """A bias ``[1, o]``, the same at all qualities, or ``[100, o]``, an input."""
        if len(rows) == 1:
            return self.writer.constant(rows[0])
        self.inputs[name], self.biases[name] = (rows.dtype.type, rows.shape[1:]), rows
        return name

    def hidden(
        self,
        x: str,
        number: int | str,
        layer: ExactLayer,
        rows: NDArray[Any] | None = None,
        *,
        zero: int = 0,
        weight: str = "",
    ) -> str:
        """The ``rows`` of a layer whose outputs are bytes: one integer convolution. ``zero`` is how much too
        large inputs are, ``weight`` the input that the weights come from."""
        rows = np.arange(len(layer.weight)) if rows is None else rows
        shift = layer.shift[rows]
        bias = layer.bias[:, rows] - (1 << shift >> 1)
        constant, kernel = self.writer.constant, layer.kernel
        none = constant(np.zeros(len(rows), np.int8))
        scale = constant((np.ldexp(1.0, -shift) * ABOVE_TIES).astype(np.float32))
        x = self.writer.add(
            "QLinearConv",
            *(x, self.scalar(1, np.float32), self.scalar(zero, np.uint8)),
            *(weight or constant(layer.weight[rows]), scale, none),
            *(self.scalar(1, np.float32), self.scalar(0, np.uint8)),
            self.bias(f"bias.{number}", bias.astype(np.int32)),
            domain=MICROSOFT,
            channels_last=1,
            kernel_shape=[kernel, kernel],
            pads=[kernel // 2] * 4,
        )
        if layer.hi >= BYTE_MAX and layer.lo <= 0:
            return x
        lo, hi = (self.scalar(n, np.uint8) for n in (max(layer.lo, 0), layer.hi))
        return self.writer.add("Clip", x, lo, hi)

    def shuffled(self, x: str, channels: int) -> str:
        """``[1, h, w, (row, column, channel)]`` to ``[1, 2h, 2w, channel]``."""
        add, constant = self.writer.add, self.writer.constant
        size = add("Mul", add("Shape", x), constant(np.array([1, 2, 2, 0])))
        size = add("Add", size, constant(np.array([0, 0, 0, channels])))
        x = add("Squeeze", x, constant(np.array([0])))
        x = add("Reshape", x, constant(np.array([0, 0, 2, 2, channels])))
        return add("Reshape", add("Transpose", x, perm=[0, 2, 1, 3, 4]), size)

    def last(self, x: str, number: int, layer: ExactLayer, group: Group) -> tuple[str, str]:
        """Means and table indexes at every phase."""
        add, constant, firsts = self.writer.add, self.writer.constant, phase_channels(group)
        assert firsts is not None
        axes, steps = constant(np.array([1, 2])), constant(np.array([2, 2]))
        ends = constant(np.full(2, np.iinfo(np.int64).max))
        means, indexes = [], []
        for phase, first in enumerate(firsts):
            part = add("Slice", x, constant(np.array([phase >> 1, phase & 1])), ends, axes, steps)
            rows = np.arange(first, group.channels, group.steps)
            means.append(self.mean(part, f"{number}.mean.{phase}", layer, rows))
            indexes.append(self.hidden(part, f"{number}.index.{phase}", layer, rows + group.channels))
        lo, hi = (
            self.scalar(n, np.float32) for n in (max(layer.lo, 0) if layer.relu else layer.lo, layer.hi)
        )
        index = add("Concat", *indexes, axis=0)
        mean = add("Clip", add("Floor", add("Concat", *means, axis=0)), lo, hi)
        mean = add("Cast", mean, to=INT16)
        mean, index = (add("Transpose", part, perm=[0, 3, 1, 2]) for part in (mean, index))
        return mean, index

    def mean(self, x: str, name: str, layer: ExactLayer, rows: NDArray[Any]) -> str:
        """The ``rows`` of a layer in float32: sums of integers, scaled, and a bias."""
        constant, shift = self.writer.constant, layer.shift[rows]
        bias = np.ldexp(layer.bias[:, rows].astype(np.float64), -shift).astype(np.float32)
        matrix = np.ascontiguousarray(layer.weight[rows, :, 0, 0].T)
        return self.writer.add(
            "MatMulIntegerToFloat",
            *(x, constant(matrix), self.scalar(1, np.float32)),
            *(constant(np.ldexp(1.0, -shift).astype(np.float32)), self.scalar(0, np.uint8), ""),
            self.bias(f"bias.{name}", bias),
            domain=MICROSOFT,
        )
