"""Tables: integers that the coder keeps exactly."""

from __future__ import annotations

import math

import constriction
import numpy as np
import pytest

from bifocal.errors import ModelError
from bifocal.stream.tables import TOTAL, Tables, gaussian_tables, scale_ladder

SHIPPED_LADDER = gaussian_tables(scale_ladder())
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


@pytest.mark.parametrize("tables", [SHIPPED_LADDER, AWKWARD], ids=["ladder", "awkward"])
def test_the_coder_keeps_every_boundary(tables: Tables) -> None:
    for row, radius, model in zip(tables.frequency, tables.radius, tables.models, strict=True):
        stop = 0
        for entry, frequency in enumerate(row[: 2 * radius + 2].tolist()):
            start, stop = stop, stop + 256 * frequency
            assert _entry_at(model, start) == entry
            assert _entry_at(model, stop - 1) == entry
        assert stop == 1 << 24


def test_gaussians_are_symmetric_and_fall_from_the_middle() -> None:
    for row, radius in zip(SHIPPED_LADDER.frequency, SHIPPED_LADDER.radius, strict=True):
        symbols = row[: 2 * radius + 1]
        assert (symbols == symbols[::-1]).all()
        assert (np.diff(symbols[radius:]) <= 0).all()


def test_gaussians_lose_almost_nothing_to_integers() -> None:
    for scale, row, radius in zip(
        scale_ladder(), SHIPPED_LADDER.frequency, SHIPPED_LADDER.radius, strict=True
    ):
        edges = np.arange(-radius, radius + 2) - 0.5
        p = np.diff([0.5 * math.erf(e / scale / math.sqrt(2)) for e in edges])
        p = np.maximum(p, 1e-300)
        loss = (p * np.log2(p * TOTAL / row[: 2 * radius + 1])).sum()
        assert loss < 0.004


def test_rates_rise_with_scale() -> None:
    entropy = [
        -sum(f / TOTAL * math.log2(f / TOTAL) for f in row[row > 0].tolist())
        for row in SHIPPED_LADDER.frequency
    ]
    assert (np.diff(entropy) >= 0).all()


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
