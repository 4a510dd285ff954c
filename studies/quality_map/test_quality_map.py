"""A quality map is compared at equal bytes, on a tiny model."""

from __future__ import annotations

import numpy as np
import pytest

from bifocal.runtime.model import Model
from studies.quality_map import run as quality_map
from tests.conftest import made_picture


def test_a_map_is_compared_at_equal_bytes(tiny_model: Model) -> None:
    inside = quality_map.ellipse(64, 128)
    assert inside[32, 64] and not inside[0, 0] and inside.mean() == pytest.approx(np.pi / 16, abs=0.02)
    rows = quality_map.measure(made_picture(64, 128), 1, tiny_model)
    assert len(rows) == len(quality_map.OUTSIDE) * len(quality_map.QUALITIES)
    assert all(np.isfinite(list(row.values())).all() for row in rows)
