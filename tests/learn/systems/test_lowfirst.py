"""The default codec in torch: sizes, rates, and that all drivers walk the same loop."""

import pytest
import torch

from bifocal.learn.nets.codec import DECODER_PARTS, quality_anchors, quality_lambda
from bifocal.learn.nets.cost import count
from bifocal.learn.nets.entropy.prior import logistic_bits
from bifocal.learn.systems.lowfirst import LowFirst, LowFirstConfig

TINY = LowFirstConfig(
    analysis_width=8,
    analysis_blocks=1,
    synthesis_width=8,
    synthesis_blocks=1,
    latent=4,
    hyper=4,
    features=8,
    context=8,
)


def test_default_codec_keeps_its_budget() -> None:
    """At most 60 kMAC a pixel to decode and about 6 million parameters."""
    model = LowFirst()
    pixels, quality = torch.zeros(1, 3, 128, 128), torch.tensor([50])
    rows = count(model, lambda: model(pixels, quality, exact=False, noise=False), 128 * 128)
    decode = sum(r.kmac for r in rows if r.part in DECODER_PARTS) + rows[-1].kmac / 2
    assert 30 < decode < 40
    assert sum(p.numel() for p in model.parameters()) < 6e6


@pytest.mark.parametrize("exact", [False, True])
def test_forward_gives_picture_and_bits(exact: bool) -> None:
    torch.manual_seed(0)
    model = LowFirst(TINY)
    pixels = torch.rand(2, 3, 64, 128) * 255
    output, bits, (half, thumb), *_ = model(pixels, torch.tensor([1, 100]), exact=exact, noise=True)
    assert output.shape == pixels.shape
    assert half.shape == (2, 3, 32, 64) and thumb.shape == (2, 3, 4, 8)
    assert bits.shape == (2,) and bool((bits > 0).all()) and bits[1] > bits[0]
    small = half.square().mean() + thumb.square().mean()
    (output.square().mean() + bits.mean() + small).backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())]
    assert missing == []


def test_untrained_codec_is_a_wavelet_codec() -> None:
    """Linear paths start as a wavelet transform and back: without deep paths a smooth picture survives."""
    model = LowFirst()
    for part in (model.analysis, model.synthesis, model.to_half, model.to_thumb):
        torch.nn.init.zeros_(part.tail.weight)
    ramp = torch.linspace(40, 220, 128).expand(1, 3, 128, 128)
    with torch.no_grad():
        output, _, (half, thumb), *_ = model(ramp, torch.tensor([100]), exact=False, noise=False)
    assert float((output - ramp).square().mean()) < 20
    assert float((half - ramp[..., ::2, ::2]).square().mean()) < 25
    assert float((thumb - ramp[..., ::16, 8::16]).square().mean()) < 25


def test_qualities_interpolate_between_anchors() -> None:
    quality = torch.tensor([1, 50, 100])
    weights = quality_anchors(quality, 12)
    assert torch.allclose(weights.sum(1), torch.ones(3), atol=1e-5)
    assert weights[0, 0] == 1 and weights[2, -1] == 1
    lam = quality_lambda(LowFirstConfig(), quality)
    assert torch.allclose(lam[[0, 2]], torch.tensor([0.0012, 0.24]))


def test_logistic_bits_are_those_of_a_probability() -> None:
    values = torch.arange(-400.0, 401.0)
    for index in (0.0, 20.0, 45.0):
        p = 2.0 ** -logistic_bits(values, torch.full_like(values, index))
        assert float(p.sum()) == pytest.approx(1, abs=2e-4)


def test_half_and_thumb_do_not_disturb_the_codec() -> None:
    model = LowFirst(TINY)
    _, _, small, *_ = model(torch.rand(1, 3, 64, 64) * 255, torch.tensor([50]), exact=False, noise=False)
    sum(x.square().mean() for x in small).backward()
    touched = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None}
    assert touched == {"to_half", "to_thumb"}
