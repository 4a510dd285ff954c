"""Layers of a pruned transformer in the fixed-point arithmetic of `learn/nets/heads/fixed_point.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from bifocal.learn.nets.heads.fixed_point import BYTE, WIDE_MAX, Ints, power, rescale


@dataclass(frozen=True)
class Layer:
    """``weight [.., i, o]`` of 8 bits, ``bias [.., 1, o]`` of the accumulator.

    ``source`` and ``fraction`` are the fraction bits of the input and of the accumulator.
    """

    weight: Ints
    bias: Ints
    source: int
    fraction: int


def quantise_layer(weight: Tensor, bias: Tensor | None, largest: float) -> Layer:
    w = weight.detach().double().numpy()
    source, exponent = power(largest), power(float(np.abs(w).max()))
    b = np.zeros((*w.shape[:-2], 1, w.shape[-1])) if bias is None else bias.detach().double().numpy()
    b = b.reshape(*w.shape[:-2], 1, w.shape[-1])
    integers = np.clip(np.floor(w * 2.0**exponent + 0.5), -BYTE, BYTE).astype(np.int64)
    fraction = source + exponent
    return Layer(integers, np.floor(b * 2.0**fraction + 0.5).astype(np.int64), source, fraction)


def accumulate(k: Any, layer: Layer, x: Any, have: int) -> Any:
    """A layer on ``x [.., n, i]`` with ``have`` fraction bits: its accumulator."""
    x = rescale(k, x, have, layer.source, BYTE)
    return k.product(x, k.load(layer.weight)) + k.load(layer.bias)


def apply(k: Any, layer: Layer, x: Any, have: int, want: int, most: int = WIDE_MAX) -> Any:
    """A layer on ``x [.., n, i]`` with ``have`` fraction bits; the result has ``want``."""
    return rescale(k, accumulate(k, layer, x, have), layer.fraction, want, most)
