"""Random circuits of any size, and the table of their seconds."""

from __future__ import annotations

from pathlib import Path

from benchmarks import reporting
from studies.fault_growth import run as growth

FOLDER = Path(__file__).parent


def test_circuits_have_the_size_that_was_asked_for_and_are_repeatable() -> None:
    first, again = growth.make_circuit(60), growth.make_circuit(60)
    assert len(first.luts) == 60 and len(first.flipflops) == 15
    assert first.gates == again.gates


def test_the_page_shows_the_results() -> None:
    rows = reporting.read_json(FOLDER / "results.json")
    assert growth.table(rows) in reporting.shown(FOLDER / "README.md", "fault-growth")
