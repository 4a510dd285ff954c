"""What the joint study counts and tabulates, without training anything."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from studies.joint import tables as report
from studies.joint.run import jpeg_without_tables

ROWS = [
    {"quality": 20, "bytes": 100.0, "psnr": 20.0, "accuracy": 0.5},
    {"quality": 50, "bytes": 200.0, "psnr": 22.0, "accuracy": 0.6},
    {"quality": 80, "bytes": 400.0, "psnr": 24.0, "accuracy": 0.7},
]
COST = {"label": 1.0, "picture": 2.0, "picture, then label": 4.0, "label from original pixels": 3.0}


def test_jpeg_without_tables() -> None:
    """What is left is the scan, and the mark that starts every picture."""
    buffer = io.BytesIO()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(buffer, "JPEG", quality=50)
    data = buffer.getvalue()
    scan = data.index(b"\xff\xda")
    assert jpeg_without_tables(data) == len(data) - scan + 2


def test_values_at_equal_bytes() -> None:
    assert report.at_equal(ROWS, 200.0, "psnr", "bytes") == 22.0
    assert report.at_equal(ROWS, 200.0 * 2**0.5, "accuracy", "bytes") == pytest.approx(0.65)
    assert report.at_equal(ROWS, 23.0, "bytes", "psnr") == pytest.approx(200.0 * 2**0.5)
    assert report.at_equal(ROWS, 99.0, "psnr", "bytes") is None


def test_tables_say_what_was_not_measured() -> None:
    better = [{**row, "psnr": row["psnr"] + 1.0} for row in ROWS]
    pixels = {"arm": "pixels", "seed": 0, "original": 0.8, "decoded": {"50": 0.55}, "jpeg": []}
    pixels["jpeg"] = [{**row, "bare_bytes": row["bytes"] / 4} for row in ROWS]
    figures = [{"arm": "joint", "seed": s, "rows": ROWS} for s in (0, 1)]
    figures += [pixels, {"arm": "plain", "seed": 0, "rows": better}]
    lines = report.reading_table(figures, COST).splitlines()
    assert (
        "| stream, no picture rebuilt | 200 | 60.0 | 20.0 | 1.0 | 1 |" in lines
    )  # seeds that can be compared
    assert any(
        line.startswith("| decoded pixels, classifier trained") and "not measured" in line for line in lines
    )
    assert any("without its tables" in line and "not measured" in line for line in lines)
    ablation = report.ablation_table(figures)
    assert "| without aggregation (F0 alone) | 1.00 | 0.0 | -29 | -5.0 | 1 |" in ablation
    assert "| in one step | not measured | not measured | not measured | not measured | 0 |" in ablation
    assert report.curve_table(figures).count("joint, quality") == 3
