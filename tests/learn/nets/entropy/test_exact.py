"""Layers trained in float and the integers read off them compute the same, whatever the weights."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bifocal.learn.nets.entropy.exact import EXACT_LIMIT, ExactConv, Range, TorchEngine, integer_layer
from bifocal.stream.exact import ExactLayer, ExactNet, NumpyEngine, check_bound, run_int64


def layer_of(seed: int, size: float, kernel: int, qualities: int) -> ExactConv:
    torch.manual_seed(seed)
    layer = ExactConv(
        6,
        8,
        kernel,
        source=Range(-1023, 1023, 4),
        out=Range(0, 511, 4),
        qualities=qualities,
        shuffle=seed % 2 == 0,
    )
    layer.weight.data *= size
    layer.bias.data += torch.randn(8) * size * 10
    if layer.quality_bias is not None:
        layer.quality_bias.data += torch.randn_like(layer.quality_bias) * size * 30
    return layer


def packed(layer: ExactConv, anchors: torch.Tensor) -> ExactNet:
    weight, bias, shift = (t.numpy() for t in integer_layer(layer, anchors))
    made = ExactLayer(
        weight.astype(np.int8), bias.astype(np.int32), shift.astype(np.int32), True, 0, 511, layer.shuffle
    )
    return ExactNet("one", np.full(6, 1023, np.int32), (made,))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.sampled_from([0.01, 0.3, 1.0, 3.0, 10.0]), st.sampled_from([1, 3]))
def test_trained_layer_equals_its_integers(seed: int, size: float, kernel: int) -> None:
    layer = layer_of(seed, size, kernel, 0)
    net = packed(layer, torch.zeros(1, 0))
    assert check_bound(net) <= EXACT_LIMIT
    x = np.random.default_rng(seed).integers(-1023, 1024, (6, 5, 7)).astype(np.int32)
    with torch.no_grad():
        real = layer(torch.from_numpy(x)[None].float() / 16, torch.zeros(1, 0), True)
    expected = run_int64(net, x, 1)
    assert np.array_equal((real[0] * 16).numpy().astype(np.int64), expected)
    for backend in (NumpyEngine("float32"), NumpyEngine("float32", shuffle_seed=seed), TorchEngine()):
        assert np.array_equal(backend(net, x, 1), expected)
        assert backend.layers_run == {"one.0": 1}


def test_quality_bias_is_tabulated() -> None:
    layer = layer_of(3, 1.0, 1, 5)
    anchors = torch.rand(100, 5)
    net = packed(layer, anchors)
    assert net.layers[0].bias.shape == (100, 8)
    x = np.random.default_rng(0).integers(-50, 51, (6, 3, 3)).astype(np.int32)
    with torch.no_grad():
        real = layer(torch.from_numpy(x)[None].float() / 16, anchors[41:42], True)
    assert np.array_equal((real[0] * 16).numpy().astype(np.int64), run_int64(net, x, 42))


def test_gradients_pass_through_the_rounding() -> None:
    layer = layer_of(1, 0.3, 3, 0)
    layer(torch.rand(1, 6, 4, 4), torch.zeros(1, 0), True).sum().backward()
    assert layer.weight.grad is not None and bool(layer.weight.grad.abs().sum() > 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_is_exact_too() -> None:
    layer = layer_of(1, 1.0, 3, 0)
    net = packed(layer, torch.zeros(1, 0))
    x = np.random.default_rng(0).integers(-1023, 1024, (6, 64, 64)).astype(np.int32)
    assert np.array_equal(TorchEngine("cuda")(net, x, 1), run_int64(net, x, 1))


def test_torch_backend_ignores_the_callers_precision() -> None:
    """Autocast and reduced-precision products of the caller change no bit, and are as before afterwards."""
    layer = layer_of(1, 1.0, 3, 0)
    net = packed(layer, torch.zeros(1, 0))
    x = np.random.default_rng(0).integers(-1023, 1024, (6, 16, 16)).astype(np.int32)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert np.array_equal(TorchEngine()(net, x, 1), run_int64(net, x, 1))
            assert torch.is_autocast_enabled("cpu")
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
