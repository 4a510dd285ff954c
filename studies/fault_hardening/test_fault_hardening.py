"""The table of triplication."""

from __future__ import annotations

from pathlib import Path

from benchmarks import reporting
from bifocal.measure.tables import markdown
from studies.fault_hardening import run as hardening

FOLDER = Path(__file__).parent


def test_a_row_counts_the_voters() -> None:
    row = dict(zip(hardening.HEADER, hardening.row("counter", 1.0, 50), strict=True))
    before, after = map(int, row["LUTs"].split(" → "))
    assert after == before + 2 * 12 + int(row["voters"]) and row["tripled LUT + FF"] == "12 + 0"


def test_the_page_shows_the_results() -> None:
    rows = reporting.read_json(FOLDER / "results.json")["rows"]
    table = markdown(hardening.HEADER, [list(row.values()) for row in rows])
    assert table == reporting.shown(FOLDER / "README.md", "fault-hardening")
