"""Tables: integers that the coder keeps exactly."""

from __future__ import annotations

import math
from collections.abc import Callable

import constriction
import numpy as np
import pytest

from bifocal.errors import ModelError
from bifocal.stream.coder import TOTAL, Tables
from bifocal.stream.tables import gaussian_tables, logistic_tables, scale_ladder

GAUSSIAN = gaussian_tables(scale_ladder())
LOGISTIC = logistic_tables(scale_ladder(64, 0.11, 128.0))
AWKWARD = Tables(
    np.array(
        [[1, 1, 65533, 1], [65533, 1, 1, 1], [1, 65535, 0, 0], [21845, 21845, 21845, 1]], dtype=np.int32
    ),
    np.array([1, 1, 0, 1], dtype=np.int32),
)


def _entry_at(model: object, quantile: int) -> int:
    """The entry that the coder decodes when the low 24 bits of its state are ``quantile``."""
    coder = constriction.stream.stack.AnsCoder(np.array([quantile, 1], dtype=np.uint32))
    return int(coder.decode(model))


@pytest.mark.parametrize("tables", [GAUSSIAN, LOGISTIC, AWKWARD], ids=["gaussian", "logistic", "awkward"])
def test_the_coder_keeps_every_boundary(tables: Tables) -> None:
    for row, radius, model in zip(tables.frequency, tables.radius, tables.models, strict=True):
        stop = 0
        for entry, frequency in enumerate(row[: 2 * radius + 2].tolist()):
            start, stop = stop, stop + 256 * frequency
            assert _entry_at(model, start) == entry
            assert _entry_at(model, stop - 1) == entry
        assert stop == 1 << 24


@pytest.mark.parametrize("tables", [GAUSSIAN, LOGISTIC], ids=["gaussian", "logistic"])
def test_families_are_symmetric_and_fall_from_the_middle(tables: Tables) -> None:
    for row, radius in zip(tables.frequency, tables.radius, strict=True):
        symbols = row[: 2 * radius + 1]
        assert (symbols == symbols[::-1]).all()
        assert (np.diff(symbols[radius:]) <= 1).all()  # one unit of rounding


def gaussian(x: float, scale: float) -> float:
    return 0.5 * math.erf(x / scale / math.sqrt(2))


def logistic(x: float, scale: float) -> float:
    return 0.5 * math.tanh(0.5 * x * math.pi / (scale * math.sqrt(3)))


@pytest.mark.parametrize(
    ("make", "cumulative"),
    [(gaussian_tables, gaussian), (logistic_tables, logistic)],
    ids=["gaussian", "logistic"],
)
def test_families_lose_almost_nothing_to_integers(
    make: Callable[[np.ndarray], Tables], cumulative: Callable[[float, float], float]
) -> None:
    scales = scale_ladder(24, 0.11, 50.0)
    tables = make(scales)
    for scale, row, radius in zip(scales, tables.frequency, tables.radius, strict=True):
        p = np.diff([cumulative(k - 0.5, scale) for k in range(-radius, radius + 2)])
        p = np.maximum(p, 1e-300)
        loss = (p * np.log2(p * TOTAL / row[: 2 * radius + 1])).sum()
        assert loss < 0.004


@pytest.mark.parametrize("tables", [GAUSSIAN, LOGISTIC], ids=["gaussian", "logistic"])
def test_rates_rise_with_scale(tables: Tables) -> None:
    rates = [-(p[p > 0] * np.log2(p[p > 0])).sum() for p in tables.frequency / TOTAL]
    assert (np.diff(rates) >= 0).all()


def test_bits_count_escapes() -> None:
    tables = Tables(np.array([[16384, 16384, 16384, 16384]], np.int32), np.array([1], np.int32))
    index = np.zeros(1, np.uint8)
    assert tables.bits(np.array([0]), index) == 2
    assert tables.bits(np.array([-2]), index) == 2 + 2  # sign, and m = 1 in one bit
    assert tables.bits(np.array([5]), index) == 2 + 1 + 5  # m = 4: two zeros, then 100


@pytest.mark.parametrize(
    ("frequency", "radius"),
    [
        ([[1, 2, 3, 4]], [1]),  # does not sum to 2^16
        ([[0, 65000, 500, 36]], [1]),  # an impossible symbol
        ([[-1, 65000, 501, 36]], [1]),
        ([[65535, 1, 0, 0]], [1]),  # too short for its radius
        ([[65535, 1]], [1]),
        ([[65535, 1, 0]], [0]),  # wider than its largest radius
        ([[65000, 500, 36, 0]], [0]),
        ([[65535, 1]], [-1]),
    ],
)
def test_incomplete_tables_are_refused(frequency: list[list[int]], radius: list[int]) -> None:
    with pytest.raises(ModelError, match="table"):
        Tables(np.array(frequency, dtype=np.int32), np.array(radius, dtype=np.int32))
