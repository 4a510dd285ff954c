"""The float counterpart is the exact network but for its roundings, and engines are compared by symbols."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bifocal.runtime.model import Model
from bifocal.stream.exact import NumpyEngine
from studies.float_counterpart import network
from studies.float_counterpart.run import compare


def test_the_counterpart_is_the_exact_network_but_for_its_roundings(tiny_model: Model) -> None:
    net = tiny_model.entropy.hyper
    rng = np.random.default_rng(0)
    x = rng.integers(-20, 21, (net.inputs, 6, 7)).astype(np.int32)
    exact = NumpyEngine("int64")(net, x, 50)
    real = network.run_float(net, x.astype(np.float32), 50, network.numpy_convolve())
    assert real.shape == exact.shape
    assert np.abs(real - exact).max() < 2 + len(net.layers)
    shuffled = network.run_float(net, x.astype(np.float32), 50, network.numpy_convolve(seed=3))
    np.testing.assert_allclose(shuffled, real, atol=1e-3)


def test_engines_are_compared_symbol_by_symbol(tmp_path: Path) -> None:
    base = np.array([[1, 2, 3], [10, 20, 30]], np.int32)
    for name, change in (("a", 0), ("b", 1)):
        (tmp_path / name).mkdir()
        other = base.copy()
        other[0, 1] += change
        other[1, :2] += change
        np.save(tmp_path / name / "0.npy", other)
        np.save(tmp_path / name / "1.npy", base)
    (result,) = compare([tmp_path / "a", tmp_path / "b"])
    assert result == {"symbols": 6, "indexes": 1, "means": 2, "streams": 2, "streams_lost": 1}
