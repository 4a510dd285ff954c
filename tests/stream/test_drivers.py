"""RateDistortion quantisation: no candidate costs less, and where errors are dear it is plain rounding."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from bifocal.stream.coder import Tables
from bifocal.stream.drivers import BITS_PER_SQUARE, RateDistortion, symbol_bits
from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.plan import Group
from bifocal.stream.tables import gaussian_tables, scale_ladder

GROUP = Group(0, 4, 1, 0)


@pytest.fixture
def tables() -> Tables:
    return gaussian_tables(scale_ladder(12, 0.2, 20.0))


@pytest.fixture
def model(tables: Tables) -> EntropyModel:
    """A model with these tables; its networks do not matter here."""
    whole = EntropyModel.load("tests/conformance/golden/tiny-1/model")
    return replace(whole, tables=tables, plan=replace(whole.plan, skip=0), z_index=0 * whole.z_index)


def drawn(tables: Tables, count: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Residuals as wide as their tables say, with the tables and places of a 4×4 map."""
    rng = np.random.default_rng(3)
    index = rng.integers(0, tables.count, count).astype(np.uint8)
    return rng.normal(0, scale_ladder(12, 0.2, 20.0)[index]), index, np.arange(count, dtype=np.intp) % 64


def test_bits_of_symbols_are_those_of_the_tables(tables: Tables) -> None:
    bits = symbol_bits(tables)
    widest = bits.shape[1] // 2
    for value in (0, 1, -2, 5, -17, widest):  # the widest are escapes in most tables
        for table in range(tables.count):
            exact = tables.bits(np.array([value]), np.array([table]))
            assert bits[table, value + widest] == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("worth", [1.0, BITS_PER_SQUARE, 50.0])
def test_no_candidate_is_cheaper(tables: Tables, model: EntropyModel, worth: float) -> None:
    residual, index, where = drawn(tables)
    bits, widest = symbol_bits(tables), int(tables.radius.max())
    chosen = RateDistortion(model, worth)(residual, index, GROUP, where)

    def cost(symbols: np.ndarray) -> np.ndarray:
        place = np.clip(symbols, -widest, widest).astype(int) + widest
        return bits[index, place] + worth * (residual - symbols) ** 2

    for other in (np.rint(residual), np.floor(residual), np.ceil(residual), np.zeros_like(residual)):
        assert (cost(chosen) <= cost(other) + 1e-4).all()
    assert (np.abs(chosen) <= np.abs(np.rint(residual))).all()


def test_where_errors_are_dear_it_rounds(tables: Tables, model: EntropyModel) -> None:
    residual, index, where = drawn(tables)
    assert (RateDistortion(model, 1e9)(residual, index, GROUP, where) == np.rint(residual)).all()


def test_a_map_of_worth_acts_place_by_place(tables: Tables, model: EntropyModel) -> None:
    residual, index, where = drawn(tables)
    worth = np.full((4, 4), 1e9, np.float32)
    worth[0, 1] = 1e-9
    chosen = RateDistortion(model, worth)(residual, index, GROUP, where)
    cheap = where % 16 == 1
    assert (chosen[~cheap] == np.rint(residual)[~cheap]).all()
    assert not chosen[cheap & (index < 6)].any()  # zero is the cheapest symbol of every narrow table


def test_values_beyond_every_table_are_kept(model: EntropyModel) -> None:
    residual, where = np.array([123456.4, -99999.0]), np.zeros(2, np.intp)
    chosen = RateDistortion(model, BITS_PER_SQUARE)(residual, np.zeros(2, np.uint8), GROUP, where)
    assert (np.abs(chosen - np.rint(residual)) <= 1).all()


def test_reconstruction_points_are_weighed_as_they_are_decoded(tables: Tables, model: EntropyModel) -> None:
    """A residual just above one half rounds to 1, which is decoded to 9/16: nearer, so it is kept."""
    shifted = SimpleNamespace(
        tables=tables,
        plan=model.plan,
        offsets=lambda q, index: (q << 4) - np.sign(q) * 7,
    )
    residual, index, where = np.array([0.56]), np.full(1, 5, np.uint8), np.zeros(1, np.intp)
    zero, one = symbol_bits(tables)[5, tables.radius.max() :][:2]
    worth = float((one - zero) / 0.2)  # between what the two errors differ by: 0.12 for 1, 0.31 for 9/16
    assert RateDistortion(model, worth)(residual, index, GROUP, where).tolist() == [0.0]
    assert RateDistortion(shifted, worth)(residual, index, GROUP, where).tolist() == [1.0]
