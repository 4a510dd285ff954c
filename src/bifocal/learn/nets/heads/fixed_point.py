"""Fixed-point arithmetic of a transformer: as integers, and as floats that hold the same numbers.

HeatViT's formats (arXiv 2211.08110, as its RTL reproduction reads them): products of 8-bit numbers in 32-bit
accumulators, power-of-two scales, inputs of GELU, softmax and sigmoid with 16 fraction bits, attention
probabilities with 8, scores with 16; between products only shifts, clips and integer divisions. Ours: the
residual stream has 16 bits, 8 of them fraction, and layer norm is in integers too.

Functions here take an arithmetic ``k``: `Integers` (NumPy int64, shifts, integer division) or `Floats`
(torch float64: products, floors, square roots). The two share no operation and agree bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bifocal.learn.nets.heads.polynomial import ERF_A, ERF_B, EXP_A, EXP_B, EXP_C

Ints = NDArray[np.int64]
STREAM, NORM, GAIN, WIDE = 8, 10, 8, 16  # fraction bits: residual stream, normalised, gains, functions
STREAM_MAX, WIDE_MAX, BYTE = 2**15 - 1, 2**23 - 1, 127


class Integers:
    """NumPy int64; a product that leaves 32 bits is an error."""

    def load(self, x: Ints) -> Any:
        return x.astype(np.int64)

    def product(self, a: Any, b: Any) -> Any:
        y = a @ b
        if y.size and int(np.abs(y).max()) >= 2**31:
            raise OverflowError("an accumulator leaves 32 bits: calibrate on pictures like these.")
        return y

    def shift(self, x: Any, bits: Any) -> Any:
        return x >> bits

    def divide(self, a: Any, b: Any) -> Any:
        return a // b

    def root(self, x: Any) -> Any:
        r = np.sqrt(x.astype(np.float64)).astype(np.int64)
        r -= r * r > x
        return r + ((r + 1) * (r + 1) <= x)

    def clip(self, x: Any, lo: int, hi: int) -> Any:
        return np.clip(x, lo, hi)

    def where(self, c: Any, a: Any, b: Any) -> Any:
        return np.where(c, a, b)

    def cat(self, parts: list[Any], axis: int) -> Any:
        return np.concatenate(parts, axis)

    def largest(self, x: Any) -> Any:
        return x.max(-1, keepdims=True)

    def numpy(self, x: Any) -> Ints:
        return np.asarray(x, np.int64)


class Floats:
    """torch float64 that holds the same integers."""

    def load(self, x: Ints) -> Any:
        return torch.from_numpy(x.astype(np.float64))

    def product(self, a: Any, b: Any) -> Any:
        return a @ b

    def shift(self, x: Any, bits: Any) -> Any:
        return torch.floor(x * 2.0 ** -torch.as_tensor(bits, dtype=torch.float64))

    def divide(self, a: Any, b: Any) -> Any:
        return torch.floor(a / b)

    def root(self, x: Any) -> Any:
        return torch.floor(torch.sqrt(x))

    def clip(self, x: Any, lo: int, hi: int) -> Any:
        return x.clamp(lo, hi)

    def where(self, c: Any, a: Any, b: Any) -> Any:
        return torch.where(
            c, torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64)
        )

    def cat(self, parts: list[Any], axis: int) -> Any:
        return torch.cat(parts, axis)

    def largest(self, x: Any) -> Any:
        return x.amax(-1, keepdim=True)

    def numpy(self, x: Any) -> Ints:
        return x.numpy().astype(np.int64)


# -- functions of numbers with 16 fraction bits ----------------------------------------------------------


def fixed(value: float, bits: int) -> int:
    return math.floor(value * 2**bits + 0.5)


def gelu(k: Any, x: Any, delta: float) -> Any:
    """Polynomial GELU, 16 fraction bits in and out; constants have 14."""
    u = k.shift(x * fixed(math.sqrt(0.5), 14), 14)
    t = k.clip(abs(u), 0, fixed(-ERF_B, WIDE)) - fixed(-ERF_B, WIDE)
    erf = k.shift(k.shift(t * t, WIDE) * fixed(ERF_A, 14), 14) + 2**WIDE
    erf = k.shift(k.where(u < 0, -erf, erf) * fixed(delta, 8), 8)
    return k.shift(x * (2**WIDE + k.where(u == 0, 0 * erf, erf)), WIDE + 1)


def exp(k: Any, t: Any) -> Any:
    """Polynomial exp of ``t <= 0``, 16 fraction bits."""
    ln2 = fixed(math.log(2.0), WIDE)
    t = k.clip(t, -30 * 2**WIDE, 0)
    octaves = k.divide(-t, ln2)
    p = t + octaves * ln2 + fixed(EXP_B, WIDE)
    return k.shift(k.shift(k.shift(p * p, WIDE) * fixed(EXP_A, 14), 14) + fixed(EXP_C, WIDE), octaves)


def sigmoid(k: Any, x: Any) -> Any:
    """PLAN, 16 fraction bits: shifts and constants that are exact."""
    one, m = 2**WIDE, abs(x)
    y = k.where(m < one, k.shift(m, 2) + one // 2, k.shift(m, 3) + 5 * one // 8)
    y = k.where(m < 19 * one // 8, y, k.shift(m, 5) + 27 * one // 32)
    y = k.clip(y, 0, one)
    return k.where(x < 0, one - y, y)


def rescale(k: Any, x: Any, have: int, want: int, most: int) -> Any:
    """From ``have`` to ``want`` fraction bits, rounding half up, saturating at ``most``."""
    s = have - want
    x = k.shift(x + 2 ** (s - 1), s) if s > 0 else x * 2**-s
    return k.clip(x, -most, most)


def power(largest: float) -> int:
    """Fraction bits with which ``largest`` just fits 8 bits, a 6-bit number."""
    return max(-32, min(31, math.floor(math.log2(BYTE / max(largest, 1e-9)))))


# -- layer norm ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Norm:
    """Gain and offset of a layer norm, ``[.., 1, d]``."""

    gain: Ints
    offset: Ints


def quantise_norm(weight: Tensor, bias: Tensor) -> Norm:
    gain, offset = (p.detach().double().numpy() for p in (weight, bias))
    return Norm(
        np.clip(np.floor(gain * 2.0**GAIN + 0.5), -(2**15), 2**15 - 1).astype(np.int64),
        np.floor(offset * 2.0 ** (NORM + GAIN) + 0.5).astype(np.int64),
    )


def normalise(k: Any, norm: Norm, x: Any) -> Any:
    """Layer norm over the last axis, residual stream in, ``NORM + GAIN`` fraction bits out."""
    d = x.shape[-1]
    total = x.sum(-1)[..., None]
    centred = 16 * x - k.divide(32 * total + d, 2 * d)
    variance = k.divide((centred * centred).sum(-1)[..., None], d)
    y = k.divide(centred * 2**NORM, k.root(variance) + 1)  # one more than the root: eps, and never zero
    return y * k.load(norm.gain) + k.load(norm.offset)
