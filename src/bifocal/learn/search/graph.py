"""An integer network as an ONNX graph, written by running it in an arithmetic whose numbers are nodes.

So the graph has the operations of :func:`~bifocal.learn.search.integer.run` and no others. All of them are
exact on whole numbers: products in float32, within the bound; the rest in float64. Rows of 4 bits stay two a
byte in the file, and are unpacked when it is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from bifocal.learn.nets.heads.fixed_point import BYTE, Ints
from bifocal.learn.packing.graph_builder import GraphBuilder
from bifocal.learn.packing.graphs import Arrays
from bifocal.learn.search.integer import IntegerNetwork, MixedMatrix, run

FLOAT, DOUBLE, WHOLE = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64


@dataclass(frozen=True, eq=False)
class Node:
    """The output ``name`` of a node of float64, and its last length if that is known; it adds as arrays
    do."""

    k: Nodes
    name: str
    width: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.width,)

    def __add__(self, other: Any) -> Node:
        return self.k.apply("Add", self, other)

    def __sub__(self, other: Any) -> Node:
        return self.k.apply("Sub", self, other)

    def __mul__(self, other: Any) -> Node:
        return self.k.apply("Mul", self, other)

    def __neg__(self) -> Node:
        return self.k.apply("Neg", self)

    def __abs__(self) -> Node:
        return self.k.apply("Abs", self)

    def __lt__(self, other: Any) -> Node:
        return self.k.apply("Less", self, other)

    def __eq__(self, other: object) -> Node:  # type: ignore[override]
        return self.k.apply("Equal", self, other)

    __radd__, __rmul__ = __add__, __mul__

    def sum(self, axis: int) -> Node:
        return self.k.apply("ReduceSum", self, self.k.whole([axis]), keepdims=0)

    def __getitem__(self, index: tuple[Any, ...]) -> Node:
        assert index == (Ellipsis, None), "only a new last axis"
        return self.k.apply("Unsqueeze", self, self.k.whole([-1]))


class Nodes:
    """The arithmetic: as :class:`~bifocal.learn.search.integer.Whole`, but every result is a
    :class:`Node`."""

    def __init__(self, builder: GraphBuilder) -> None:
        self.builder, self.known = builder, dict[tuple[Any, ...], str]()

    def apply(self, op: str, *inputs: Any, width: int | None = None, **attributes: Any) -> Node:
        names = [self.name(one) for one in inputs]
        if width is None:
            width = max((one.width for one in inputs if isinstance(one, Node)), default=0)
        return Node(self, self.builder.add(op, *names, **attributes), width)

    def name(self, value: Any) -> str:
        """The name of a node, or of a constant of float64."""
        if isinstance(value, Node | str):
            return value if isinstance(value, str) else value.name
        array = np.asarray(value, np.float64)
        key = (array.shape, array.tobytes())
        if key not in self.known:
            if array.size < 32:
                self.known[key] = self.builder.constant(array)
            else:  # outside of the graph, in float32, which holds it exactly
                stored = array.astype(np.float32)
                assert np.array_equal(stored, array), "a constant needs more than float32"
                name = self.builder.weight(f"constant.{len(self.known)}", stored)
                self.known[key] = self.builder.add("Cast", name, to=DOUBLE)
        return self.known[key]

    def whole(self, values: list[int]) -> str:
        """Axes and shapes: a constant of int64."""
        key = ("whole", *values)
        if key not in self.known:
            self.known[key] = self.builder.constant(np.array(values, np.int64))
        return self.known[key]

    def cast(self, x: Any, kind: int) -> Node:
        return self.apply("Cast", x, to=kind)

    def load(self, x: Ints) -> Node:
        return Node(self, self.name(x), x.shape[-1])

    def weight(self, matrix: MixedMatrix) -> Node:
        """The matrix ``[k, n]`` in float32, from how it is stored."""
        b, parts = self.builder, []
        number = len(b.weights)
        if len(matrix.four):
            pairs = b.add("Cast", b.weight(f"four.{number}", matrix.four), to=FLOAT)
            sixteen = b.constant(np.array(16, np.float32))
            high = b.add("Floor", b.add("Div", pairs, sixteen))
            low = b.add("Sub", pairs, b.add("Mul", high, sixteen))
            both = [b.add("Unsqueeze", part, self.whole([2])) for part in (low, high)]
            shape = self.whole([len(matrix.four), 2 * matrix.four.shape[1]])
            rows = b.add("Reshape", b.add("Concat", *both, axis=2), shape)
            parts.append(b.add("Sub", rows, b.constant(np.array(8, np.float32))))
        if len(matrix.eight):
            parts.append(b.add("Cast", b.weight(f"eight.{number}", matrix.eight), to=FLOAT))
        name = b.add("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]
        if not np.array_equal(matrix.order, np.arange(len(matrix.order))):
            order = b.weight(f"order.{number}", matrix.order.astype(np.float32))
            name = b.add("Gather", name, b.add("Cast", order, to=WHOLE), axis=0)
        return Node(self, b.add("Transpose", name, perm=[1, 0]), len(matrix.order))

    def product(self, a: Node, b: Node) -> Node:
        made = self.apply("MatMul", self.cast(a, FLOAT), self.cast(b, FLOAT), width=b.width)
        return self.cast(made, DOUBLE)

    def round_shift(self, x: Node, shift: Ints | int) -> Node:
        return self.floor(x * 2.0 ** -np.asarray(shift, np.float64) + 0.5)

    def floor(self, x: Node) -> Node:
        return self.apply("Floor", x)

    def shift(self, x: Node, bits: Any) -> Node:
        if not isinstance(bits, Node):
            return self.floor(x * 2.0**-bits)
        # octaves of the exponential: from a table, since no engine promises exact powers
        table = 2.0 ** -np.arange(64, dtype=np.float64)
        return self.floor(x * self.apply("Gather", self.name(table), self.cast(bits, WHOLE)))

    def divide(self, a: Any, b: Any) -> Node:
        return self.floor(self.apply("Div", a, b))

    def root(self, x: Node) -> Node:
        return self.floor(self.apply("Sqrt", x))

    def clip(self, x: Node, lo: int, hi: int) -> Node:
        return self.apply("Clip", x, float(lo), float(hi))

    def where(self, c: Node, a: Any, b: Any) -> Node:
        return self.apply("Where", c, a, b)

    def cat(self, parts: list[Any], axis: int) -> Node:
        return self.apply("Concat", *parts, axis=axis)

    def largest(self, x: Node) -> Node:
        return self.apply("ReduceMax", x, self.whole([-1]), keepdims=1)

    def corner(self, table: Ints, x: Node) -> Node:
        sides = self.apply("Shape", x, start=1, end=3).name
        starts, axes = self.whole([0, 0]), self.whole([0, 1])
        return self.apply("Slice", self.load(table), starts, sides, axes, width=table.shape[-1])

    def reshape(self, x: Node, shape: tuple[int, ...]) -> Node:
        return self.apply("Reshape", x, self.whole(list(shape)), width=max(shape[-1], 0))

    def move(self, x: Node, axes: tuple[int, ...]) -> Node:
        return self.apply("Transpose", x, width=0, perm=list(axes))

    def part(self, x: Node, axis: int, start: int, stop: int) -> Node:
        ends = (self.whole([n]) for n in (start, stop, axis))
        return self.apply("Slice", x, *ends, width=stop - start if axis == 2 else x.width)


def network_graph(net: IntegerNetwork, name: str) -> tuple[bytes, Arrays]:
    """The graph of a network without its weights, and these; its input is ``y`` or ``pixels``."""
    builder = GraphBuilder(name)
    k, form = Nodes(builder), net.form
    given = "y" if form.reads == "latents" else "pixels"
    channels = form.channels if form.reads == "latents" else 3
    x = _front(k, net, Node(k, given))
    total = run(k, net, x)
    scale = 2.0 ** -net.head.fraction.astype(np.float64)
    made = k.cast(total * scale, FLOAT)
    graph = builder.model(
        {given: ["n", channels, "h", "w"]}, {"logits": (made.name, ["n", len(net.head.bias)])}
    )
    return graph, {key: smallest(value) for key, value in builder.weights.items()}


def _front(k: Nodes, net: IntegerNetwork, x: Node) -> Node:
    """What `Front` does, in float64: every step of it is exact."""
    x = k.cast(x, DOUBLE)
    if net.form.reads == "pixels":
        side = net.form.patch
        x = k.apply("Round", x) - 128
        x = k.apply("SpaceToDepth", x, blocksize=side)  # patches, then colours; torch has colours first
        order = np.arange(3 * side**2).reshape(side**2, 3).T.ravel()
        x = k.apply("Gather", x, k.whole(order.tolist()), axis=1)
    exponent = net.front.exponent.double().numpy()
    x = k.floor(x * (2.0**exponent)[:, None, None] + 0.5)
    return k.clip(x, -BYTE, BYTE)


def smallest(value: NDArray[Any]) -> NDArray[Any]:
    """Floats in half precision where that changes none of them; the runtime widens them again."""
    if value.dtype != np.float32 or np.abs(value).max(initial=0) > 65504:
        return value
    half = value.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), value) else value
