"""8-bit products give the integers of the int64 reference, also with the largest weights and inputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bifocal.errors import ModelError
from bifocal.runtime.engines import exact_int8
from bifocal.runtime.engines.byte_graphs import hyper_graph
from bifocal.runtime.engines.exact_int8 import Int8Engine, check_bytes, exact_engine, runs_in_bytes
from bifocal.runtime.engines.onnxruntime import OnnxEngine, open_graph
from bifocal.runtime.model import Model
from bifocal.stream.drivers import MapContexts
from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.exact import ExactLayer, ExactNet, NumpyEngine, check_bound
from bifocal.stream.latents import pack, unpack
from bifocal.stream.plan import Group, collect, place, symbol_positions

GOLDEN = Path(__file__).parents[2] / "conformance" / "golden" / "tiny-4"


@pytest.fixture(scope="module")
def golden() -> EntropyModel:
    return EntropyModel.load(GOLDEN / "model")


def engine_of(model: EntropyModel, folder: Path, threads: int = 1) -> Int8Engine:
    check_bytes(model)
    return Int8Engine(folder, threads=threads)


def assert_equal_to_int64(
    model: EntropyModel, engine: Int8Engine, size: tuple[int, int], quality: int, largest: int
) -> None:
    """Random contexts of that size in every group: the same means and indexes as from whole maps in int64."""
    rng = np.random.default_rng(quality)
    z = rng.integers(-largest, largest + 1, (model.plan.z_channels, *size)).astype(np.int32)
    whole = MapContexts(model, NumpyEngine("int64"), z, quality)
    ours = engine.contexts(model, z, quality)
    assert ours.size == whole.size
    for k in range(len(model.plan.groups)):
        (mu, index), (expected_mu, expected_index) = ours.predict(k), whole.predict(k)
        assert np.array_equal(mu, expected_mu) and np.array_equal(index, expected_index)
        values = (
            rng.choice([-1023, 1023, 0, 128, -129], len(mu))
            if largest > 999
            else rng.integers(-9, 9, len(mu))
        )
        for contexts in (ours, whole):
            contexts.put(k, values.astype(np.int32))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("largest", [3, 1023])
def test_8_bit_products_equal_int64(golden: EntropyModel, tmp_path: Path, largest: int, threads: int) -> None:
    engine = engine_of(golden, tmp_path, threads)
    for size in ((1, 1), (2, 3)):
        assert_equal_to_int64(golden, engine, size, 1 if size == (1, 1) else 100, largest)
    for net in (golden.hyper, *golden.predictors):
        assert all(engine.layers_run[f"{net.name}.{number}"] == 2 for number in range(len(net.layers)))


def test_bands_give_the_values_of_the_whole_map(
    golden: EntropyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact_int8, "BAND", 70)
    assert_equal_to_int64(golden, engine_of(golden, tmp_path), (5, 4), 50, 1023)


def test_golden_streams_decode_and_pack_again(golden: EntropyModel, tmp_path: Path) -> None:
    engine = engine_of(golden, tmp_path)
    streams = sorted(GOLDEN.glob("*.bfc"))
    assert streams
    for path in streams:
        data = path.read_bytes()
        latents = unpack(data, golden, engine)
        assert latents == unpack(data, golden, NumpyEngine("int64"))
        assert pack(latents, golden, engine) == pack(latents, golden, NumpyEngine("int64"))


def extreme(net: ExactNet, sign: int, shift: int, hidden: int, bias: int) -> ExactNet:
    """``net`` with the largest weights, of one sign or of both, and biases as large as its bound allows."""
    layers = []
    for number, layer in enumerate(net.layers):
        weight = np.full(layer.weight.shape, 63, np.int8)
        weight[:, 1::2] *= np.int8(sign)
        shifts = np.full(len(weight), shift if number < hidden else 8, np.int32)
        value = np.where(np.arange(len(weight)) % 2, bias, -bias) - np.arange(len(weight))
        layers.append(replace(layer, weight=weight, shift=shifts, bias=value[None].astype(np.int32)))
    return replace(net, layers=tuple(layers))


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("shift", "bias"), [(0, 0), (13, 0), (13, 1 << 21), (5, 1 << 20), (1, 255)])
def test_the_largest_numbers_are_exact(
    golden: EntropyModel, tmp_path: Path, sign: int, shift: int, bias: int
) -> None:
    model = replace(
        golden,
        hyper=extreme(golden.hyper, sign, shift, 3, bias),
        predictors=tuple(extreme(net, sign, shift, 2, bias) for net in golden.predictors),
    )
    for net in (model.hyper, *model.predictors):
        check_bound(net)
    engine = engine_of(model, tmp_path)
    for largest in (3, 1023):
        assert_equal_to_int64(model, engine, (1, 2), 7, largest)


def with_layer(net: ExactNet, number: int, **changes: Any) -> ExactNet:
    layers = list(net.layers)
    layers[number] = replace(layers[number], **changes)
    return replace(net, layers=tuple(layers))


def test_what_cannot_be_proved_is_refused(golden: EntropyModel, tiny_model: Model) -> None:
    def refused(match: str, **changes: Any) -> None:
        first = golden.predictors[0]
        net = with_layer(first, changes.pop("number", 0), **changes)
        model = replace(golden, predictors=(net, *golden.predictors[1:]))
        with pytest.raises(ModelError, match=match):
            check_bytes(model)
        assert not runs_in_bytes(model)

    first: ExactLayer = golden.predictors[0].layers[0]
    refused("shifts by more than 13", shift=14 * np.ones_like(first.shift))
    refused("1×1 layers", weight=np.zeros((*first.weight.shape[:2], 3, 3), np.int8))
    far = replace(golden.plan, context_max=128 + 4 * 255)
    with pytest.raises(ModelError, match="do not fit 5 bytes"):
        check_bytes(replace(golden, plan=far))
    with pytest.raises(ModelError, match="only wire id 2"):
        check_bytes(tiny_model.entropy)


def test_the_engine_is_chosen_where_it_can_run(
    golden: EntropyModel, tiny_model: Model, tmp_path: Path
) -> None:
    assert isinstance(exact_engine(golden, tmp_path), Int8Engine)
    assert isinstance(exact_engine(tiny_model.entropy, tmp_path), OnnxEngine)


@pytest.mark.parametrize("shift", range(14))
def test_an_integer_convolution_rounds_down_at_every_sum(shift: int) -> None:
    """One input of 0..255 and a bias reach every sum that is not cut, and what lies beside them."""
    bias = np.arange(-(2 << shift), 258 << shift, 63, dtype=np.int32)
    weight = np.ones((len(bias), 1, 1, 1), np.int8)
    layer = ExactLayer(weight, bias[None], np.full(len(bias), shift, np.int32), relu=True, lo=0, hi=255)
    net = ExactNet("rounding", np.array([127], np.int32), (layer,))
    graph = hyper_graph(net)
    x = np.arange(63, dtype=np.int32)
    (made,) = open_graph(graph.data, "rounding", threads=1).run(
        ["y"], {"x": (x + 128).astype(np.uint8)[None, :, None, None]}
    )
    expected = np.clip((x[:, None] + bias) >> shift, 0, 255)
    assert np.array_equal(made[0, :, 0], expected)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_what_bytes_leave_of_contexts_adds_up(steps: int) -> None:
    group, size = Group(4, 12, steps, 0), (4, 6)
    rng = np.random.default_rng(steps)
    values = rng.choice([-1023, -129, -128, 0, 127, 128, 383, 1023], 8 * 24 // steps).astype(np.int32)
    outside = np.flatnonzero((values < -128) | (values > 127))
    channel, where = symbol_positions(outside, group, *size)
    cut = exact_int8._CutOff(values[outside] - np.clip(values[outside], -128, 127), channel, where, size)
    total = np.zeros((8, *size), np.int32)
    place(np.clip(values, -128, 127), total, group)
    for number, (context, sign) in enumerate(zip(cut.context, cut.sign, strict=True)):
        total[context] += np.int32(sign) * cut.maps[:, :, number]
    assert np.array_equal(collect(total, group), values)
