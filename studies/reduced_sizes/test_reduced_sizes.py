"""Smaller decoding is timed and compared with averages, on the tiny model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bifocal
from benchmarks import reporting
from studies.reduced_sizes import run as reduced
from tests.conftest import made_picture


def test_smaller_decoding_is_measured(
    run_study: Callable[..., str], tiny_folder: Path, tmp_path: Path
) -> None:
    photograph = tmp_path / "photo.png"
    bifocal.write_picture(bifocal.Picture(made_picture(100, 130)), photograph)
    options = ["--rounds", "1", "--qualities", "80", "--model", str(tiny_folder)]
    page = run_study(reduced, "--pictures", photograph, *options)
    assert page.count("| 80 |") == 5 and "| 1/16 |" in page


def test_the_page_shows_the_results() -> None:
    folder = Path(__file__).parent
    rows = reporting.read_json(folder / "results.json")["rows"]
    assert reduced.table(rows) in reporting.shown(folder / "README.md", "reduced-sizes")
