"""benchmarks/effort.py and quality_map.py on a tiny model: the tables say what the files say."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bifocal
from bifocal.measure.metrics import psnr
from bifocal.runtime.model import Model
from tests.conftest import made_picture

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in (1, 2, 3):
        Image.fromarray(made_picture(64, 128, seed=seed)).save(folder / f"{seed}.png")
    return folder


@pytest.mark.usefixtures("pictures")
def test_a_row_is_what_the_file_says(tiny_model: Model) -> None:
    effort = importlib.import_module("effort")
    pixels = made_picture(64, 128)
    row = effort.make("a", pixels, 10, 2, tiny_model)
    data = bifocal.encode(pixels, 10, model=tiny_model, effort=2)
    assert row.bpp == len(data) / 1024
    assert row.psnr == psnr(pixels, bifocal.decode(data, model=tiny_model).pixels)
    error = 255**2 / 10 ** (row.psnr / 10)
    assert row.cost == pytest.approx(row.bpp + tiny_model.price(10) * error)


@pytest.mark.usefixtures("pictures")
def test_pictures_are_spread_and_each_is_named_once() -> None:
    effort = importlib.import_module("effort")
    for count in (1, 2, 5, 24):
        assert sorted(effort.spread(count)) == list(range(count))
    assert set(effort.spread(24)[:4]) == {0, 6, 12, 18}


def test_the_table_has_a_line_for_each_effort(
    pictures: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    effort = importlib.import_module("effort")
    options = ["--data", str(pictures), "--model", str(tiny_folder), "--out", str(tmp_path), "--minutes", "0"]
    settings = ["--qualities", "1", "10", "30", "--efforts", "0", "1", "2", "--pictures", "3"]
    monkeypatch.setattr(sys, "argv", ["effort.py", *options, *settings])
    assert effort.main() == 0
    lines = [line.split("|") for line in (tmp_path / "effort.md").read_text().splitlines() if "| " in line]
    assert [line[1].strip() for line in lines[2:]] == ["0", "1", "2"]
    assert [line[3].strip() for line in lines[2:]] == ["3", "3", "2"]  # time was up: the least number
    assert lines[4][5].strip().startswith("-")  # less cost than effort 0
    worth = effort.steps(made_picture(64, 64), 30, Model.load(tiny_folder, threads=1))
    assert worth.shape == (16,) and np.isfinite(worth).all()


def test_a_map_is_compared_at_equal_bytes(tiny_model: Model, pictures: Path) -> None:
    quality_map = importlib.import_module("quality_map")
    inside = quality_map.ellipse(64, 128)
    assert inside[32, 64] and not inside[0, 0] and inside.mean() == pytest.approx(np.pi / 16, abs=0.02)
    rows = quality_map.measure(made_picture(64, 128), 1, tiny_model)
    assert len(rows) == len(quality_map.OUTSIDE) * len(quality_map.QUALITIES)
    assert all(np.isfinite(list(row.values())).all() for row in rows)
