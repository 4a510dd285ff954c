"""Bjontegaard deltas: how far apart two rate-distortion curves lie, in percent of rate or in dB.

Bjontegaard's idea (VCEG-M33, 2001) with Akima's interpolation (J. ACM 17, 1970) in place of the cubic fit,
which is what current comparisons use: Akima follows the points without swinging between them. Log rate is
interpolated as a function of quality and the two curves are averaged over the quality range they share.
Each piece of the interpolant is a cubic, so its integral is exact. End slopes are Akima's own: two
extrapolated slopes a side.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bifocal.measure import MeasureError
from bifocal.measure.metrics import ms_ssim_db


@dataclass(frozen=True)
class Curve:
    """Rate-distortion points of one codec: bits per pixel and quality in dB, in any order, at least three.

    >>> Curve("ours", (0.5, 0.25, 1.0), (33.0, 30.0, 36.0)).psnr
    (33.0, 30.0, 36.0)
    """

    name: str
    bpp: tuple[float, ...]
    psnr: tuple[float, ...]

    @property
    def points(self) -> list[tuple[float, float]]:
        """Pairs of bits per pixel and quality."""
        return list(zip(self.bpp, self.psnr, strict=True))


def curve_of(name: str, points: Sequence[tuple[float, float]]) -> Curve:
    """A curve from (bpp, psnr) pairs."""
    return Curve(name, tuple(p[0] for p in points), tuple(p[1] for p in points))


def load_anchor(path: Path, name: str | None = None, *, metric: str = "psnr") -> Curve:
    """A published curve: a JSON file with ``results.bpp`` and ``results.psnr-rgb`` (CompressAI's layout).

    With ``metric="ms_ssim"`` quality is ``results.ms-ssim-rgb`` in dB. Raises MeasureError when the file
    does not hold the figures.
    """
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        results = entry["results"]
        bpp = results["bpp"]
        quality = (
            [ms_ssim_db(value) for value in results["ms-ssim-rgb"]]
            if metric == "ms_ssim"
            else results["psnr-rgb"]
        )
        return Curve(name or str(entry["name"]), tuple(map(float, bpp)), tuple(map(float, quality)))
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise MeasureError(f"{path} does not hold a published curve ({fault!r}). Copy it again.") from fault


def bd_rate(anchor: Curve, test: Curve) -> float:
    """How many percent more bits ``test`` needs than ``anchor`` for the same quality; negative means fewer.

    The mean is over the range of quality that both curves reach. Raises MeasureError when there is none, or
    when a curve has fewer than three points or two points of equal quality.

    >>> a = Curve("a", (0.25, 0.5, 1.0, 2.0), (30.0, 33.0, 36.0, 39.0))
    >>> b = Curve("b", (0.3, 0.6, 1.2, 2.4), (30.0, 33.0, 36.0, 39.0))
    >>> round(bd_rate(a, b), 6)
    20.0
    """
    delta = _mean_gap(anchor, test, across="psnr")
    return (math.exp(delta) - 1.0) * 100.0


def bd_psnr(anchor: Curve, test: Curve) -> float:
    """How many dB ``test`` lies above ``anchor`` at the same rate, averaged over the log rates both reach.

    Raises MeasureError as :func:`bd_rate` does.

    >>> a = Curve("a", (0.25, 0.5, 1.0, 2.0), (30.0, 33.0, 36.0, 39.0))
    >>> b = Curve("b", (0.25, 0.5, 1.0, 2.0), (30.5, 33.5, 36.5, 39.5))
    >>> round(bd_psnr(a, b), 6)
    0.5
    """
    return _mean_gap(anchor, test, across="rate")


def common_range(anchor: Curve, test: Curve) -> tuple[float, float]:
    """The range of quality in dB that both curves reach; empty when the first is not below the second."""
    return max(min(anchor.psnr), min(test.psnr)), min(max(anchor.psnr), max(test.psnr))


def _mean_gap(anchor: Curve, test: Curve, across: str) -> float:
    pieces = []
    for curve in (anchor, test):
        if len(curve.bpp) != len(curve.psnr) or not all(bpp > 0.0 for bpp in curve.bpp):
            raise MeasureError(
                f"The curve of {curve.name} has a point without bits or without quality. Leave it out."
            )
        rate, quality = np.log(np.asarray(curve.bpp, np.float64)), np.asarray(curve.psnr, np.float64)
        x, y = (quality, rate) if across == "psnr" else (rate, quality)
        pieces.append(_Akima.through(curve.name, x, y))
    low = max(p.x[0] for p in pieces)
    high = min(p.x[-1] for p in pieces)
    if not low < high:
        raise MeasureError(
            f"{anchor.name} and {test.name} share no range of "
            f"{'quality' if across == 'psnr' else 'rate'}, so there is nothing to average over. "
            "Measure points closer together."
        )
    return (pieces[1].integral(low, high) - pieces[0].integral(low, high)) / float(high - low)


@dataclass(frozen=True)
class _Akima:
    """A piecewise cubic y(x) through points of increasing x, with slope ``d`` at each."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    d: NDArray[np.float64]

    @staticmethod
    def through(name: str, x: NDArray[np.float64], y: NDArray[np.float64]) -> _Akima:
        order = np.argsort(x, kind="stable")
        x, y = x[order], y[order]
        if len(x) < 3 or not (np.isfinite(x).all() and np.isfinite(y).all()) or (np.diff(x) <= 0).any():
            raise MeasureError(
                f"The curve of {name} cannot be interpolated: it needs at least three points, finite "
                "and all different. Leave out lossless and repeated points."
            )
        m = np.diff(y) / np.diff(x)
        m = np.concatenate([[0.0, 0.0], m, [0.0, 0.0]])
        m[1], m[-2] = 2.0 * m[2] - m[3], 2.0 * m[-3] - m[-4]
        m[0], m[-1] = 2.0 * m[1] - m[2], 2.0 * m[-2] - m[-3]
        bend = np.abs(np.diff(m))
        left, right = bend[2:], bend[:-2]
        total = left + right
        # Where the curve is straight on both sides the weights vanish and Akima takes the mean of the slopes.
        straight = total <= 1e-9 * total.max(initial=0.0)
        safe = np.where(straight, 1.0, total)
        d = np.where(straight, 0.5 * (m[1:-2] + m[2:-1]), (left * m[1:-2] + right * m[2:-1]) / safe)
        return _Akima(x, y, d)

    def integral(self, low: float, high: float) -> float:
        """The exact integral from ``low`` to ``high``, both inside the range of the points."""
        h = np.diff(self.x)
        slope = np.diff(self.y) / h
        c2 = (3.0 * slope - 2.0 * self.d[:-1] - self.d[1:]) / h
        c3 = (self.d[:-1] + self.d[1:] - 2.0 * slope) / h**2
        start = np.clip(low - self.x[:-1], 0.0, h)
        stop = np.clip(high - self.x[:-1], 0.0, h)

        def primitive(t: NDArray[np.float64]) -> NDArray[np.float64]:
            return t * (self.y[:-1] + t * (self.d[:-1] / 2.0 + t * (c2 / 3.0 + t * c3 / 4.0)))

        return float((primitive(stop) - primitive(start)).sum())
