"""Large pictures are made and measured, on the tiny model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import bifocal
from benchmarks import reporting
from bifocal.measure import MeasureError
from studies.large_pictures import mosaic as pictures
from studies.large_pictures import run as large


def test_a_mosaic_is_made_of_its_pictures() -> None:
    plain = [np.full(shape, value, np.uint8) for value, shape in ((10, (512, 768, 3)), (20, (768, 512, 3)))]
    made = pictures.mosaic([*plain, plain[0][:100]], 900, 1500)
    assert made.shape == (900, 1500, 3) and set(np.unique(made)) == {10, 20}
    with pytest.raises(MeasureError, match="768×512"):
        pictures.mosaic([plain[0][:100]], 64, 64)
    assert pictures.made(70, 90).shape == (70, 90, 3)


def test_large_pictures_are_measured(
    run_study: Callable[..., str], tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large, "NAMES", {name: large.NAMES[name] for name in ("encode", "box")})
    figure = tmp_path / "large.png"
    options = ["--sizes", "0.01", "--rounds", "1", "--figure", str(figure), "--model", str(tiny_folder)]
    page = run_study(large, *options)
    assert "| 0.01 (122×82) |" in page and page.count(" MiB |") == 2
    assert bifocal.read_picture(figure).width > 500


def test_the_page_shows_the_results() -> None:
    folder = Path(__file__).parent
    figures = [large.Figure(**figure) for figure in reporting.read_json(folder / "results.json")["figures"]]
    assert large.table(figures) in reporting.shown(folder / "README.md", "large-pictures")
    assert large.growth(figures) in reporting.shown(folder / "README.md", "large-pictures")
