"""Batches, views and tables of the study of token selectors, without training anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import reporting
from studies.heatvit import data, integer, run

FOLDER = Path(__file__).parent


def test_the_page_shows_the_results() -> None:
    known = reporting.read_json(FOLDER / "results.json")
    assert run.arm_table(known["rows"]) in reporting.shown(FOLDER / "README.md", "heatvit")
    rows = reporting.read_json(FOLDER / "integer.json")["rows"]
    assert integer.table(rows) == reporting.shown(FOLDER / "README.md", "heatvit-integer")


def test_held_out_pictures_are_not_trained_on() -> None:
    train, held = data.split(2000)
    assert len(held) == data.HELD and not set(train) & set(held)
    assert len(train) + len(held) == 2000


def test_views_are_square_and_repeatable() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8))
    first, second = (data.view(picture, np.random.default_rng(3)) for _ in range(2))
    assert first.shape == (data.SIDE, data.SIDE, 3) and (first == second).all()


def test_targets_of_batches_are_probabilities() -> None:
    rng = np.random.default_rng(0)
    grid = (4, data.CHANNELS, data.GRID, data.GRID)
    y, bits = rng.normal(size=grid).astype(np.float16), rng.random((4, *grid[2:])).astype(np.float16)
    coded = data.Coded(y, bits, np.arange(4))
    batches = data.batches([coded], np.arange(4), batch=4, seed=0, classes=10)
    for batch in (next(batches) for _ in range(4)):
        assert batch.inputs.shape == (4, *grid[1:]) and batch.bits.shape == (4, *grid[2:])
        assert np.allclose(batch.targets.sum(1), 1, atol=1e-5)
