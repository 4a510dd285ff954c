"""Files with filters and without are compared as they are, on the tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import reporting
from bifocal.runtime import encoding
from bifocal.runtime.model import Model
from studies.restoration import run as study
from tests.conftest import made_picture


def test_a_file_is_compared_with_itself_without_filters(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "RESTORED", {1})
    rows = [study.make("a", study.middle(made_picture(130, 530)), q, tiny_model) for q in (30, 60, 90)]
    assert all(row.pixels == 130 * 512 and row.sizes[0] >= row.sizes[1] for row in rows)
    assert any(row.psnrs[0] > row.psnrs[1] for row in rows)
    assert "nan" not in study.table(rows, "tiny")


def test_the_page_shows_the_results() -> None:
    folder = Path(__file__).parent
    found = reporting.read_json(folder / "results.json")
    rows = [
        study.Made(**{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()})
        for row in found["rows"]
    ]
    assert study.table(rows, found["model"]) in reporting.shown(folder / "README.md", "restoration")
