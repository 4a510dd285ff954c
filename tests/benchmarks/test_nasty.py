"""benchmarks/nasty.py on four files: what is accepted is compared, what is refused is listed under why."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bifocal
from tests.conftest import made_picture

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="it forks, with limits as Linux has them")
def test_the_outcome_of_each_file_is_listed(tiny_folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    photo = bifocal.Picture(made_picture(64, 96))
    bifocal.write_picture(photo, data / "photo.png")
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(data / "deep.png")
    Image.new("CMYK", (8, 8)).save(data / "ink.jpg")
    (data / "cut.png").write_bytes((data / "photo.png").read_bytes()[:200])
    (data / "index.tsv").write_text("not a picture, and not one of the files\n")
    options = ["--data", data, "--model", tiny_folder, "--seconds", "60", "--quality", "90"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.nasty", *options, "--out", tmp_path],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "nasty.json").read_text())
    results = {row["file"]: row["result"] for row in record["rows"]}
    assert results == {
        "cut.png": "refused", "deep.png": "accepted", "ink.jpg": "refused", "photo.png": "accepted"
    }  # fmt: skip
    rows = {row["file"]: row for row in record["rows"]}
    assert rows["photo.png"]["itself"] and rows["photo.png"]["pixels_off"] == 0 and not record["broken"]
    page = (tmp_path / "nasty.md").read_text()
    assert "4 files: 2 coded, 2 refused, 0 otherwise" in page
    assert "**Refused: cut short** (1)\n\n`cut.png`" in page
    assert "more than 8 bits a channel: rounded to 8 bits with a warning** (1)\n\n`deep.png`" in page
