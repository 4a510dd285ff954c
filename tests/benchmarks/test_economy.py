"""Points of training runs: hours add up along the runs, and BD-rate is against the shipped model."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.economy import run as economy
from bifocal.measure import MeasureError


def made_run(folder: Path, *, factor: float, **record: float) -> Path:
    """A run with one validation at half of its time, which needs ``factor`` times the bits of the anchor."""
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"minutes": 60.0, "threads": 2, "steps": 100, **record}))
    rows = economy.validations(economy.ANCHOR)[-1]["rows"]
    validation = {"seconds": 1800, "step": 50, "rows": [{**row, "bpp": factor * row["bpp"]} for row in rows]}
    (folder / "validation.jsonl").write_text(json.dumps(validation) + "\n")
    return folder


def test_hours_are_of_the_processor_where_they_are_known(tmp_path: Path) -> None:
    plain, known = (made_run(tmp_path / name, factor=1.1) for name in "ab")
    (known / "run.json").write_text(
        json.dumps({"minutes": 60, "cpu_minutes": 45, "threads": 2, "steps": 100})
    )
    (first, last), (measured, _) = (economy.points_of(folder, "x", "", 3.0) for folder in (plain, known))
    assert (first.hours, first.total_hours, last.hours) == (1.0, 4.0, 2.0)
    assert measured.hours == pytest.approx(0.375)
    assert first.bd_rate == pytest.approx(10.0) and last.bd_rate != last.bd_rate


def test_runs_that_go_on_count_the_hours_before_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"

    def call(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["run.py", "--out", str(out), *arguments])
        economy.main()

    one, two = (str(made_run(tmp_path / name, factor=f)) for name, f in (("one", 1.2), ("two", 0.9)))
    call("add", one)
    call("add", two, "--after", "one")
    call("add", one, "--hours-only")  # in place of what was there
    capsys.readouterr()
    call("show")
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| two | one | 2.00 | 4.00 | -10.0 % |",
        "| one | – | 2.00 | 2.00 | – |",
    ]
    assert (out / "economy.svg").read_text().count("<polyline") == 1
    assert economy.read_points(out / "economy.tsv")[0].after == "one"
    with pytest.raises(MeasureError, match="three"):
        call("add", two, "--after", "three")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match="no record"):
        economy.points_of(tmp_path, "x", "", 0.0)
    empty = made_run(tmp_path / "empty", factor=1.0)
    (empty / "validation.jsonl").write_text("")
    with pytest.raises(MeasureError, match="hours-only"):
        economy.points_of(empty, "x", "", 0.0)
    (tmp_path / "other.tsv").write_text("a\tb\n")
    with pytest.raises(MeasureError, match="other columns"):
        economy.read_points(tmp_path / "other.tsv")


def test_what_is_committed_can_be_read_and_drawn() -> None:
    points = economy.read_points(economy.HERE / economy.POINTS)
    assert economy.draw(points) == (economy.HERE / "economy.svg").read_text(encoding="utf-8")
    assert economy.table(points) in (economy.HERE / "README.md").read_text(encoding="utf-8")
