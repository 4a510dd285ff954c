"""Arms of the study run on toys, and the page shows what was measured."""

from __future__ import annotations

from pathlib import Path

from benchmarks import reporting
from bifocal.learn.training.budget import Budget
from studies.detection import run as study
from tests.learn.data.test_detection import coco


def test_an_arm_is_trained_and_judged(tmp_path: Path) -> None:
    coco(tmp_path)
    row = study.run_arm("both, mf, sr", tmp_path, tmp_path, Budget(steps=1), 0)
    assert row["steps"] == 1 and row["pictures"] == [2, 2] and 0 <= row["ap50"] <= 1
    assert study.budget_of("both, mf, sr", 0, 5, [row]) is None
    assert study.budget_of("both, mf, sr", 1, 5, [row]) == Budget(steps=5)
    assert study.budget_of("both, mf, equal time", 1, 5, [row]) is None
    text = study.table([row])
    assert "| both, mf, sr | 1 | 1 |" in text and "| colour | – | – | – | not measured |" in text


def test_the_page_shows_the_results() -> None:
    folder = Path(__file__).parent
    rows = reporting.read_json(folder / "results.json")["rows"]
    assert study.table(rows) in reporting.shown(folder / "README.md", "detection")
