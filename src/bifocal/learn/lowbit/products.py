"""The three products of a layer, on integers: forward, input gradient, weight gradient.

Two engines with the same results, bit for bit. `Carrier` holds the integers in float32 or float64, where
torch is fast; it is the one to train with. `Integers` multiplies int8 operands with int32 sums
(``torch._int_mm``), or int64 in NumPy where an operand does not fit 8 bits. Neither rounds: the carrier is
float32 only where a bound proves every partial sum to stay within 2^24, and float64 otherwise.

Operands of a linear layer are ``x [m, i]``, ``w [o, i]``, ``dy [m, o]``; those of a convolution
``x [n, i, h, w]``, ``w [o, i, kh, kw]``, ``dy [n, o, h', w']``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_input, conv2d_weight

from bifocal.errors import TrainingError

#: float32 and float64 hold every whole number up to these.
FLOAT32_LIMIT, FLOAT64_LIMIT = 2**24, 2**53


@dataclass(frozen=True)
class Geometry:
    """How a convolution walks; a linear layer has none."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Operand:
    """Whole numbers in a float tensor, none beyond ``reach`` in absolute value."""

    numbers: Tensor
    reach: int


class Engine(Protocol):
    """Products of whole numbers, exact; the results are whole numbers in a float tensor."""

    def forward(self, x: Operand, w: Operand, geometry: Geometry | None) -> Tensor: ...

    def input_gradient(
        self, dy: Operand, w: Operand, shape: torch.Size, geometry: Geometry | None
    ) -> Tensor: ...

    def weight_gradient(
        self, dy: Operand, x: Operand, shape: torch.Size, geometry: Geometry | None
    ) -> Tensor: ...


def inner_length(w: torch.Size, *, outputs: bool) -> int:
    """How many products a sum has: over inputs and kernel, or over ``outputs`` and kernel."""
    return int(np.prod(w[2:], dtype=np.int64)) * (w[0] if outputs else w[1])


# -- floats that hold integers -------------------------------------------------------------------------------


class Carrier:
    """Integers held in floats: exact in any order of summation, because the bound is proved first."""

    def forward(self, x: Operand, w: Operand, geometry: Geometry | None) -> Tensor:
        a, b = _carried(x, w, inner_length(w.numbers.shape, outputs=False) * x.reach * w.reach)
        return F.linear(a, b) if geometry is None else F.conv2d(a, b, None, *_walk(geometry))

    def input_gradient(self, dy: Operand, w: Operand, shape: torch.Size, geometry: Geometry | None) -> Tensor:
        a, b = _carried(dy, w, inner_length(w.numbers.shape, outputs=True) * dy.reach * w.reach)
        return a @ b if geometry is None else conv2d_input(shape, b, a, *_walk(geometry))

    def weight_gradient(
        self, dy: Operand, x: Operand, shape: torch.Size, geometry: Geometry | None
    ) -> Tensor:
        a, b = _carried(dy, x, cauchy_schwarz(dy.numbers, x.numbers))
        return a.T @ b if geometry is None else conv2d_weight(b, shape, a, *_walk(geometry))


def cauchy_schwarz(dy: Tensor, x: Tensor) -> float:
    """A bound of every partial sum of a weight gradient: ``Σ|a||b| <= |a||b|``, the largest over channels.

    The worst case by lengths alone would be far from anything that happens: there are as many products in a
    sum as positions in a batch.
    """
    axes = [0, *range(2, dy.ndim)]
    longest = [float(t.double().square().sum(axes).max()) for t in (dy, x)]
    return float(np.sqrt(longest[0] * longest[1])) * (1 + 1e-9)


def _carried(a: Operand, b: Operand, bound: float) -> tuple[Tensor, Tensor]:
    """Both operands in the smallest float type that is exact up to ``bound``."""
    if bound <= FLOAT32_LIMIT:
        return a.numbers.float(), b.numbers.float()
    if bound <= FLOAT64_LIMIT:
        return a.numbers.double(), b.numbers.double()
    raise TrainingError(
        f"sums of a product may reach {bound:.3g}, above 2^53, where float64 stops being exact. Use fewer "
        "bits or groups."
    )


def _walk(geometry: Geometry) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    return geometry.stride, geometry.padding, geometry.dilation


# -- integers ------------------------------------------------------------------------------------------------


class Integers:
    """Products in integers: int8 operands and int32 sums where operands fit 8 bits, int64 in NumPy else.

    Sums longer than what ``accumulator`` bits are proved to hold are made in blocks, whose sums are added in
    64 bits.
    """

    def __init__(self, accumulator: int = 32) -> None:
        self.accumulator = accumulator

    def forward(self, x: Operand, w: Operand, geometry: Geometry | None) -> Tensor:
        a, b = _whole(x), _whole(w)
        if geometry is None:
            return self._product(a, b.T, x.reach * w.reach).double()
        n, _, height, width = a.shape
        columns = _columns(a, b.shape, geometry)  # [n·h·w, i·k·k]
        out = self._product(columns, b.flatten(1).T, x.reach * w.reach)
        h, w_ = _positions(height, width, b.shape, geometry)
        return out.reshape(n, h, w_, -1).permute(0, 3, 1, 2).contiguous().double()

    def input_gradient(self, dy: Operand, w: Operand, shape: torch.Size, geometry: Geometry | None) -> Tensor:
        a, b = _whole(dy), _whole(w)
        if geometry is None:
            return self._product(a, b, dy.reach * w.reach).double()
        n, _, h, width = a.shape
        rows = a.permute(0, 2, 3, 1).reshape(-1, a.shape[1])
        columns = self._product(rows, b.flatten(1), dy.reach * w.reach)
        return _folded(columns.reshape(n, h, width, *b.shape[1:]), shape, geometry).double()

    def weight_gradient(
        self, dy: Operand, x: Operand, shape: torch.Size, geometry: Geometry | None
    ) -> Tensor:
        a, b = _whole(dy), _whole(x)
        if geometry is not None:
            b = _columns(b, shape, geometry)
            a = a.permute(0, 2, 3, 1).reshape(-1, a.shape[1])
        return self._product(a.T, b, dy.reach * x.reach).reshape(shape).double()

    def _product(self, a: Tensor, b: Tensor, each: int) -> Tensor:
        """``a [m, k] @ b [k, n]``, no product above ``each``: int64 ``[m, n]``."""
        length = max(1, (2 ** (self.accumulator - 1) - 1) // max(each, 1))
        total = torch.zeros(a.shape[0], b.shape[1], dtype=torch.int64)
        for start in range(0, a.shape[1], length):
            total += matrix_product(a[:, start : start + length], b[start : start + length])
        return total


def matrix_product(a: Tensor, b: Tensor) -> Tensor:
    """``a [m, k] @ b [k, n]`` of int8 matrices in int32, of others in int64 by NumPy."""
    if a.dtype == b.dtype == torch.int8:
        return torch._int_mm(a.contiguous(), b.contiguous())
    return torch.from_numpy(a.long().numpy() @ b.long().numpy())


def _whole(x: Operand) -> Tensor:
    if x.numbers.device.type != "cpu":
        raise TrainingError('engine="integers" runs on the CPU; use engine="carrier" on other devices.')
    return x.numbers.to(torch.int8 if x.reach <= 127 else torch.int64)


def _positions(h: int, w: int, kernel: torch.Size, geometry: Geometry) -> tuple[int, int]:
    """Height and width of what a convolution makes."""
    sizes = zip((h, w), kernel[2:], *_walk(geometry), strict=True)
    high, wide = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes)
    return high, wide


def _taps(kernel: torch.Size, h: int, w: int, geometry: Geometry) -> Iterator[tuple[slice, slice]]:
    """For each position of the kernel, row by row, where its inputs are in the padded map."""
    (sy, sx), _, (dy, dx) = _walk(geometry)
    for i in range(kernel[2]):
        for j in range(kernel[3]):
            top, left = i * dy, j * dx
            yield slice(top, top + sy * (h - 1) + 1, sy), slice(left, left + sx * (w - 1) + 1, sx)


def _columns(x: Tensor, kernel: torch.Size, geometry: Geometry) -> Tensor:
    """The inputs of every output position as rows, ``[n·h'·w', i·k·k]``."""
    h, w = _positions(x.shape[2], x.shape[3], kernel, geometry)
    (py, px) = geometry.padding
    padded = F.pad(x, (px, px, py, py))
    parts = [padded[:, :, rows, columns] for rows, columns in _taps(kernel, h, w, geometry)]
    return torch.stack(parts, 2).permute(0, 3, 4, 1, 2).reshape(x.shape[0] * h * w, -1)


def _folded(columns: Tensor, shape: torch.Size, geometry: Geometry) -> Tensor:
    """``columns [n, h', w', i, kh, kw]`` added up where they came from: ``shape``, ``[n, i, h, w]``."""
    n, h, w, inputs, kh, kw = columns.shape
    (py, px), (height, width) = geometry.padding, shape[2:]
    padded = torch.zeros(n, inputs, height + 2 * py, width + 2 * px, dtype=columns.dtype)
    parts = columns.permute(0, 3, 1, 2, 4, 5).flatten(4).unbind(4)
    kernel = torch.Size((0, inputs, kh, kw))
    for part, (rows, cols) in zip(parts, _taps(kernel, h, w, geometry), strict=True):
        padded[:, :, rows, cols] += part
    return padded[:, :, py : py + height, px : px + width]
