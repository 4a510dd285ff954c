"""The cost of exactness is the BD-rate of one run over the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import reporting
from bifocal.measure.bdrate import bd_rate, curve_of
from studies.exactness_cost import run as cost

FOLDER = Path(__file__).parent


def test_the_page_shows_the_results() -> None:
    result = reporting.read_json(FOLDER / "results.json")
    rows, steps = result["validation"], result["runs"]["exact"]["steps"]
    curves = (curve_of(k, [(r["bpp"], r["psnr"]) for r in rows[k]]) for k in ("float", "exact"))
    assert bd_rate(*curves) == pytest.approx(result["bd_rate_percent"])
    text = cost.report(rows, steps, result["bd_rate_percent"])
    assert text == reporting.shown(FOLDER / "README.md", "exactness-cost")
