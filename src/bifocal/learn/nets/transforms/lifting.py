"""Wavelets by lifting: Haar, 5/3 and 9/7 along any axes of a tensor, in levels, for any size from 1 up.

A wavelet here is a list of lifting steps and nothing else: the inverse runs the same list backwards, so it
cannot disagree with the forward transform (Sweldens 1996; 5/3 and 9/7 as in JPEG 2000, ISO 15444-1 annex F).
Signals end by whole-sample symmetric extension, which in lifting means that a missing neighbour is its mirror
image. Scales follow PyWavelets: the low band of a constant is √2 times that constant an axis, so Haar is
orthonormal; 5/3 and 9/7 are not, and :func:`synthesis_gains` says by how much. WeConvene (arXiv 2407.09983)
and 3DM-WeConvene (2504.04658) name these three; the released transform of the first works for Haar only.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Step:
    """Add ``left`` and ``right`` times the two neighbours to every odd sample, or to every even one."""

    odd: bool
    left: float
    right: float


@dataclass(frozen=True)
class Wavelet:
    """Lifting ``steps``; then even samples times ``low`` are the low band, odd by −``low`` the high band."""

    name: str
    steps: tuple[Step, ...]
    low: float


HAAR = Wavelet("haar", (Step(True, -1, 0), Step(False, 0, 0.5)), math.sqrt(2))
CDF53 = Wavelet("5/3", (Step(True, -0.5, -0.5), Step(False, 0.25, 0.25)), math.sqrt(2))
_A, _B, _C, _D = -1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971
CDF97 = Wavelet(
    "9/7",
    (Step(True, _A, _A), Step(False, _B, _B), Step(True, _C, _C), Step(False, _D, _D)),
    1.149604398860241,
)
WAVELETS = {w.name: w for w in (HAAR, CDF53, CDF97)}
_HALF = math.sqrt(0.5)
_MOVED = (0, 3, 1, 2)  # where the axes of [b, c, h, w] are in [b, h, w, c]


def _channels_last(x: Tensor) -> bool:
    """Whether ``x`` lies in memory as ``[b, h, w, c]``: results then do too, as convolutions like it."""
    return x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def _along(x: Tensor, axis: int, start: int | None, stop: int | None, step: int = 1) -> Tensor:
    """``x[start:stop:step]`` along ``axis``."""
    return x[(slice(None),) * axis + (slice(start, stop, step),)]


def _neighbours(x: Tensor, target: Tensor, odd: bool, axis: int) -> tuple[Tensor, Tensor]:
    """Left and right neighbours, out of ``x``, of the odd (or even) samples ``target``, along ``axis``.

    Slices and not an index, so that layouts survive, gradients are cheap and exported graphs short.
    """
    n, count = x.shape[axis], target.shape[axis]
    if odd:  # even samples 0 .. n-1 stand around count = n or n-1 odd ones
        if n > count:
            return _along(x, axis, None, -1), _along(x, axis, 1, None)
        return x, torch.cat([_along(x, axis, 1, None), _along(x, axis, -1, None)], axis)
    left = torch.cat([_along(x, axis, None, 1), _along(x, axis, None, count - 1)], axis)
    return left, x if n == count else torch.cat([x, _along(x, axis, -1, None)], axis)


def _apply(
    step: Step, even: Tensor, odd: Tensor, sign: int, integer: bool, axis: int
) -> tuple[Tensor, Tensor]:
    target, source = (odd, even) if step.odd else (even, odd)
    if source.shape[axis] and target.shape[axis]:
        left, right = _neighbours(source, target, step.odd, axis)
        if integer:  # rounded half up in quarters: 5/3 is then the reversible transform of JPEG 2000
            change = (left * round(4 * step.left) + right * round(4 * step.right) + 2).div(
                4, rounding_mode="floor"
            )
            target = target + sign * change
        elif step.left == step.right:
            target = torch.add(target, left + right, alpha=sign * step.left)
        else:
            target = target + sign * (left * step.left + right * step.right)
    return (even, target) if step.odd else (target, odd)


def split(x: Tensor, axis: int, wavelet: Wavelet = HAAR, *, integer: bool = False) -> tuple[Tensor, Tensor]:
    """Low and high band of ``x`` along ``axis``: of ``n`` samples, ``ceil(n/2)`` and ``floor(n/2)``.

    ``integer`` leaves out the scales and rounds every step, mapping integers (of any dtype that holds them)
    to integers; it needs steps in quarters, which Haar and 5/3 have. Raises ``ValueError`` for 9/7 then.

    >>> split(torch.tensor([4.0, 4.0, 8.0]), 0, CDF53, integer=True)
    (tensor([3., 7.]), tensor([-2.]))
    """
    _check(wavelet, integer)
    axis %= x.ndim
    if _channels_last(x):
        low, high = split(x.movedim(1, -1), _MOVED[axis], wavelet, integer=integer)
        return low.movedim(-1, 1), high.movedim(-1, 1)
    if x.shape[axis] % 2:
        even, odd = _along(x, axis, 0, None, 2), _along(x, axis, 1, None, 2)
    else:
        even, odd = x.unflatten(axis, (-1, 2)).unbind(axis + 1)
        if wavelet is HAAR and not integer:
            return (even + odd) * _HALF, (even - odd) * _HALF
    for step in wavelet.steps:
        even, odd = _apply(step, even, odd, 1, integer, axis)
    return (even, odd) if integer else (even * wavelet.low, odd * (-1 / wavelet.low))


def merge(low: Tensor, high: Tensor, axis: int, wavelet: Wavelet = HAAR, *, integer: bool = False) -> Tensor:
    """Inverse of :func:`split`: exact for integers, up to rounding for floats."""
    _check(wavelet, integer)
    axis %= low.ndim
    if _channels_last(low):
        halves = low.movedim(1, -1), high.movedim(1, -1)
        return merge(*halves, _MOVED[axis], wavelet, integer=integer).movedim(-1, 1)
    paired = low.shape[axis] == high.shape[axis]
    if wavelet is HAAR and not integer and paired:
        low, high = low * _HALF, high * _HALF
        even, odd = low + high, low - high
    else:
        even, odd = (low, high) if integer else (low / wavelet.low, high * -wavelet.low)
        for step in reversed(wavelet.steps):
            even, odd = _apply(step, even, odd, -1, integer, axis)
    both = torch.stack([_along(even, axis, None, odd.shape[axis]), odd], axis + 1).flatten(axis, axis + 1)
    return both if paired else torch.cat([both, _along(even, axis, -1, None)], axis)


def _check(wavelet: Wavelet, integer: bool) -> None:
    if integer and any(4 * w % 1 for step in wavelet.steps for w in (step.left, step.right)):
        raise ValueError(f"the {wavelet.name} wavelet has no integer form here: choose Haar or 5/3")


@dataclass(frozen=True)
class Pyramid:
    """Bands of a multi-level transform: ``low``, and a level's high bands in each of ``high``, finest first.

    For ``n`` axes a level has ``2^n − 1`` high bands. With the axes (rows, columns) they are LH, HL, HH; LH
    is low from row to row and high from column to column, as in WeConvene.
    """

    low: Tensor
    high: tuple[tuple[Tensor, ...], ...]


def decompose(
    x: Tensor,
    wavelet: Wavelet = HAAR,
    *,
    levels: int = 1,
    axes: Sequence[int] = (-2, -1),
    integer: bool = False,
) -> Pyramid:
    """Wavelet pyramid of ``x`` over ``axes``; each level splits the low band of the one before.

    Three axes, the channels among them, give the 3-D transform of 3DM-WeConvene.

    >>> x = torch.randn(1, 2, 5, 7)
    >>> torch.allclose(recompose(decompose(x, CDF97, levels=2), CDF97), x, atol=1e-5)
    True
    """
    high = []
    for _ in range(levels):
        bands = [x]
        for axis in axes:
            bands = [half for band in bands for half in split(band, axis, wavelet, integer=integer)]
        x = bands[0]
        high.append(tuple(bands[1:]))
    return Pyramid(x, tuple(high))


def recompose(
    pyramid: Pyramid, wavelet: Wavelet = HAAR, *, axes: Sequence[int] = (-2, -1), integer: bool = False
) -> Tensor:
    """Inverse of :func:`decompose` with the same wavelet and axes."""
    x = pyramid.low
    for high in reversed(pyramid.high):
        bands = [x, *high]
        for axis in reversed(axes):
            bands = [
                merge(low, odd, axis, wavelet, integer=integer)
                for low, odd in zip(bands[0::2], bands[1::2], strict=True)
            ]
        x = bands[0]
    return x


def synthesis_gains(wavelet: Wavelet, *, levels: int = 1, axes: int = 2) -> list[tuple[float, ...]]:
    """How much a unit error in a coefficient of each band adds to the signal, as a Euclidean norm.

    The first entry is ``(low,)``, then the high bands of each level, finest first, in the order of
    :class:`Pyramid`. Coefficients multiplied by their band's gain may share one quantiser step: a must for
    5/3, whose gains at one level go from 0.75 to 1.44, and nothing to do for Haar, where all are 1.

    >>> [round(g, 3) for g in synthesis_gains(CDF53)[1]]
    [1.038, 1.038, 1.438]
    """
    n = 64 << levels
    lows: list[float] = [1.0]
    highs: list[float] = []
    zero = decompose(torch.zeros(n, dtype=torch.float64), wavelet, levels=levels, axes=(0,))
    for level in range(levels):
        for is_high in (False, True):
            size = n >> (level + 1)
            unit = torch.zeros(size, dtype=torch.float64)
            unit[size // 2] = 1
            detail = tuple((torch.zeros_like(h[0]),) for h in zero.high[: level + 1])
            pyramid = Pyramid(unit, detail)
            if is_high:
                pyramid = Pyramid(torch.zeros_like(unit), (*detail[:-1], (unit,)))
            norm = float(recompose(pyramid, wavelet, axes=(0,)).norm())
            (highs if is_high else lows).append(norm)
    gains: list[tuple[float, ...]] = [(lows[levels] ** axes,)]
    for level in range(levels):
        choices = itertools.product((lows[level + 1], highs[level]), repeat=axes)
        gains.append(tuple(math.prod(choice) for choice in choices)[1:])
    return gains
