"""The tables of effort say what the files say, on a tiny model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bifocal
from bifocal.measure.metrics import psnr
from bifocal.runtime.model import Model
from studies.effort import run as effort
from tests.conftest import made_picture


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in (1, 2, 3):
        Image.fromarray(made_picture(64, 128, seed=seed)).save(folder / f"{seed}.png")
    return folder


def test_a_row_is_what_the_file_says(tiny_model: Model) -> None:
    pixels = made_picture(64, 128)
    row = effort.make("a", pixels, 10, 2, tiny_model)
    data = bifocal.encode(pixels, 10, model=tiny_model, effort=2)
    assert row.bpp == len(data) / 1024
    assert row.psnr == psnr(pixels, bifocal.decode(data, model=tiny_model).pixels)
    error = 255**2 / 10 ** (row.psnr / 10)
    assert row.cost == pytest.approx(row.bpp + tiny_model.price(10) * error)


def test_pictures_are_spread_and_each_is_named_once() -> None:
    for count in (1, 2, 5, 24):
        assert sorted(effort.spread(count)) == list(range(count))
    assert set(effort.spread(24)[:4]) == {0, 6, 12, 18}


def test_the_table_has_a_line_for_each_effort(
    pictures: Path,
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--data", str(pictures), "--model", str(tiny_folder), "--out", str(tmp_path), "--minutes", "0"]
    settings = ["--qualities", "1", "10", "30", "--efforts", "0", "1", "2", "--pictures", "3"]
    monkeypatch.setattr(sys, "argv", ["effort.py", *options, *settings])
    effort.main()
    assert len(json.loads((tmp_path / "results.json").read_text())["rows"]) == 24
    lines = [line.split("|") for line in capsys.readouterr().out.splitlines() if "| " in line]
    assert [line[1].strip() for line in lines[2:]] == ["0", "1", "2"]
    assert [line[3].strip() for line in lines[2:]] == ["3", "3", "2"]  # time was up: the least number
    assert lines[4][5].strip().startswith("-")  # less cost than effort 0
    worth = effort.steps(made_picture(64, 64), 30, Model.load(tiny_folder, threads=1))
    assert worth.shape == (16,) and np.isfinite(worth).all()
