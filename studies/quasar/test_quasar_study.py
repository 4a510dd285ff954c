"""The study's parts on toys: the engine in a simulator where there is one, arms and guides, ranks."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch

from benchmarks.reporting import ROOT, read_json, shown
from bifocal.hardware.devices.latency import Product, product_cycles
from bifocal.learn.data.labelled import Labelled
from bifocal.learn.search.integer import Whole, affine
from bifocal.learn.search.space import SearchSpace
from bifocal.learn.search.supernet import InputForm
from bifocal.learn.training.search.data import SearchData
from studies.quasar.arms import Sizes, guide_rows, precision_rows, rank_rows, spearman, trained
from studies.quasar.engine import SHAPES, engine_device, layer, simulate, simulator

SIZES = Sizes(steps=2, tune=1, batch=4, population=3, generations=1, seeds=1)
SPACE = SearchSpace("s", (16, 24), (1, 2), (1, 2), (2, 3), (0.0, 0.5, 1.0), head_dim=8, patch=8, side=16)


@pytest.mark.skipif(not simulator(), reason="there is no iverilog or verilator on the PATH")
@pytest.mark.parametrize("shape", [(5, 48, 10, 6), (3, 64, 0, 5), (2, 64, 9, 0)])
def test_the_verilog_gives_the_bytes_of_the_integers_in_the_cycles_of_the_model(
    shape: tuple[int, int, int, int],
) -> None:
    found = simulate(shape)
    assert found.equal and abs(found.error) < 0.05


@pytest.mark.parametrize("shape", SHAPES)
def test_the_model_counts_what_the_engine_says_of_itself(shape: tuple[int, int, int, int]) -> None:
    """Its own comment gives its cycles in closed form; the model adds a fill of rows and columns."""
    m, k, four, eight = shape
    cycles = -(-m // 4) * (-(-four // 8) + -(-eight // 4)) * k + 3
    device = engine_device()
    modelled = product_cycles(Product("p", m, k, four, eight), device, device.tiles[0])
    assert modelled == pytest.approx(cycles, rel=0.05)
    row = next(
        row for row in read_json(ROOT / "studies/quasar/engine.json")["rows"] if row["shape"] == [*shape]
    )
    assert row["cycles"] == cycles and row["equal"]


def test_layers_of_the_engine_use_both_halves_of_a_byte() -> None:
    matrix, x = layer((3, 16, 6, 4), seed=0)
    assert len(matrix.four) == 6 and len(matrix.eight) == 4
    made = affine(Whole(), matrix, x, 4, 127)
    assert made.shape == (3, 10) and 0 < np.abs(made).max() <= 127


@pytest.fixture(scope="module")
def data() -> SearchData:
    """Eight random inputs of two classes."""
    torch.manual_seed(0)
    x, labels = torch.rand(8, 3, 16, 16) * 255, torch.arange(8) % 2
    rows = np.arange(8)
    target = torch.nn.functional.one_hot(labels, 2).float()

    def batches(seed: int):  # type: ignore[no-untyped-def]
        while True:
            yield x, target

    labelled = Labelled(("a", "b"), (), labels.numpy())
    return SearchData(InputForm("pixels", 192, 2, 8), labelled, batches, x, labels, None, rows, rows, {})


def test_arms_have_equal_bits_where_they_should(data: SearchData) -> None:
    found = precision_rows(SPACE, data, SIZES)
    assert set(found) == {
        "entangled, layer scaling",
        "entangled, no layer scaling",
        "separate weights, layer scaling",
    }
    for part in found.values():
        bits = {name: row["bits"] for name, row in part["rows"].items()}
        assert bits["uniform 4 bit"] < bits["row-wise, half of each matrix"] < bits["uniform 8 bit"] == 8
        assert bits["row-wise, half of each matrix"] == bits["layer-wise, half of the blocks"]


def test_guides_are_compared_within_one_limit(data: SearchData) -> None:
    net = trained(SPACE, data, SIZES)
    found = guide_rows(SPACE, data, net, SIZES)
    for rows in found["guides"].values():
        assert len(rows) == 1 and rows[0]["ms"] <= found["limit ms"]
    assert -1 <= rank_rows(SPACE, data, net, SIZES)["spearman"] <= 1


def test_ranks() -> None:
    assert spearman([(1, 1), (2, 2), (3, 3)]) == 1 and spearman([(1, 3), (2, 2), (3, 1)]) == -1
    assert spearman([(1, 3), (1, 2)]) == 0
    assert asdict(Sizes())["steps"] == 150


@pytest.mark.parametrize("table", ["quasar-published", "quasar-engine"])
def test_tables_are_on_the_page(table: str) -> None:
    assert "| --- |" in shown(ROOT / "studies/quasar/README.md", table)
