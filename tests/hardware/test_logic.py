"""Truth tables become operations that compute them; the room's face is complete; a missing Numba is said."""

from __future__ import annotations

import importlib
import random
import sys

import pytest

import bifocal.hardware
from bifocal.errors import ToolError
from bifocal.hardware.circuits.order import find_loops, schedule_nodes
from bifocal.hardware.faults.engines.logic import decompose, evaluate


@pytest.mark.parametrize("inputs", range(7))
def test_a_decomposed_table_computes_the_table(inputs: int) -> None:
    rng = random.Random(inputs)
    bits = 1 << inputs
    ones = (1 << bits) - 1
    values = [sum(1 << a for a in range(bits) if a >> i & 1) for i in range(inputs)]
    tables = {0, ones, *values, *(ones ^ value for value in values)}
    tables |= {rng.getrandbits(bits) for _ in range(60)}
    for table in tables:
        assert evaluate(table, inputs, values, ones) == table


@pytest.mark.parametrize(
    ("table", "inputs", "ops"), [(0x8000000000000000, 6, 5), (0x6996, 4, 3), (0xCA, 3, 1)]
)
def test_simple_functions_take_few_operations(table: int, inputs: int, ops: int) -> None:
    assert len(decompose(table, inputs)[0]) == ops


def test_every_net_comes_after_what_it_needs() -> None:
    rng = random.Random(3)
    gates = {net: tuple(rng.randrange(net) for _ in range(3)) for net in range(5, 400)}
    shuffled = dict(sorted(gates.items(), key=lambda item: rng.random()))
    order, waiting = schedule_nodes(shuffled, {}, [399])
    place = {net: i for i, net in enumerate(order)}
    assert not waiting and len(order) == len(gates)
    assert all(place[source] < place[net] for net in gates for source in gates[net] if source in gates)


def test_loops_are_found_with_all_their_nodes() -> None:
    ring = {i: [(i + 1) % 2000] for i in range(2000)}  # deeper than Python recurses
    assert find_loops({**ring, 5000: [0], 5001: []}) == [list(range(2000))]


def test_the_face_names_what_exists() -> None:
    pytest.importorskip("numba")
    for name in bifocal.hardware.__all__:
        assert getattr(bifocal.hardware, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = bifocal.hardware.Nothing


def test_a_missing_numba_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "bifocal.hardware.jit", raising=False)
    with pytest.raises(ToolError, match=r'pip install "bifocal-codec\[hardware\]"'):
        importlib.import_module("bifocal.hardware.jit")
