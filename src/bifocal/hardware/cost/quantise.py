"""Activations to integers and back: how many bits, and where what undoes it is kept.

:class:`MinMax` is the paper's (arXiv 2309.02855): 8 bits between the smallest and largest value of a tensor,
two floats of side information. The others are ours: steps that are powers of two, which need shifts only, for
a tensor or for each channel; and steps given for each tensor, as a search or training finds them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bifocal.errors import OptionError

Floats = NDArray[np.float32]
MAX_DEPTH = 15


@dataclass(frozen=True, eq=False)
class Quantised:
    """``values`` uint16 ``[c, h, w]`` below 2^``depth`` stand for ``(values + offset) · step``.

    ``step`` and ``offset`` are numbers, or ``[c, 1, 1]``; ``header_bits`` is what they take; ``zero`` is the
    value of 0.0, or the nearest.
    """

    values: NDArray[np.uint16]
    depth: int
    step: Floats
    offset: Floats
    header_bits: int

    @property
    def zero(self) -> int:
        return int(np.clip(np.rint(-float(self.offset.flat[0])), 0, (1 << self.depth) - 1))

    def restore(self) -> Floats:
        """The tensor again, float32 ``[c, h, w]``."""
        restored: Floats = (self.values.astype(np.float32) + self.offset) * self.step
        return restored


class Quantiser(Protocol):
    """Makes integers of a tensor float32 ``[c, h, w]``, all of it finite."""

    def __call__(self, name: str, x: Floats) -> Quantised: ...


@dataclass(frozen=True)
class MinMax:
    """``bits`` bits between the smallest and the largest value of the tensor, as published."""

    bits: int = 8

    def __post_init__(self) -> None:
        _check_bits(self.bits)

    def __call__(self, name: str, x: Floats) -> Quantised:
        low, high = _range(x)
        # not below what float32 can tell apart, so that a constant tensor stays what it is
        step = np.float32(max((high - low) / ((1 << self.bits) - 1), 1e-7 * abs(low), 1e-30))
        return _made(x, step, np.float32(low / step), self.bits, header_bits=64)


@dataclass(frozen=True)
class PowerOfTwo:
    """As :class:`MinMax`, but the step is a power of two: undone by a shift.

    ``channels`` gives each channel a step and an offset of its own. Side information: 8 bits of exponent and
    16 of offset, for the tensor or each channel.
    """

    bits: int = 8
    channels: bool = False

    def __post_init__(self) -> None:
        _check_bits(self.bits)

    def __call__(self, name: str, x: Floats) -> Quantised:
        axes = (1, 2) if self.channels else (0, 1, 2)
        low, high = x.min(axes, keepdims=True), x.max(axes, keepdims=True)
        span = (high.astype(np.float64) - low) / ((1 << self.bits) - 1)
        span = np.maximum(np.maximum(span, 1e-7 * np.abs(low)), 2.0**-100)
        exponent = np.ceil(np.log2(span))
        # the offset is a whole number of steps, so that 0 is exact; that may cost a step
        late = np.rint(high / 2.0**exponent) - np.rint(low / 2.0**exponent) > (1 << self.bits) - 1
        step = (2.0 ** (exponent + late)).astype(np.float32)
        return _made(x, step, np.rint(low / step), self.bits, header_bits=24 * step.size)


@dataclass(frozen=True)
class Steps:
    """The step of each tensor by its name; ``other`` for those that have none.

    Zero is exact, and the depth is what the tensor's range needs: at most 15 bits, so that a step is at least
    that part of the range.
    Side information: a float of step, 16 bits of offset and 4 of depth.
    """

    steps: Mapping[str, float] = field(default_factory=dict)
    other: float = 1.0

    def __call__(self, name: str, x: Floats) -> Quantised:
        step = np.float32(self.steps.get(name, self.other))
        if not (0 < step < math.inf):
            raise OptionError(f"the step of {name} is {step}; give a positive number.")
        step = np.float32(max(step, np.ptp(_range(x)) / ((1 << MAX_DEPTH) - 2)))
        low, high = (round(edge / float(step)) for edge in _range(x))
        depth = min(MAX_DEPTH, max(1, int(high - low).bit_length()))
        return _made(x, step, np.float32(low), depth, header_bits=52)


def _made(x: Floats, step: ArrayLike, offset: ArrayLike, depth: int, *, header_bits: int) -> Quantised:
    steps, offsets = np.asarray(step, np.float32), np.asarray(offset, np.float32)
    values = np.clip(np.rint(x / steps - offsets), 0, (1 << depth) - 1).astype(np.uint16)
    return Quantised(values, depth, steps, offsets, header_bits)


def _range(x: Floats) -> tuple[float, float]:
    return (float(x.min()), float(x.max())) if x.size else (0.0, 0.0)


def _check_bits(bits: int) -> None:
    if not 1 <= bits <= MAX_DEPTH:
        raise OptionError(f"activations have {bits} bits; choose 1 to {MAX_DEPTH}.")
