"""The joint codec gives the same picture window by window as at once."""

import pytest
import torch

from bifocal.learn.nets.entropy.factorised import FactorisedDensity, gaussian_bits
from bifocal.learn.nets.heads.aggregation import Aggregation, early_features, late_logits
from bifocal.learn.packing.graphs import reach
from bifocal.learn.systems.joint import Joint, JointConfig

TINY = JointConfig(
    width=8, latent=8, dim=24, depth=4, heads=2, grid=4, hyper=4, features=8, context=8, anchors=2, classes=3
)


def test_float_bits_are_those_of_probabilities() -> None:
    values = torch.arange(-2000.0, 2001.0)
    for scale in (0.05, 0.3, 4.0, 100.0):
        p = 2.0 ** -gaussian_bits(values, torch.full_like(values, scale))
        assert float(p.sum()) == pytest.approx(1, abs=1e-3)
    torch.manual_seed(0)
    density = FactorisedDensity(3)
    with torch.no_grad():
        p = 2.0 ** -density.bits(values.expand(1, 3, 1, -1))
    assert torch.allclose(p.sum((0, 2, 3)), torch.ones(3), atol=1e-3)
    with pytest.raises(ValueError, match="cannot share"):
        Aggregation(10, 4)


@pytest.mark.parametrize("exact", [False, True])
def test_forward_gives_picture_bits_and_labels(exact: bool) -> None:
    torch.manual_seed(0)
    model = Joint(TINY)
    pixels = torch.rand(2, 3, 64, 128) * 255
    model.scale_gains(pixels)
    coded = model(pixels, torch.tensor([1, 100]), exact=exact, noise=True)
    logits = model.labels(coded.y_hat)
    assert coded.output.shape == pixels.shape and logits.shape == (2, 3)
    assert coded.bits[1] > coded.bits[0] > 0
    (coded.output.square().mean() + coded.bits.mean() + logits.square().mean()).backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())]
    assert missing == []


def test_gains_follow_the_latents() -> None:
    torch.manual_seed(0)
    model, pixels = Joint(TINY), torch.rand(4, 3, 64, 64) * 255
    model.scale_gains(pixels, steps=3.0)
    with torch.no_grad():
        gain = model.log_gain.mean(0).exp()[:, None, None]
        spread = (model.analyse(pixels) * gain).transpose(0, 1).flatten(1).std(1)
        assert torch.allclose(spread, torch.full_like(spread, 3.0), rtol=1e-3)
        assert torch.equal(model.log_inverse_gain, -model.log_gain)


@pytest.mark.parametrize("stages", [3, 4])
def test_windows_give_the_pixels_of_the_whole(stages: int) -> None:
    """A window that starts at a multiple of 64 pixels and goes on for 64 beyond its core needs no more."""
    torch.manual_seed(0)
    model = Joint(JointConfig(**{**vars(TINY), "stages": stages})).eval()
    assert reach(model)["synthesis"] == 64
    s = model.span
    y = torch.randn(1, 8, 2 * s, 5 * s)
    with torch.no_grad():
        whole, window = model.synthesise(y), model.synthesise(y[..., s : 4 * s])
    assert torch.allclose(whole[..., 128:192], window[..., 64:128], atol=2e-3)  # of 255
    assert not torch.allclose(whole[..., 64:128], window[..., :64], atol=2e-3)  # the halo is needed


def test_one_square_is_the_published_network() -> None:
    """At 64×64 picture and label share their early blocks, as in the paper; labels take any size."""
    torch.manual_seed(0)
    model, y = Joint(TINY).eval(), torch.randn(2, 8, 4, 4)
    with torch.no_grad():
        features, tokens = early_features(model.trunk, y, 4)
        mixed = model.aggregation(features).transpose(1, 2).unflatten(2, (4, 4))
        picture = model.synthesis(mixed) * 32 + 127.5
        assert torch.allclose(model.synthesise(y), picture, atol=1e-3)
        assert torch.allclose(model.labels(y), late_logits(model.trunk, tokens, 4), atol=1e-5)
        assert model.labels(torch.randn(1, 8, 3, 7)).shape == (1, 3)


def test_without_aggregation_the_picture_needs_no_block() -> None:
    model = Joint(JointConfig(**{**vars(TINY), "aggregated": 1}))
    model.synthesise(torch.randn(1, 8, 4, 4)).square().sum().backward()
    assert all(p.grad is None for p in model.trunk.blocks.parameters())
