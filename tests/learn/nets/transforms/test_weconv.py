"""Convolution in the wavelet domain: shapes, costs, and bands that come together again."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bifocal.learn.nets.transforms.lifting import CDF53, CDF97, HAAR
from bifocal.learn.nets.transforms.weconv import GDN, WaveletConv

OPTIONS = [
    {},
    {"levels": 2, "high_kernel": 1, "joint": False, "wavelet": CDF97},
    {"levels": 2, "high_kernel": 1, "joint": False, "wavelet": CDF53, "channels": True, "norm": "gdn"},
    {"stride": 2, "levels": 2, "channels": True, "norm": "inverse-gdn"},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("size", [(1, 1), (7, 10), (16, 16)])
def test_any_size(options: dict, size: tuple[int, int]) -> None:
    layer = WaveletConv(4, 6, **options)
    y = layer(torch.randn(2, 4, *size, requires_grad=True))
    stride = options.get("stride", 1)
    assert y.shape == (2, 6, -(-size[0] // stride), -(-size[1] // stride))
    y.square().sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


@pytest.mark.parametrize("wavelet", [HAAR, CDF53, CDF97], ids=lambda w: w.name)
@pytest.mark.parametrize("channels", [False, True])
def test_identity_kernels_give_the_input_back(wavelet, channels: bool) -> None:
    layer = WaveletConv(4, 4, wavelet=wavelet, levels=2, channels=channels)
    for conv in (m for m in layer.modules() if isinstance(m, torch.nn.Conv2d)):
        torch.nn.init.dirac_(conv.weight)
        torch.nn.init.zeros_(conv.bias)
    x = torch.randn(1, 4, 11, 13)
    assert torch.allclose(layer(x), x, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "kmac"),
    [({}, 368.64), ({"high_kernel": 1}, 73.728), ({"high_kernel": 1, "joint": False}, 49.152)],
)
def test_costs_are_those_of_the_papers_layers(options: dict, kmac: float) -> None:
    """Thousands of multiply-adds a pixel at 128 channels; a plain 3×3 convolution costs 147.456."""
    layer = WaveletConv(128, 128, **options)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(torch.zeros(1, 128, 16, 16))
    assert counter.get_total_flops() / 2000 / 256 == pytest.approx(kmac)


def test_gdn_and_its_inverse_have_the_published_form() -> None:
    x = torch.randn(1, 3, 4, 4)
    gdn, inverse = GDN(3), GDN(3, inverse=True)
    norm = gdn.beta_root.square() + 1e-6 + (gdn.gamma_root.square() @ x[0, :, 1, 2].square())
    assert torch.allclose(gdn(x)[0, :, 1, 2], x[0, :, 1, 2] / norm.sqrt())
    assert torch.allclose(inverse(x)[0, :, 1, 2], x[0, :, 1, 2] * norm.sqrt())


@pytest.mark.parametrize("options", [{"stride": 3}, {"levels": 0}, {"norm": "batch"}, {"channels": True}])
def test_impossible_layers_are_refused(options: dict) -> None:
    with pytest.raises(ValueError, match=r"no WaveletConv|even numbers"):
        WaveletConv(3, 3, **options)
