"""Calls of several tiles are timed, and their bits compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import reporting
from bifocal.measure.tables import markdown
from studies.tile_batches import run as batches

FOLDER = Path(__file__).parent


class Session:
    """Adds one to its input; or, if it is not ``exact``, something that depends on the batch."""

    def __init__(self, exact: bool) -> None:
        self.exact = exact

    def run(self, outputs: list[str], feeds: dict[str, Any]) -> list[Any]:
        (data,) = feeds.values()
        return [data + (1 if self.exact else len(data))]


def test_the_bits_of_all_calls_are_compared() -> None:
    data = np.zeros((batches.TILES, 3, 4, 4), np.float32)
    for exact in (True, False):
        row = batches.time_calls(Session(exact), "x", "y", data, rounds=2)
        assert row["same bits"] is exact
        assert [key for key in row if key.startswith("ms/tile")] == [
            f"ms/tile, {size} a call" for size in (1, 2, 4, 8)
        ]


def test_the_page_shows_the_results() -> None:
    rows = reporting.read_json(FOLDER / "results.json")["rows"]
    table = markdown(list(rows[0]), [list(map(str, row.values())) for row in rows])
    assert table == reporting.shown(FOLDER / "README.md", "tile-batches")
