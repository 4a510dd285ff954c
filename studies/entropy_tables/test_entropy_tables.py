"""Bits of the symbols under three families of tables, on the tiny model."""

from __future__ import annotations

from bifocal.runtime.model import Model
from studies.entropy_tables import run as tables
from tests.conftest import made_picture


def test_bits_are_counted_for_each_family(tiny_model: Model) -> None:
    found = tables.measure([made_picture(64, 130), made_picture(100, 64, seed=1)], tiny_model)
    assert set(found) == {"10", "50", "90"}
    assert all(len(bits) == 3 and min(bits) > 0 for bits in found.values())
    assert found["10"][2] < found["90"][2]
