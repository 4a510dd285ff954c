"""ONNX Runtime gives the integers of the int64 reference, also at the clip of its inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bifocal.errors import ModelError
from bifocal.runtime.engines.onnxruntime import OnnxEngine, graph_file
from bifocal.runtime.model import Model
from bifocal.stream.exact import run_float32, run_int64


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (6, 4)])
def test_onnx_runtime_equals_int64(tiny_model: Model, size: tuple[int, int], threads: int) -> None:
    rng = np.random.default_rng(0)
    engine = OnnxEngine(tiny_model.folder, threads=threads)
    for net in (tiny_model.entropy.hyper, *tiny_model.entropy.predictors):
        for largest in (100, 10_000, 2**31 - 1):
            x = rng.integers(-largest, largest, (net.inputs, *size)).astype(np.int32)
            for quality in (1, 100):
                reference = run_int64(net, x, quality)
                assert np.array_equal(engine(net, x, quality), reference)
                assert np.array_equal(run_float32(net, x, quality), reference)
        assert all(engine.layers_run[f"{net.name}.{number}"] == 6 for number in range(len(net.layers)))


def test_another_networks_graph_is_refused(tiny_model: Model, tmp_path: Path) -> None:
    hyper, predictor = tiny_model.entropy.hyper, tiny_model.entropy.predictors[0]
    (tmp_path / graph_file(hyper.name)).write_bytes(
        (tiny_model.folder / graph_file(predictor.name)).read_bytes()
    )
    with pytest.raises(ModelError):
        OnnxEngine(tmp_path)(hyper, np.zeros((hyper.inputs, 2, 2), np.int32), 1)
    with pytest.raises(ModelError, match="missing"):
        OnnxEngine(tmp_path)(predictor, np.zeros((predictor.inputs, 2, 2), np.int32), 1)
