"""Shares are those of the head, on real streams."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bifocal
from bifocal.learn.data.labelled import Labelled
from studies.head_accuracy.run import main, trust


def test_shares_are_those_of_the_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = []
    for number, folder in enumerate(("a", "a", "b", "b")):
        pixels = np.random.default_rng(number).integers(0, 256, (20 + number, 64, 3), dtype=np.uint8)
        (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "data" / folder / f"{number}.png")
        labels.append(bifocal.analyse(bifocal.encode(pixels, 10)).name)
    names = tmp_path / "names.tsv"
    names.write_text(f"a\t{labels[0]}\nb\tsomething else\n")
    arguments = ["--data", str(tmp_path / "data"), "--names", str(names), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments, "--sizes", "64", "--windows", "2", "4"])
    main()
    found = json.loads((tmp_path / "out" / "results-sizes.json").read_text())
    assert found["pictures"] == 4 and len(found["top1"]) == 6
    assert found["top1"]["quality 10"] == labels[:2].count(labels[0]) / 4
    assert "64×64 pixels, quality 60, windows of 2×2" in found["top1"]
    assert "windows of 4×4" in capsys.readouterr().out


def test_trust_is_said_in_shares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = bifocal.Head.load("imagenette")
    labelled = Labelled(head.spec.classes[:2], (tmp_path / "0.png",), np.zeros(1, np.int64))
    Image.fromarray(np.full((64, 64, 3), 80, np.uint8)).save(labelled.files[0])
    monkeypatch.setattr("studies.head_accuracy.run.COUNT", 2)
    found = trust(labelled, head, bifocal.Model.load(head.spec.codec, threads=1))
    assert len(found) == 5 and all(0 <= value <= 1 for value in found.values())
