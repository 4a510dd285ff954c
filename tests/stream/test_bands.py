"""Exact networks in bands of rows give the integers of the whole map."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bifocal.runtime.engines import onnxruntime as exact_ort
from bifocal.runtime.engines.onnxruntime import OnnxEngine
from bifocal.runtime.model import Model
from bifocal.stream.exact import ExactNet, NumpyEngine, bands
from tests.conformance.make_golden import tiny_model

MODEL = tiny_model()
NETS = (MODEL.hyper, *MODEL.predictors[:2])


def made_input(net: ExactNet, h: int, w: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-600, 600, (net.inputs, h, w)).astype(np.int32)


@given(st.sampled_from(NETS), st.integers(1, 12), st.integers(1, 5), st.integers(1, 40), st.integers(0, 99))
@settings(deadline=None, max_examples=60)
def test_bands_give_the_integers_of_the_whole(net: ExactNet, h: int, w: int, places: int, seed: int) -> None:
    x, run = made_input(net, h, w, seed), NumpyEngine("int64")
    whole = run(net, x, 50)
    out = np.full_like(whole, -1)
    for needed, given_rows, inner in bands(net, h, w, places):
        assert (needed.stop - needed.start) * w <= max(places, w) + 2 * len(net.layers) * w
        out[:, given_rows] = run(net, x[:, needed], 50)[:, inner]
    assert np.array_equal(out, whole)


@pytest.mark.parametrize("places", [1, 13, 40])
def test_onnx_runtime_in_bands(tiny_model: Model, places: int, monkeypatch: pytest.MonkeyPatch) -> None:
    entropy, engine = tiny_model.entropy, OnnxEngine(tiny_model.folder, threads=1)
    monkeypatch.setattr(exact_ort, "BAND", places)
    for net in (entropy.hyper, *entropy.predictors):
        x = made_input(net, 9, 7)
        assert np.array_equal(engine(net, x, 33), NumpyEngine("int64")(net, x, 33))
        assert engine.layers_run[f"{net.name}.0"] == 1  # one run, in however many bands
