"""Float backends: other pixels by a rounding, never another byte or latent; refused in words.

What needs OpenVINO is skipped where it is not installed.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import bifocal
from bifocal._version import DEFAULT_MODEL
from bifocal.errors import BifocalError, ModelError, OptionError
from bifocal.learn.packing.int8 import calibration, int8_graph
from bifocal.learn.packing.two_path_graphs import synthesis_graph
from bifocal.learn.systems.lowfirst import LowFirst, LowFirstConfig
from bifocal.runtime.analysis import float_latents
from bifocal.runtime.doctor import compare_backends
from bifocal.runtime.engines import float_engines, float_openvino
from bifocal.runtime.engines.float_engines import (
    BACKENDS,
    INT8_LARGEST,
    check_backend,
    open_network,
    quantised,
)
from bifocal.runtime.engines.float_openvino import OpenVinoNetwork, native_bf16, openvino_installed
from bifocal.runtime.engines.onnx_wiring import missing_weights, with_weights
from bifocal.runtime.engines.onnxruntime import REFERENCE, OnnxEngine, open_session
from bifocal.runtime.model import Model
from bifocal.stream.latents import pack, unpack
from tests.conftest import made_picture

HERE = [
    name
    for name in BACKENDS
    if not name.startswith("openvino")
    or (openvino_installed() and (name != "openvino-bf16" or native_bf16()))
]
FLOAT = [name for name in HERE if not name.endswith("int8")]  # the tiny model has no int8 graph
needs_openvino = pytest.mark.skipif(not openvino_installed(), reason="OpenVINO is not installed")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, NDArray[np.float32]]]:
    """A random synthesis network of the shipped kind, small: the folder of its graphs, and its weights."""
    torch.manual_seed(0)
    config = LowFirstConfig(synthesis_width=16, synthesis_blocks=2, analysis_width=16, analysis_blocks=1)
    model = LowFirst(config).eval()
    graph, weights = synthesis_graph(model)
    folder = tmp_path_factory.mktemp("network")
    (folder / "synthesis.onnx").write_bytes(graph)
    samples = calibration(model, [made_picture(128, 128, seed=seed) for seed in range(3)])
    (folder / "synthesis-int8.onnx").write_bytes(int8_graph(graph, weights, samples))
    return folder, weights


@pytest.mark.parametrize("backend", FLOAT)
def test_streams_and_latents_are_the_same_bytes_with_every_backend(tiny_model: Model, backend: str) -> None:
    pixels, other = made_picture(130, 200), tiny_model.on(backend)
    for options in ({"quality": 70}, {"psnr": 24.0}):
        data = bifocal.encode(pixels, **options, model=tiny_model)
        assert bifocal.encode(pixels, **options, model=other) == data
    latents = unpack(data, tiny_model.entropy, tiny_model.engine)
    bifocal.decode(data, model=other)
    again = unpack(data, other.entropy, other.engine)
    assert again == latents and pack(again, other.entropy, other.engine) == data


@pytest.mark.parametrize("backend", FLOAT)
def test_pixels_differ_by_a_rounding_at_most(tiny_model: Model, backend: str) -> None:
    data = bifocal.encode(made_picture(130, 200), quality=80, model=tiny_model)
    reference = bifocal.decode(data, model=tiny_model).pixels.astype(int)
    off = np.abs(bifocal.decode(data, model=tiny_model, backend=backend).pixels - reference)
    exact = backend in ("onnxruntime", "openvino-f32")
    assert off.max() <= (1 if exact else 3) and off.mean() < (0.01 if exact else 0.5)


@pytest.mark.parametrize("backend", FLOAT)
def test_a_box_holds_the_pixels_of_the_whole(tiny_model: Model, backend: str) -> None:
    data = bifocal.encode(made_picture(130, 200), model=tiny_model)
    whole = bifocal.decode(data, model=tiny_model, backend=backend).pixels
    part = bifocal.decode(data, model=tiny_model, backend=backend, box=(70, 20, 180, 121)).pixels
    assert np.array_equal(part, whole[20:121, 70:180])


@pytest.mark.parametrize("backend", FLOAT)
def test_threads_change_neither_bytes_nor_pixels(tiny_folder: Path, backend: str) -> None:
    one, two = (Model.load(tiny_folder, threads=n, backend=backend) for n in (1, 2))
    pixels = made_picture(190, 260)
    data = bifocal.encode(pixels, model=one)
    assert bifocal.encode(pixels, model=two) == data
    first, second = (bifocal.decode(data, model=model).pixels.astype(int) for model in (one, two))
    assert np.abs(first - second).max() <= 1


@pytest.mark.parametrize("backend", [name for name in HERE if name != REFERENCE])
def test_the_shipped_model_decodes_with_every_backend(backend: str) -> None:
    pixels = made_picture(200, 260)
    data = bifocal.encode(pixels, quality=60)
    reference = bifocal.decode(data).pixels.astype(int)
    off = np.abs(bifocal.decode(data, backend=backend).pixels - reference)
    assert off.mean() < 1


@needs_openvino
def test_the_exact_networks_and_the_analysis_never_leave_their_engine(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tiny_model.on("openvino")
    assert other is tiny_model.on("openvino") and other.on(REFERENCE) is tiny_model
    assert other.engine is tiny_model.engine and isinstance(other.engine, OnnxEngine)
    monkeypatch.setattr(float_engines, "OpenVinoNetwork", None)  # would fail if it were asked for
    float_latents(other, made_picture(64, 64), 50)


@pytest.mark.parametrize("engine", ["onnxruntime", pytest.param("openvino", marks=needs_openvino)])
def test_an_int8_network_is_near_the_float_one(
    network: tuple[Path, dict[str, NDArray[np.float32]]], engine: str
) -> None:
    folder, weights = network
    y = np.random.default_rng(0).normal(0, 1, (1, 256, 6, 5)).astype(np.float32)
    outputs = {
        backend: open_network("synthesis", folder / "synthesis.onnx", weights, backend=backend).run(
            ["pixels"], {"y": y}
        )[0]
        for backend in (engine if engine == "onnxruntime" else "openvino-f32", f"{engine}-int8")
    }
    exact, near = outputs.values()
    assert near.shape == exact.shape == (1, 3, 96, 80)
    assert 0 < np.abs(near - exact).mean() < 0.02 * exact.std()


def test_onnx_runtime_runs_the_blocks_in_integers(
    network: tuple[Path, dict[str, NDArray[np.float32]]], tmp_path: Path
) -> None:
    import onnxruntime as ort

    folder, weights = network
    graph = (folder / "synthesis-int8.onnx").read_bytes()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(
        with_weights(graph, quantised(weights, missing_weights(graph))),
        options,
        providers=["CPUExecutionProvider"],
    )
    made = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert made.count("QLinearConv") == 4  # two blocks of two


def test_a_dead_network_is_quantised_too(network: tuple[Path, dict[str, NDArray[np.float32]]]) -> None:
    folder, weights = network
    graph = (folder / "synthesis.onnx").read_bytes()
    dead = {name: np.zeros_like(value) for name, value in weights.items()}
    made = int8_graph(graph, dead, [np.zeros((1, 256, 2, 2), np.float32)])
    values = quantised(dead, missing_weights(made))
    (folder / "dead-int8.onnx").write_bytes(made)
    pixels = open_session(folder / "dead-int8.onnx", values).run(
        ["pixels"], {"y": np.ones((1, 256, 2, 2), np.float32)}
    )
    assert not np.any(pixels)
    with pytest.raises(ModelError, match="--data"):
        int8_graph(graph, weights, [])


def test_int8_rows_keep_to_seven_bits() -> None:
    weight = np.random.default_rng(1).normal(0, 1, (5, 3, 3, 3)).astype(np.float32)
    weight[2] = 0
    made = quantised({"w": weight}, {"w.int8": weight.shape, "w.scale": (5,)})
    assert np.abs(made["w.int8"].astype(int)).max(axis=(1, 2, 3)).tolist() == [63, 63, 0, 63, 63]
    assert 2 * 255 * INT8_LARGEST < 2**15
    back = made["w.int8"] * made["w.scale"][:, None, None, None]
    assert np.abs(back - weight).max() <= made["w.scale"].max() * 0.51


def test_a_model_without_an_int8_network_says_so(tiny_model: Model) -> None:
    data = bifocal.encode(made_picture(64, 64), model=tiny_model)
    with pytest.raises(ModelError, match="without an int8 network"):
        bifocal.decode(data, model=tiny_model, backend="onnxruntime-int8")


def test_a_backend_that_is_not_there_is_refused_in_words(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bifocal.encode(made_picture(64, 64), model=tiny_model)
    with pytest.raises(OptionError, match="no backend 'cuda'.*openvino-int8"):
        bifocal.decode(data, model=tiny_model, backend="cuda")
    monkeypatch.setattr(float_openvino, "openvino_installed", lambda: False)
    with pytest.raises(OptionError, match=r'not installed.*pip install "bifocal-codec\[openvino\]"'):
        check_backend("openvino")
    with pytest.raises(OptionError, match="not installed"):
        Model.load(tiny_model.folder, backend="openvino-f32")
    reports = {
        report.backend: report for report in compare_backends(Model.load(tiny_model.folder, threads=1))
    }
    assert list(reports) == list(BACKENDS)
    assert "not installed" in reports["openvino"].error and not reports[REFERENCE].error


@needs_openvino
def test_without_bf16_openvino_takes_float32(
    network: tuple[Path, dict[str, NDArray[np.float32]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, weights = network
    for module in (float_openvino, float_engines):
        monkeypatch.setattr(module, "native_bf16", lambda: False)
    half = open_network("synthesis", folder / "synthesis.onnx", weights, backend="openvino")
    assert isinstance(half, OpenVinoNetwork)
    assert half._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"
    with pytest.raises(OptionError, match="no bf16"):
        open_network("synthesis", folder / "synthesis.onnx", weights, backend="openvino-bf16")


@needs_openvino
def test_openvino_does_not_report_home(tmp_path: Path) -> None:
    program = (
        "import sys; from bifocal.runtime.engines.float_openvino import native_bf16; native_bf16();"
        "assert 'openvino' in sys.modules and 'openvino_telemetry' not in sys.modules"
    )
    environment = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())  # it keeps an identity there


def test_weights_put_into_a_graph_are_what_onnx_reads(
    network: tuple[Path, dict[str, NDArray[np.float32]]],
) -> None:
    folder, weights = network
    graph = (folder / "synthesis.onnx").read_bytes()
    assert missing_weights(graph) == {name: value.shape for name, value in weights.items()}
    whole = onnx.load_from_string(with_weights(graph, weights))
    onnx.checker.check_model(whole)
    read = {t.name: onnx.numpy_helper.to_array(t) for t in whole.graph.initializer}
    assert all(np.array_equal(read[name], value) for name, value in weights.items())
    assert [n.op_type for n in whole.graph.node] == [
        n.op_type for n in onnx.load_from_string(graph).graph.node
    ]
    with pytest.raises(ModelError, match="not there"):
        with_weights(graph, {})


@given(cut=st.integers(0, 4000), change=st.integers(0, 4000), value=st.integers(0, 255))
def test_damaged_graphs_are_refused_or_read_never_worse(cut: int, change: int, value: int) -> None:
    file = Path(bifocal.__file__).parent / "models" / DEFAULT_MODEL / "synthesis-int8.onnx"
    graph = bytearray(file.read_bytes())
    graph[change % len(graph)] = value
    for damaged in (bytes(graph), bytes(graph[: cut % len(graph)])):
        try:
            missing_weights(damaged)
            with_weights(damaged, {})
        except BifocalError:
            pass


def test_the_benchmark_compares_real_streams(
    tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backends = importlib.import_module("benchmarks.backends")
    monkeypatch.setattr(backends, "QUALITIES", (30, 60, 90))
    bifocal.write_picture(bifocal.Picture(made_picture(64, 64)), tmp_path / "a.png")
    names = backends.backends(tiny_model)
    assert names[0] == REFERENCE and set(names) <= set(FLOAT)  # this model has no int8 network
    found = backends.measure_quality(tiny_model, [tmp_path / "a.png"], names)
    assert [quality.backend for quality in found] == names and found[0].bd_rate == 0
    assert all(abs(quality.bd_rate) < 2 for quality in found)
