"""Exact networks: the same integers from every arithmetic, in any order of summation, or no model at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bifocal.errors import BoundError, ModelError
from bifocal.stream import exact
from bifocal.stream.exact import (
    EXACT_LIMIT,
    ExactLayer,
    ExactNet,
    NumpyEngine,
    check_bound,
    net_arrays,
    net_spec,
    read_net,
    run_float32,
    run_int64,
)


def random_net(rng: np.random.Generator, inputs: int = 5, *, fill: bool = True) -> ExactNet:
    """A net of random kernels, shuffles and clips; with ``fill`` its rows come close to the bound."""
    maximum = rng.integers(0, 1024, inputs)
    layers: list[ExactLayer] = []
    reach: NDArray[np.int64] = maximum.astype(np.int64)
    for _ in range(rng.integers(1, 4)):
        o, k, shuffle = int(rng.integers(1, 4)) * 4, int(rng.choice([1, 3])), bool(rng.random() < 0.3)
        weight = rng.integers(-127, 128, (o, len(reach), k, k))
        row = np.abs(weight).sum(axis=(2, 3)) @ reach
        room = EXACT_LIMIT - row.max()
        assert room > 0
        bias = rng.integers(-room, room + 1, (int(rng.choice([1, 100])), o)) if fill else np.zeros((1, o))
        lo, hi = sorted(rng.integers(-1200, 1200, 2).tolist())
        relu = bool(rng.random() < 0.5) and hi >= 0
        shift = rng.integers(0, 16, o)
        layers.append(
            ExactLayer(
                weight.astype(np.int8), bias.astype(np.int32), shift.astype(np.int32), relu, lo, hi, shuffle
            )
        )
        reach = np.full(layers[-1].outputs, layers[-1].output_max, dtype=np.int64)
    return ExactNet("random", maximum.astype(np.int32), tuple(layers))


@given(seed=st.integers(0, 2**32 - 1), h=st.integers(1, 7), w=st.integers(1, 7), quality=st.integers(1, 100))
@settings(deadline=None, max_examples=150)
def test_every_arithmetic_agrees(seed: int, h: int, w: int, quality: int) -> None:
    rng = np.random.default_rng(seed)
    net = random_net(rng)
    assert check_bound(net) <= EXACT_LIMIT
    # Extremes on purpose: clips and bounds are reached, and inputs far beyond their clip.
    x = rng.choice([-(2**28), -2000, -1, 0, 1, 700, 2**28], (5, h, w)).astype(np.int32)
    referee = run_int64(net, x, quality)
    assert referee.dtype == np.int32 and referee.shape == (net.outputs, h * net.scale, w * net.scale)
    assert np.array_equal(run_float32(net, x, quality), referee)
    assert np.array_equal(NumpyEngine("float64")(net, x, quality), referee)
    assert np.array_equal(NumpyEngine("float32", shuffle_seed=seed % 97)(net, x, quality), referee)


def by_definition(net: ExactNet, x: NDArray[Any], quality: int) -> list[Any]:
    """Section 12 of SPEC.md, word for word."""
    maps = np.clip(x, -net.input_max[:, None, None], net.input_max[:, None, None]).tolist()
    for layer in net.layers:
        o, i, k, _ = layer.weight.shape
        h, w = len(maps[0]), len(maps[0][0])
        out = np.zeros((o, h, w), dtype=object)
        for r in range(o):
            for y in range(h):
                for u in range(w):
                    acc = int(layer.bias[quality - 1 if len(layer.bias) == 100 else 0, r])
                    for c in range(i):
                        for a in range(k):
                            for b in range(k):
                                v, t = y + a - k // 2, u + b - k // 2
                                if 0 <= v < h and 0 <= t < w:
                                    acc += int(layer.weight[r, c, a, b]) * maps[c][v][t]
                    acc >>= int(layer.shift[r])
                    acc = max(acc, 0) if layer.relu else acc
                    out[r, y, u] = min(max(acc, layer.lo), layer.hi)
        if layer.shuffle:
            shuffled = np.zeros((o // 4, 2 * h, 2 * w), dtype=object)
            for c in range(o // 4):
                for a in range(2):
                    for b in range(2):
                        shuffled[c, a::2, b::2] = out[4 * c + 2 * a + b]
            out = shuffled
        maps = out.tolist()
    return maps


@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=20)
def test_the_referee_follows_the_specification(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = random_net(rng, 2)
    x = rng.integers(-1100, 1100, (2, 3, 2)).astype(np.int32)
    assert run_int64(net, x, 7).tolist() == by_definition(net, x, 7)


def test_strips_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    net = random_net(rng)
    x = rng.integers(-900, 900, (5, 13, 9)).astype(np.int32)
    whole = run_float32(net, x, 1)
    monkeypatch.setattr(exact, "STRIP", 20)
    assert np.array_equal(run_float32(net, x, 1), whole)


def at_the_bound(extra: int) -> ExactNet:
    """One row whose sum reaches exactly 2^24 + extra."""
    weight = np.full((1, 128, 1, 1), 127, dtype=np.int8)
    weight[0, 1::2] = -127
    maximum = np.full(128, 1023, dtype=np.int32)
    bias = np.array([[EXACT_LIMIT + extra - 128 * 127 * 1023]], dtype=np.int32)
    layer = ExactLayer(weight, bias, np.zeros(1, np.int32), relu=False, lo=-EXACT_LIMIT, hi=EXACT_LIMIT)
    return ExactNet("edge", maximum, (layer,))


def test_a_row_at_the_bound_is_exact_in_the_worst_order() -> None:
    net = at_the_bound(0)
    assert check_bound(net) == EXACT_LIMIT
    x = np.sign(net.layers[0].weight[0].astype(np.int32)) * 1023
    for seed in range(20):
        assert NumpyEngine("float32", shuffle_seed=seed)(net, x, 1).item() == EXACT_LIMIT


def test_a_row_beyond_the_bound_is_refused() -> None:
    with pytest.raises(BoundError, match=r"edge layer 0, output row 0: sums may reach 16777217"):
        check_bound(at_the_bound(1))


def test_the_bound_counts_the_largest_bias_of_all_qualities() -> None:
    net = at_the_bound(0)
    bias = np.zeros((100, 1), dtype=np.int32)
    bias[41] = net.layers[0].bias[0] + 1
    (layer,) = net.layers
    worse = ExactLayer(layer.weight, bias, layer.shift, layer.relu, layer.lo, layer.hi)
    with pytest.raises(BoundError):
        check_bound(ExactNet("edge", net.input_max, (worse,)))


def test_each_run_says_which_layers_it_executed() -> None:
    net = random_net(np.random.default_rng(0))
    engine = NumpyEngine("int64")
    for _ in range(3):
        engine(net, np.zeros((5, 2, 2), np.int32), 1)
    assert engine.name == "numpy-int64"
    assert engine.layers_run == {f"random.{i}": 3 for i in range(len(net.layers))}


def test_wrong_inputs_are_refused() -> None:
    net = random_net(np.random.default_rng(0))
    for shape, quality in (((4, 2, 2), 1), ((5, 2), 1), ((5, 2, 2), 0), ((5, 2, 2), 101)):
        with pytest.raises(ModelError, match="takes"):
            run_float32(net, np.zeros(shape, np.int32), quality)


def test_nets_are_saved_and_read_back() -> None:
    net = random_net(np.random.default_rng(8))
    again = read_net("random", net_spec(net), net_arrays(net))
    assert net_spec(again) == net_spec(net)
    for key, array in net_arrays(net).items():
        assert np.array_equal(array, net_arrays(again)[key])


@pytest.mark.parametrize(
    "change",
    [
        lambda s, a: s.pop("input_max"),
        lambda s, a: s["input_max"].append(3),
        lambda s, a: s.update(input_max=[]),
        lambda s, a: s.update(input_max=[-1] * 5),
        lambda s, a: s.update(input_max=[1.5] * 5),
        lambda s, a: s.update(layers=[]),
        lambda s, a: s["layers"][0].update(kernel=5),
        lambda s, a: s["layers"][0].update(lo=3, hi=2),
        lambda s, a: s["layers"][0].update(relu=True, lo=-9, hi=-3),
        lambda s, a: s["layers"][0].update(hi=2**24 + 1),
        lambda s, a: s["layers"][0].update(hi="511"),
        lambda s, a: a.pop("exact.random.0.bias"),
        lambda s, a: a.update({"exact.random.0.bias": a["exact.random.0.bias"][:, :-1]}),
        lambda s, a: a.update(
            {"exact.random.0.bias": np.zeros((2, a["exact.random.0.shift"].size), np.int32)}
        ),
        lambda s, a: a.update({"exact.random.0.shift": a["exact.random.0.shift"] - 30}),
        lambda s, a: a.update({"exact.random.0.shift": a["exact.random.0.shift"] + 25}),
        lambda s, a: a.update({"exact.random.0.weight": a["exact.random.0.weight"].astype(np.int32)}),
        lambda s, a: a.update({"exact.random.0.weight": np.zeros((), np.int8)}),
    ],
)
def test_damaged_nets_are_refused(change: Any) -> None:
    net = random_net(np.random.default_rng(8))
    spec, arrays = net_spec(net), net_arrays(net)
    change(spec, arrays)
    with pytest.raises(ModelError, match="random"):
        read_net("random", spec, arrays)
