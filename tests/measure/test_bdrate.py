"""BD-rate against published comparisons, against numbers worked out by hand, and against quadrature."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bifocal.measure import MeasureError
from bifocal.measure.bdrate import Curve, _Akima, bd_psnr, bd_rate, common_range, load_anchor

ANCHORS = Path(__file__).parents[2] / "benchmarks" / "anchors" / "kodak"


@pytest.mark.parametrize(
    ("file", "percent"),
    [  # BD-rates that the `bjontegaard` package gives (Akima): benchmarks/anchors/README.md
        ("jpeg", 208.5),
        ("jpeg2000", 97.9),
        ("webp", 78.8),
        ("compressai-bmshj2018-factorized_mse_cpu", 68.0),
        ("compressai-bmshj2018-hyperprior_mse_cpu", 30.5),
        ("hm", 23.3),
        ("bpg_444_x265_ycbcr", 22.0),
        ("compressai-mbt2018-mean_mse_cpu", 21.3),
        ("av1", 16.2),
        ("compressai-mbt2018_mse_cpu", 11.0),
        ("compressai-cheng2020-attn_mse_cpu", 5.5),
        ("compressai-cheng2020-anchor_mse_cpu", 3.6),
        ("paper-minnen2020-cc10_mse", 1.1),
        ("paper-elic2022_mse", -7.1),
    ],
)
def test_bd_rate_against_vtm_as_published(file: str, percent: float) -> None:
    rate = bd_rate(load_anchor(ANCHORS / "vtm.json"), load_anchor(ANCHORS / f"{file}.json"))
    assert rate == pytest.approx(percent, abs=0.06)


def test_weconvene_against_vtm_from_the_points_of_its_readme() -> None:
    points = ((0.163, 30.07), (0.203, 30.88), (0.309, 32.53), (0.452, 34.29), (0.637, 36.04), (0.897, 37.96))
    weconvene = Curve("WeConvene", *zip(*points, strict=True))
    assert bd_rate(load_anchor(ANCHORS / "vtm.json"), weconvene) == pytest.approx(-8.4, abs=0.06)


def test_akima_slopes_and_integral_by_hand() -> None:
    # Slopes between points 1, 2, 4; extrapolated 0, -1 on the left, 6, 8 on the right. All bends are 1 or 2.
    x, y = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 1.0, 3.0, 7.0])
    akima = _Akima.through("hand", x, y)
    # d0 = (|2-1|·0 + |0-(-1)|·1)/2 = .5; d1 = (|4-2|·1 + |1-0|·2)/3 = 4/3; d2 = (|6-4|·2 + |2-1|·4)/3 = 8/3;
    # d3 = (|8-6|·4 + |4-2|·6)/4 = 5
    np.testing.assert_allclose(akima.d, [0.5, 4 / 3, 8 / 3, 5.0], rtol=1e-12)
    # A Hermite piece of length 1 holds (y0 + y1)/2 + (d0 - d1)/12.
    pieces = [0.5 + (0.5 - 4 / 3) / 12, 2.0 + (4 / 3 - 8 / 3) / 12, 5.0 + (8 / 3 - 5) / 12]
    assert akima.integral(0.0, 3.0) == pytest.approx(sum(pieces), abs=1e-12)
    assert akima.integral(1.0, 2.0) == pytest.approx(pieces[1], abs=1e-12)


def test_a_straight_line_stays_straight() -> None:
    x = np.array([0.0, 0.5, 2.0, 3.0, 7.0])
    akima = _Akima.through("line", x, 2.0 * x + 1.0)
    np.testing.assert_allclose(akima.d, 2.0)
    assert akima.integral(0.25, 6.5) == pytest.approx(6.5**2 + 6.5 - 0.25**2 - 0.25)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.05, 3.0), min_size=4, max_size=12), st.integers(0, 2**32 - 1))
def test_integrals_add_up_and_match_quadrature(steps: list[float], seed: int) -> None:
    x = np.cumsum(steps)
    y = np.random.default_rng(seed).normal(size=len(x)).cumsum()
    akima = _Akima.through("random", x, y)
    middle = float(x[0] + 0.37 * (x[-1] - x[0]))
    whole = akima.integral(float(x[0]), float(x[-1]))
    parts = akima.integral(float(x[0]), middle) + akima.integral(middle, float(x[-1]))
    assert whole == pytest.approx(parts, abs=1e-9)
    # three Gauss points a piece are exact for cubics
    nodes, weights = np.polynomial.legendre.leggauss(3)
    total = 0.0
    for i in range(len(x) - 1):
        h = x[i + 1] - x[i]
        t = (nodes + 1) / 2
        hermite = (
            y[i] * (1 + 2 * t) * (1 - t) ** 2
            + akima.d[i] * h * t * (1 - t) ** 2
            + y[i + 1] * t**2 * (3 - 2 * t)
            + akima.d[i + 1] * h * t**2 * (t - 1)
        )
        total += h / 2 * float(weights @ hermite)
    assert whole == pytest.approx(total, abs=1e-8 * max(1.0, abs(total)))


@settings(max_examples=60, deadline=None)
@given(st.floats(0.2, 5.0), st.integers(0, 2**32 - 1))
def test_a_scaled_rate_gives_its_percentage_and_the_inverse_undoes_it(scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    quality = np.cumsum(rng.uniform(0.5, 4.0, 6)) + 25
    rate = np.exp(np.cumsum(rng.uniform(0.1, 0.8, 6)) - 3)
    a = Curve("a", tuple(rate), tuple(quality))
    b = Curve("b", tuple(scale * rate), tuple(quality))
    there, back = bd_rate(a, b), bd_rate(b, a)
    assert there == pytest.approx((scale - 1) * 100, rel=1e-9, abs=1e-9)
    assert (1 + there / 100) * (1 + back / 100) == pytest.approx(1.0)
    shifted = Curve("c", tuple(rate), tuple(quality + 0.3))
    assert bd_psnr(a, shifted) == pytest.approx(0.3)


def test_order_of_points_does_not_matter() -> None:
    a = Curve("a", (0.2, 0.5, 1.0, 2.0), (28.0, 31.0, 34.0, 38.0))
    b = Curve("b", (0.3, 0.7, 1.1, 2.3), (28.5, 31.5, 33.0, 37.0))
    reverse = Curve("b", b.bpp[::-1], b.psnr[::-1])
    assert bd_rate(a, b) == bd_rate(a, reverse)
    assert common_range(a, b) == (28.5, 37.0)


@pytest.mark.parametrize(
    "test",
    [
        Curve("two points", (0.1, 0.2), (28.0, 30.0)),
        Curve("repeated quality", (0.1, 0.2, 0.3), (28.0, 28.0, 30.0)),
        Curve("lossless", (0.1, 0.2, 0.3), (28.0, 30.0, math.inf)),
        Curve("empty file", (0.0, 0.2, 0.3), (28.0, 29.0, 30.0)),
        Curve("elsewhere", (0.1, 0.2, 0.3), (48.0, 49.0, 50.0)),
    ],
)
def test_curves_that_cannot_be_compared_are_refused(test: Curve) -> None:
    anchor = Curve("anchor", (0.1, 0.2, 0.4), (27.0, 30.0, 33.0))
    with pytest.raises(MeasureError):
        bd_rate(anchor, test)
