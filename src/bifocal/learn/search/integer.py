"""A subnet in integers with 4-bit and 8-bit rows, run exactly: in NumPy int64, in floats, in ONNX Runtime.

:func:`integer_network` reads the integers off a supernet; :func:`run` computes logits of them in an
arithmetic of `learn/nets/heads/fixed_point.py`. The arithmetics share no operation and agree bit for bit:
between products there are only shifts, clips, integer divisions and whole square roots. GELU and softmax are
HeatViT's polynomials, without their regularising factors.

A matrix is stored as hardware wants it: the rows of 4 bits as one dense block, two weights a byte, then those
of 8 bits; ``order`` says where each row is. Between ``fc1`` and ``fc2`` the permutation is folded into the
columns of ``fc2``. Where rows are added to the residual stream, or queries meet keys, it cannot be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bifocal.errors import ModelError
from bifocal.learn.nets.heads.fixed_point import (
    BYTE,
    GAIN,
    NORM,
    STREAM,
    STREAM_MAX,
    WIDE,
    WIDE_MAX,
    Floats,
    Integers,
    Ints,
    Norm,
    exp,
    fixed,
    gelu,
    normalise,
    quantise_norm,
)
from bifocal.learn.search.entangled import EntangledLinear
from bifocal.learn.search.space import Subnet
from bifocal.learn.search.supernet import INPUT_FRACTION, Block, Front, InputForm, Supernet

#: float32 holds every whole number up to this.
LIMIT = 2**24
#: Fraction bits of attention probabilities and of the factor of queries.
SHARE, FACTOR = 8, 14


@dataclass(frozen=True)
class MixedMatrix:
    """``four`` uint8 ``[n4, k/2]``, the low nibble first, each 8 more than its weight; ``eight`` int8
    ``[n8, k]``; ``order [n]``, where row o is among those of four, then of eight. ``bias [n]`` is of the
    sums, which have ``fraction [n]`` bits; inputs have ``source`` bits. Bias and fraction are in the order of
    rows.
    """

    four: NDArray[np.uint8]
    eight: NDArray[np.int8]
    order: Ints
    bias: Ints
    fraction: Ints
    source: int

    @property
    def numbers(self) -> Ints:
        """The weights ``[n, k]`` in the order of rows."""
        low, high = (self.four & 15).astype(np.int64), (self.four >> 4).astype(np.int64)
        four = np.stack([low, high], 2).reshape(-1, 2 * self.four.shape[1]) - 8
        return np.concatenate([four, self.eight.astype(np.int64)])[self.order]

    @property
    def bytes(self) -> int:
        """Bytes of the weights."""
        return self.four.nbytes + self.eight.nbytes


@dataclass(frozen=True)
class IntegerBlock:
    """A block; ``parts`` are the fraction bits of queries, keys and values."""

    norm1: Norm
    qkv: MixedMatrix
    parts: tuple[int, int, int]
    proj: MixedMatrix
    norm2: Norm
    fc1: MixedMatrix
    fc2: MixedMatrix


@dataclass(frozen=True)
class IntegerNetwork:
    """A subnet after its front: ``positions [g, g, d]`` and the class token ``[d]`` have the fraction bits of
    the residual stream; ``heads`` of each block."""

    form: InputForm
    front: Front
    embed: MixedMatrix
    cls_token: Ints
    positions: Ints
    blocks: tuple[IntegerBlock, ...]
    heads: tuple[int, ...]
    norm: Norm
    head: MixedMatrix

    def matrices(self) -> Iterator[tuple[str, MixedMatrix]]:
        """All matrices by name, in the order in which they run."""
        yield "embed", self.embed
        for number, block in enumerate(self.blocks):
            for name in ("qkv", "proj", "fc1", "fc2"):
                yield f"blocks.{number}.{name}", getattr(block, name)
        yield "head", self.head


# -- from a supernet -----------------------------------------------------------------------------------------


@torch.no_grad()
def integer_network(net: Supernet, subnet: Subnet) -> IntegerNetwork:
    """The integers of a trained subnet.

    :raises ModelError: if a sum could leave the range in which float32 is exact.
    """
    net.space.check(subnet)
    d = subnet.dim
    blocks = []
    for number in range(subnet.depth):
        block = net.blocks[number]
        assert isinstance(block, Block)
        blocks.append(_block(net, block, subnet, number))
    embed = _matrix("embed", net.embed, d, net.form.channels, 1.0, INPUT_FRACTION)
    head = _matrix("head", net.head, net.classes, d, 1.0, net.head.range.fraction)
    stream = (np.floor(p.detach().double().numpy() * 2**STREAM + 0.5) for p in (net.cls_token, net.positions))
    cls, positions = (np.clip(p[..., :d], -STREAM_MAX, STREAM_MAX).astype(np.int64) for p in stream)
    norm = quantise_norm(net.norm.weight[:d], net.norm.bias[:d])
    return IntegerNetwork(net.form, net.front, embed, cls, positions, tuple(blocks), subnet.heads, norm, head)


def _block(net: Supernet, block: Block, subnet: Subnet, number: int) -> IntegerBlock:
    d, inner, hidden = subnet.dim, subnet.heads[number] * net.space.head_dim, subnet.hidden(number)
    shares, name = subnet.eight[number], f"block {number + 1}"
    norm1, norm2 = (quantise_norm(n.weight[:d], n.bias[:d]) for n in (block.norm1, block.norm2))
    sizes = {"qkv": (inner, d), "proj": (d, inner), "fc1": (hidden, d), "fc2": (d, hidden)}
    made = {}
    for (part, (rows, inputs)), share in zip(sizes.items(), shares, strict=True):
        layer: EntangledLinear = getattr(block, part)
        made[part] = _matrix(f"{part} of {name}", layer, rows, inputs, share, layer.range.fraction)
    made["fc1"], made["fc2"] = folded(made["fc1"], made["fc2"])
    parts = (block.q_range.fraction, block.k_range.fraction, block.v_range.fraction)
    return IntegerBlock(norm1, made["qkv"], parts, made["proj"], norm2, made["fc1"], made["fc2"])


def _matrix(
    name: str, layer: EntangledLinear, rows: int, inner: int, share: float, source: int
) -> MixedMatrix:
    _, found = layer.rows(rows, inner, share)
    numbers, eight = found.numbers.numpy().astype(np.int64), found.eight.numpy()
    fraction = found.fraction.numpy().astype(np.int64) + source
    bias = np.floor(found.bias.double().numpy() * 2.0**fraction + 0.5).astype(np.int64)
    largest = int((np.abs(numbers).sum(1) * BYTE + np.abs(bias)).max())
    if largest > LIMIT:
        raise ModelError(
            f"sums of {name} may reach {largest:,}, above 2^24, where float32 stops being exact. Fine-tune "
            "the subnet longer, with a smaller learning rate, or take a space with narrower layers."
        )
    return mixed_matrix(numbers, eight, bias, fraction, source)


def mixed_matrix(
    numbers: Ints, eight: NDArray[np.bool_], bias: Ints, fraction: Ints, source: int
) -> MixedMatrix:
    """Weights ``[n, k]`` as two dense blocks, of the rows of 4 bits and of those of ``eight``; k is even."""
    placed = np.concatenate([np.flatnonzero(~eight), np.flatnonzero(eight)])
    order = np.empty_like(placed)
    order[placed] = np.arange(len(placed))
    nibbles = (numbers[~eight] + 8).astype(np.uint8).reshape(-1, numbers.shape[1] // 2, 2)
    four = (nibbles[..., 0] | nibbles[..., 1] << 4).astype(np.uint8)
    return MixedMatrix(four, numbers[eight].astype(np.int8), order, bias, fraction, source)


def folded(first: MixedMatrix, second: MixedMatrix) -> tuple[MixedMatrix, MixedMatrix]:
    """Two matrices in a row, the permutation of the first's rows folded into the columns of the second."""
    placed = np.argsort(first.order)
    rows = np.arange(len(placed))
    eight = second.order >= len(second.four)
    moved = mixed_matrix(second.numbers[:, placed], eight, second.bias, second.fraction, second.source)
    return replace(first, order=rows, bias=first.bias[placed], fraction=first.fraction[placed]), moved


# -- arithmetics ---------------------------------------------------------------------------------------------


class Whole(Integers):
    """NumPy int64: the reference."""

    def weight(self, matrix: MixedMatrix) -> Any:
        return matrix.numbers.T

    def round_shift(self, x: Any, shift: Ints | int) -> Any:
        """``x`` shifted right, halves up; left where ``shift`` is negative."""
        down = np.maximum(shift, 0)
        return ((x << np.maximum(-np.asarray(shift), 0)) + (np.int64(1) << down >> 1)) >> down

    def corner(self, table: Ints, x: Any) -> Any:
        """As many rows and columns of ``table [g, g, d]`` as ``x [b, h, w, c]`` has."""
        return table[: x.shape[1], : x.shape[2]]

    def reshape(self, x: Any, shape: tuple[int, ...]) -> Any:
        """Another shape; 0 keeps a length, -1 is what is left."""
        return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(shape)])

    def move(self, x: Any, axes: tuple[int, ...]) -> Any:
        return x.transpose(axes)

    def part(self, x: Any, axis: int, start: int, stop: int) -> Any:
        """``x[start:stop]`` along an axis."""
        return np.take(x, np.arange(start, stop), axis)


class Carried(Floats):
    """torch: products in float32, which the bound makes exact, the rest in float64."""

    def load(self, x: Ints) -> Any:
        return torch.from_numpy(x.astype(np.float64))

    def weight(self, matrix: MixedMatrix) -> Any:
        return torch.from_numpy(matrix.numbers.astype(np.float32)).mT

    def product(self, a: Any, b: Any) -> Any:
        return (a.float() @ b.float()).double()

    def round_shift(self, x: Any, shift: Ints | int) -> Any:
        return torch.floor(x * torch.as_tensor(2.0 ** -np.asarray(shift, np.float64)) + 0.5)

    def corner(self, table: Ints, x: Any) -> Any:
        return self.load(table)[: x.shape[1], : x.shape[2]]

    def reshape(self, x: Any, shape: tuple[int, ...]) -> Any:
        return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(shape)])

    def move(self, x: Any, axes: tuple[int, ...]) -> Any:
        return x.permute(axes)

    def part(self, x: Any, axis: int, start: int, stop: int) -> Any:
        return x.narrow(axis, start, stop - start)


# -- running it ----------------------------------------------------------------------------------------------


def run(k: Any, net: IntegerNetwork, x: Any) -> Any:
    """Sums of the last layer ``[b, classes]`` for inputs of the front, whole ``[b, c, h, w]``; they have
    ``net.head.fraction`` bits. ``k`` is an arithmetic."""
    tokens, d = k.move(x, (0, 2, 3, 1)), len(net.cls_token)
    y = affine(k, net.embed, tokens, STREAM, STREAM_MAX) + k.corner(net.positions, tokens)
    y = k.reshape(k.clip(y, -STREAM_MAX, STREAM_MAX), (0, -1, d))
    y = k.cat([0 * k.part(y, 1, 0, 1) + k.load(net.cls_token), y], 1)
    for block, heads in zip(net.blocks, net.heads, strict=True):
        y = run_block(k, block, heads, y)
    last = normalise(k, net.norm, k.part(y, 1, 0, 1))
    return k.reshape(sums(k, net.head, to_byte(k, last, NORM + GAIN, net.head.source)), (0, -1))


def run_block(k: Any, block: IntegerBlock, heads: int, x: Any) -> Any:
    """One block on the residual stream ``[b, m, d]``."""
    both = sums(k, block.qkv, to_byte(k, normalise(k, block.norm1, x), NORM + GAIN, block.qkv.source))
    inner = len(block.qkv.bias) // 3
    made = []
    for number, bits in enumerate(block.parts):
        start, stop = number * inner, (number + 1) * inner
        part = rescaled(k, k.part(both, 2, start, stop), block.qkv.fraction[start:stop] - bits, BYTE)
        made.append(k.reshape(part, (0, 0, heads, inner // heads)))
    y = k.move(attention(k, made[0], made[1], made[2], block.parts, inner // heads), (0, 2, 1, 3))
    y = to_byte(k, k.reshape(y, (0, 0, inner)), SHARE + block.parts[2], block.proj.source)
    x = k.clip(x + affine(k, block.proj, y, STREAM, STREAM_MAX), -STREAM_MAX, STREAM_MAX)
    y = to_byte(k, normalise(k, block.norm2, x), NORM + GAIN, block.fc1.source)
    y = gelu(k, affine(k, block.fc1, y, WIDE, WIDE_MAX), 1.0)
    y = affine(k, block.fc2, to_byte(k, y, WIDE, block.fc2.source), STREAM, STREAM_MAX)
    return k.clip(x + y, -STREAM_MAX, STREAM_MAX)


def attention(k: Any, q: Any, key: Any, v: Any, parts: tuple[int, ...], width: int) -> Any:
    """``softmax(q·kᵀ/√width)·v`` of ``[b, m, heads, width]``, ``[b, heads, m, width]``; the result has
    ``SHARE + parts[2]`` fraction bits."""
    q, key, v = k.move(q, (0, 2, 1, 3)), k.move(key, (0, 2, 3, 1)), k.move(v, (0, 2, 1, 3))
    s = k.product(q, key) * fixed(width**-0.5, FACTOR)
    s = rescaled(k, s, parts[0] + parts[1] + FACTOR - WIDE, WIDE_MAX)
    e = exp(k, s - k.largest(s))
    total = e.sum(-1)[..., None]
    share = k.clip(k.divide(e * 2 ** (SHARE + 1) + total, 2 * total), 0, 2**SHARE - 1)
    return k.product(share, v)


def sums(k: Any, matrix: MixedMatrix, x: Any) -> Any:
    """Sums of a matrix for whole numbers of 8 bits ``[..., k]``."""
    return k.product(x, k.weight(matrix)) + k.load(matrix.bias)


def affine(k: Any, matrix: MixedMatrix, x: Any, want: int, most: int) -> Any:
    """The same with ``want`` fraction bits, within ``most``."""
    return rescaled(k, sums(k, matrix, x), matrix.fraction - want, most)


def to_byte(k: Any, x: Any, have: int, want: int) -> Any:
    """From ``have`` fraction bits to ``want``, in 8 bits."""
    return rescaled(k, x, have - want, BYTE)


def rescaled(k: Any, x: Any, shift: Ints | int, most: int) -> Any:
    """``x`` shifted right by ``shift``, a number or one for each row, rounding half up, within ``most``."""
    return k.clip(k.round_shift(x, shift), -most, most)


def logits(net: IntegerNetwork, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits ``[b, classes]`` of inputs ``[b, c, h, w]`` as a head takes them, by the reference."""
    whole = net.front(torch.from_numpy(x)).numpy().astype(np.int64)
    total = np.asarray(run(Whole(), net, whole), np.int64)
    return (total * 2.0 ** -net.head.fraction.astype(np.float64)).astype(np.float32)
