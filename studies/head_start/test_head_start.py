"""Small folders and tables of the study of starts, without training anything."""

from __future__ import annotations

from pathlib import Path

from benchmarks import reporting
from studies.head_start import run as start

FOLDER = Path(__file__).parent


def test_the_page_shows_the_results() -> None:
    rows = reporting.read_json(FOLDER / "results.json")["rows"]
    assert start.table(rows, [25, 100], [0, 1]) == reporting.shown(FOLDER / "README.md", "head-start")
    assert "| 50 | not measured | not measured |" in start.table(rows, [50], [0, 1])


def test_a_small_folder_has_the_first_pictures_of_each_class(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(3):
            (tmp_path / "train" / name / f"{number}.png").write_text(name)
    classes, four = start.classes_of(tmp_path)
    assert [folder.name for folder in classes] == ["a", "b", "c", "d"]
    assert [folder.name for folder in four] == ["b", "d"]
    small = start.folder_of(four, tmp_path / "small", 2)
    assert sorted(p.relative_to(small).as_posix() for p in small.glob("*/*")) == [
        "b/0.png", "b/1.png", "d/0.png", "d/1.png"
    ]  # fmt: skip
