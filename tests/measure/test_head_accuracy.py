"""benchmarks/head_accuracy.py counts what a head says of real streams."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bifocal


def test_shares_are_those_of_the_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    import head_accuracy

    said = []
    for number, folder in enumerate(("a", "a", "b", "b")):
        pixels = np.random.default_rng(number).integers(0, 256, (20 + number, 64, 3), dtype=np.uint8)
        (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "data" / folder / f"{number}.png")
        said.append(bifocal.analyse(bifocal.encode(pixels, 10)).name)
    names = tmp_path / "names.tsv"
    names.write_text(f"a\t{said[0]}\nb\tsomething else\n")
    arguments = ["--data", str(tmp_path / "data"), "--names", str(names), "--out", str(tmp_path / "out")]
    head_accuracy.main([*arguments, "--sizes", "64", "--windows", "2", "4"])
    told = json.loads((tmp_path / "out" / "head_accuracy.json").read_text())
    assert told["pictures"] == 4 and len(told["top1"]) == 6
    assert told["top1"]["quality 10"] == said[:2].count(said[0]) / 4
    assert "64×64 pixels, quality 60, windows of 2×2" in told["top1"]
    assert "windows of 4×4" in (tmp_path / "out" / "head_accuracy.md").read_text(encoding="utf-8")
