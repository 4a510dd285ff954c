"""Blocks and stages of WeConvene: shapes, what a wavelet inside costs, transforms that start as packets."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from bifocal.learn.nets.transforms.lifting import CDF53, CDF97, HAAR, Wavelet, synthesis_gains
from bifocal.learn.nets.transforms.residual import Bands, Residual, ResidualDown, ResidualUp, Subpixel
from bifocal.learn.nets.transforms.stages import (
    analysis,
    band_gains,
    from_bands,
    interleaved,
    start_as_packets,
    synthesis,
    to_bands,
)

KINDS = [None, Bands(), Bands("9/7", 2, 1, False, True)]


@pytest.mark.parametrize("bands", KINDS, ids=["plain", "weconv", "3dm"])
@pytest.mark.parametrize("size", [(1, 1), (7, 10)])
def test_blocks_halve_and_double_any_size(bands: Bands | None, size: tuple[int, int]) -> None:
    h, w = size
    down, up = ResidualDown(4, 6, bands=bands), ResidualUp(6, 4, bands=bands)
    y = down(torch.randn(2, 4, h, w))
    assert y.shape == (2, 6, -(-h // 2), -(-w // 2))
    assert up(y).shape == (2, 4, 2 * y.shape[2], 2 * y.shape[3])
    assert Residual(6)(y).shape == y.shape


def test_skips_are_the_published_convolutions() -> None:
    block, x = ResidualDown(3, 5), torch.randn(1, 3, 9, 8)
    for conv in (m for m in block.middle.modules() if isinstance(m, nn.Conv2d)):
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)
    strided = F.conv2d(x, block.skip.weight, block.skip.bias, stride=2)
    assert torch.allclose(block(x), strided, atol=1e-6)
    layer = Subpixel(3, 2)
    assert torch.equal(layer(x), F.pixel_shuffle(layer.conv(x), 2))


def test_a_wavelet_inside_costs_what_the_paper_says() -> None:
    """Thousands of multiply-adds a pixel of its output, in the middle of one block of 128 channels."""
    kmac = {}
    for name, bands in zip(
        ("plain", "weconv", "1x1"), (None, Bands(), Bands(high_kernel=1, joint=False)), strict=True
    ):
        block = ResidualDown(128, 128, bands=bands)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            block.middle(torch.zeros(1, 128, 16, 16))
        norm = 16.384 if bands is None else (16.384 + 147.456) / 4
        kmac[name] = counter.get_total_flops() / 2000 / 256 - norm
    assert kmac == pytest.approx({"plain": 147.456, "weconv": 368.64, "1x1": 49.152})


@pytest.mark.parametrize("bands", KINDS, ids=["plain", "weconv", "3dm"])
def test_transforms_that_start_as_packets_keep_a_smooth_picture(bands: Bands | None) -> None:
    torch.manual_seed(0)
    there = analysis((12, 16), 24, blocks=1, first_stride=2, bands=bands)
    back = synthesis(24, (16, 16, 12), blocks=1, bands=bands)
    ramp = torch.linspace(-1, 1, 64).expand(1, 3, 64, 64) * torch.tensor([1.0, 0.5, -0.5])[:, None, None]
    with torch.no_grad():
        before = F.mse_loss(back(there(ramp)), ramp)
        start_as_packets(there, back)
        after = F.mse_loss(back(there(ramp)), ramp)
    assert after < before / 2


def test_published_transforms_have_their_first_stride_late() -> None:
    there = analysis((4, 4, 4), 6, blocks=1, first_stride=1, bands=Bands())
    assert there(torch.zeros(1, 3, 16, 24)).shape == (1, 6, 2, 3)
    assert synthesis(6, (4, 4, 4), blocks=1, bands=Bands())(torch.zeros(1, 6, 2, 3)).shape == (1, 3, 16, 24)


@pytest.mark.parametrize("wavelet", [HAAR, CDF53, CDF97], ids=lambda w: w.name)
def test_bands_of_y_come_back(wavelet: Wavelet) -> None:
    x = torch.randn(2, 6, 8, 12)
    bands = to_bands(x, wavelet, 3)
    assert bands.shape == (2, 24, 4, 6)
    assert torch.allclose(from_bands(bands, wavelet, 3), x, atol=1e-5)


def test_a_high_slice_holds_the_bands_of_its_channels() -> None:
    high = torch.arange(18.0).reshape(1, 18, 1, 1)  # LH 0..5, HL 6..11, HH 12..17
    assert interleaved(high, 3)[0, :6, 0, 0].tolist() == [0, 1, 6, 7, 12, 13]


def test_gains_stand_in_the_order_of_y() -> None:
    low, (lh, hl, hh) = synthesis_gains(CDF53)
    gains = band_gains(CDF53, 4, 2).exp()
    assert gains.tolist() == pytest.approx([low[0]] * 4 + [lh, lh, hl, hl, hh, hh] * 2)
    assert float(band_gains(HAAR, 4, 2).abs().max()) < 1e-6
    assert band_gains(CDF97, 4, 2, axes=3).shape == (32,)
