"""The commands that measure large pictures, seams and smaller decoding, on the tiny model."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import bifocal
from bifocal.measure import MeasureError
from studies.large_pictures import mosaic as pictures
from studies.large_pictures import run as large
from studies.reduced_sizes import run as reduced
from studies.seams import run as seams
from tests.conftest import made_picture


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs a command on the tiny model and returns what it prints."""

    def call(module: ModuleType, *arguments: str) -> str:
        options = ["--model", str(tiny_folder), "--out", str(tmp_path), *arguments]
        monkeypatch.setattr(sys, "argv", ["run.py", *options])
        capsys.readouterr()
        module.main()
        assert json.loads((tmp_path / "results.json").read_text())
        return capsys.readouterr().out

    return call


def test_a_mosaic_is_made_of_its_pictures() -> None:
    plain = [np.full(shape, value, np.uint8) for value, shape in ((10, (512, 768, 3)), (20, (768, 512, 3)))]
    large = pictures.mosaic([*plain, plain[0][:100]], 900, 1500)
    assert large.shape == (900, 1500, 3) and set(np.unique(large)) == {10, 20}
    with pytest.raises(MeasureError, match="768×512"):
        pictures.mosaic([plain[0][:100]], 64, 64)
    assert pictures.made(70, 90).shape == (70, 90, 3)


def test_the_band_lies_along_borders_only() -> None:
    band = seams.border_band(130, 200, 64)
    assert band[:, 56:72].all() and band[56:72].all() and band[:, 120:136].all() and band[:, 184:200].all()
    assert not band[:56, :56].any() and not band[72:120, 72:120].any()
    assert not seams.border_band(64, 64, 64).any()


def test_seams_are_measured(run: Callable[..., str], tmp_path: Path) -> None:
    photograph = tmp_path / "photo.png"
    bifocal.write_picture(bifocal.Picture(made_picture(512, 768)), photograph)
    page = run(seams, "--pictures", str(photograph), "--mosaics", "1", "--side", "576")
    rows = [line for line in page.splitlines() if line.startswith(("| 128", "| 256", "| 512"))]
    assert len(rows) == 9 and all("nan" not in row for row in rows)


def test_smaller_decoding_is_measured(run: Callable[..., str], tmp_path: Path) -> None:
    photograph = tmp_path / "photo.png"
    bifocal.write_picture(bifocal.Picture(made_picture(100, 130)), photograph)
    page = run(reduced, "--pictures", str(photograph), "--rounds", "1", "--qualities", "80")
    assert page.count("| 80 |") == 5 and "| 1/16 |" in page


def test_large_pictures_are_measured(run: Callable[..., str], tmp_path: Path) -> None:
    figure = tmp_path / "large.png"
    page = run(large, "--sizes", "0.01", "--rounds", "1", "--figure", str(figure))
    assert "| 0.01 (122×82) |" in page and page.count(" MiB |") == 5
    assert bifocal.read_picture(figure).width > 500
