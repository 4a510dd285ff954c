"""Latents to bytes and back: what encoding says it wrote is what decoding reads, on every engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bifocal.errors import DamagedStream, LatentsError, ModelMissing, OptionError
from bifocal.stream import container
from bifocal.stream.coder import COST_UNIT
from bifocal.stream.exact import NumpyEngine
from bifocal.stream.latents import coded_symbols, decode_tile, encode_latents, pack, unpack
from bifocal.stream.plan import group_mask
from bifocal.stream.tables import fitted_tables
from bifocal.types import Latents
from tests.conformance.make_golden import Y, Z, tiny_model

MODEL = tiny_model()
BACKEND = NumpyEngine()


def encode(
    width: int = 70,
    height: int = 50,
    *,
    seed: int = 0,
    spread: float = 4.0,
    quality: int = 50,
    tile: int = 64,
) -> tuple[bytes, Latents]:
    rng = np.random.default_rng(seed)
    h, w = -(-height // 64), -(-width // 64)
    y = (rng.standard_normal((Y, 4 * h, 4 * w)) * spread).astype(np.float32)
    z = rng.standard_normal((Z, h, w)) * min(spread, 1000)
    return encode_latents(
        y, z, width=width, height=height, gray=False, quality=quality, tile=tile, model=MODEL, engine=BACKEND
    )


@given(
    width=st.integers(1, 200),
    height=st.integers(1, 200),
    seed=st.integers(0, 99),
    spread=st.sampled_from([0.0, 0.3, 5.0, 300.0, 1e6]),
    quality=st.integers(1, 100),
    tile=st.sampled_from([64, 128, 2048]),
)
@settings(deadline=None, max_examples=40)
def test_latents_come_back_and_pack_to_the_same_bytes(
    width: int, height: int, seed: int, spread: float, quality: int, tile: int
) -> None:
    data, latents = encode(width, height, seed=seed, spread=spread, quality=quality, tile=tile)
    assert unpack(data, MODEL, BACKEND) == latents
    assert pack(latents, MODEL, BACKEND) == data


def test_every_backend_reads_and_writes_the_same() -> None:
    data, latents = encode(130, 70, spread=30.0)
    for engine in (NumpyEngine("float64"), NumpyEngine("int64"), NumpyEngine(shuffle_seed=5)):
        assert unpack(data, MODEL, engine) == latents
        assert pack(latents, MODEL, engine) == data


def test_decoded_latents_are_near_the_encoded_ones() -> None:
    rng = np.random.default_rng(1)
    y = rng.standard_normal((Y, 4, 4)) * 9
    z = rng.standard_normal((Z, 1, 1))
    _, latents = encode_latents(
        y, z, width=64, height=64, gray=True, quality=9, tile=64, model=MODEL, engine=BACKEND
    )
    error = np.abs(latents.y / 16 - y)
    # Where nothing is skipped, a latent moves by half a symbol at most.
    assert (error <= 0.5).mean() > 0.8
    assert latents.gray and latents.model == "tiny-1" and latents.fingerprint == MODEL.fingerprint


def test_a_tile_does_not_depend_on_its_neighbours() -> None:
    rng = np.random.default_rng(2)
    y, z = rng.standard_normal((Y, 4, 8)) * 5, rng.standard_normal((Z, 1, 2)) * 5
    settings = {"height": 64, "gray": False, "quality": 50, "tile": 64, "model": MODEL, "engine": BACKEND}
    _, both = encode_latents(y, z, width=128, **settings)
    _, left = encode_latents(y[:, :, :4], z[:, :, :1], width=64, **settings)
    assert np.array_equal(both.y[:, :, :4], left.y)


def test_a_stream_is_as_long_as_its_symbols_demand() -> None:
    rng = np.random.default_rng(3)
    y, z = rng.standard_normal((Y, 8, 8)) * 5, rng.standard_normal((Z, 2, 2)) * 5
    data, _ = encode_latents(
        y, z, width=128, height=128, gray=False, quality=50, tile=128, model=MODEL, engine=BACKEND
    )
    values, index = coded_symbols(y, z, quality=50, model=MODEL, engine=BACKEND)
    payload = container.read(data).tiles[0].length
    assert 0 <= 8 * payload - MODEL.tables.bits(values, index) < 64
    # Tables may be fitted to what they code, and the symbols stay the same.
    fitted = replace(MODEL, tables=fitted_tables(MODEL.tables, values, index, strength=50.0))
    again = coded_symbols(y, z, quality=50, model=fitted, engine=BACKEND)
    assert np.array_equal(again[0], values) and np.array_equal(again[1], index)
    assert fitted.tables.bits(values, index) < 0.99 * MODEL.tables.bits(values, index)


def test_the_metadata_travels() -> None:
    _, latents = encode()
    data = pack(latents, MODEL, BACKEND, {"icc": b"abc", "exif": b""})
    assert container.read(data).metadata == {"exif": b"", "icc": b"abc"}
    assert unpack(data, MODEL, BACKEND) == latents


def test_a_container_can_be_unpacked_without_reading_it_again() -> None:
    data, latents = encode()
    assert unpack(container.read(data), MODEL, BACKEND) == latents


def test_a_stream_of_a_missing_model_says_which_release_has_it() -> None:
    data, _ = encode()
    other = replace(MODEL, plan=replace(MODEL.plan, skip=3))
    with pytest.raises(ModelMissing, match=r"Bifocal 0\.1\.0 has it") as caught:
        unpack(data, other, BACKEND)
    assert caught.value.fingerprint == MODEL.fingerprint


def test_a_decoder_that_computes_wrongly_is_found_out() -> None:
    class Faulty(NumpyEngine):
        def __call__(self, net, x, quality):  # type: ignore[no-untyped-def]
            out = super().__call__(net, x, quality)
            if net.name == "predict.5":
                out[0] += 1  # one channel, by a sixteenth of a symbol
            return out

    data, _ = encode()
    with pytest.raises(DamagedStream, match="computes wrongly"):
        unpack(data, MODEL, Faulty())


def test_changed_latents_are_not_packed() -> None:
    _, latents = encode()
    y = latents.y.copy()
    where = group_mask(MODEL.plan.groups[-1], *y.shape[1:])
    y[MODEL.plan.groups[-1].start :][where] += 1
    with pytest.raises(LatentsError, match="changed"):
        pack(replace(latents, y=y), MODEL, BACKEND)
    with pytest.raises(LatentsError, match="own model"):
        pack(replace(latents, fingerprint=b"12345678"), MODEL, BACKEND)


@pytest.mark.parametrize(
    ("y", "says"),
    [
        (np.zeros((Y, 4, 8)), "has latents y"),
        (np.full((Y, 4, 4), np.nan), "not finite"),
        (np.full((Y, 4, 4), 1e30), "beyond"),
    ],
)
def test_impossible_latents_are_refused(y: np.ndarray, says: str) -> None:
    with pytest.raises(LatentsError, match=says):
        encode_latents(
            y, np.zeros((Z, 1, 1)), width=64, height=64, gray=False, quality=50, tile=64, model=MODEL,
            engine=BACKEND,
        )  # fmt: skip


def test_impossible_options_are_refused_before_any_network() -> None:
    engine = NumpyEngine()
    y, z = np.zeros((Y, 4, 4)), np.zeros((Z, 1, 1))
    for change in ({"quality": 0}, {"tile": 65}, {"width": 0}):
        options = {"width": 64, "height": 64, "quality": 50, "tile": 64, **change}
        with pytest.raises(OptionError):
            encode_latents(y, z, gray=False, model=MODEL, engine=engine, **options)
    assert not engine.layers_run


@pytest.mark.parametrize("spread", [0.5, 30.0, 1e4])  # the last needs escapes
def test_what_each_place_cost_adds_up_to_the_symbols_coded(spread: float) -> None:
    data, latents = encode(200, 130, spread=spread, tile=2048)
    box = container.read(data)
    h, w = latents.y.shape[1:]
    spent = np.zeros((len(MODEL.plan.groups), h, w), np.int64)
    y, z = decode_tile(box, 0, MODEL, BACKEND, spent=spent)
    assert np.array_equal(y, latents.y) and np.array_equal(z, latents.z)
    floats = latents.y / float(1 << MODEL.plan.fraction)
    values, index = coded_symbols(floats, latents.z, quality=50, model=MODEL, engine=BACKEND)
    values, index = values[z.size :], index[z.size :]  # z is coded first, and belongs to no place of y
    assert spent.sum() == MODEL.tables.costs(values, index).sum()
    assert spent.sum() * COST_UNIT == pytest.approx(MODEL.tables.bits(values, index), rel=1e-2)
    first = np.zeros_like(spent)
    decode_tile(box, 0, MODEL, BACKEND, groups=1, spent=first)
    assert np.array_equal(first[0], spent[0]) and not first[1:].any() and spent[1:].any()


def test_a_place_costs_what_is_coded_there() -> None:
    y, z = np.zeros((Y, 8, 8), np.float32), np.zeros((Z, 2, 2), np.float32)
    y[:, 5, 2] = 1e4
    size = {"width": 128, "height": 128, "gray": False, "quality": 50, "tile": 2048}
    data, _ = encode_latents(y, z, **size, model=MODEL, engine=BACKEND)  # type: ignore[arg-type]
    spent = np.zeros((len(MODEL.plan.groups), 8, 8), np.int64)
    decode_tile(container.read(data), 0, MODEL, BACKEND, spent=spent)
    assert divmod(int(spent.sum(0).argmax()), 8) == (5, 2)
