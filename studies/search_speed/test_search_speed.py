"""The speed of searching is measured on files that are found."""

from __future__ import annotations

from pathlib import Path

from benchmarks import reporting
from studies.search_speed import run as study


def test_the_files_that_are_made_are_found(tmp_path: Path) -> None:
    study.make_files(tmp_path, 30)
    folders, _ = study.find_by_folder([str(tmp_path)], study.STREAMS)
    with study.Index() as index:
        files = index.update(folders)
        assert len(files) == 30
        for file in files:
            index.put(file, (1, 1), study.Caption("a child"))
        assert len(index.by_words(study.QUERIES[0])) == 30


def test_the_page_shows_the_results() -> None:
    result = reporting.read_json(study.HERE / "results.json")
    assert study.table(result) == reporting.shown(study.HERE / "README.md", "search-speed")
