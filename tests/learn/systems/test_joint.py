"""The joint codec: the published network's costs, and that ours gives the same picture window by window."""

import pytest
import torch

from bifocal.learn.nets.cost import count
from bifocal.learn.nets.entropy.factorised import FactorisedDensity, gaussian_bits
from bifocal.learn.nets.heads.aggregation import Aggregation, early_features, late_logits
from bifocal.learn.packing.graphs import reach
from bifocal.learn.systems.joint import Joint, JointConfig
from bifocal.learn.systems.joint_paper import PaperJoint, PaperJointConfig

TINY = JointConfig(
    width=8, latent=8, dim=24, depth=4, heads=2, grid=4, hyper=4, features=8, context=8, anchors=2, classes=3
)
TINY_PAPER = PaperJointConfig(width=8, latent=8, hyper=4, dim=24, depth=4, heads=2, grid=4, classes=3)


def test_published_network_costs_what_the_paper_says() -> None:
    """Multiply-adds at 224×224 within 1 % of the sheet: edge 2.22 G; cloud 4.83, 3.45 and 6.86 G."""
    model, side = PaperJoint().eval(), 224
    pixels = torch.rand(1, 3, side, side) * 255
    with torch.no_grad():
        sent = model.send(pixels)

    def giga(run: object) -> float:
        return sum(row.kmac for row in count(model, run, side * side)) * side * side / 1e6

    assert giga(lambda: model.send(pixels)) == pytest.approx(2.22, rel=0.01)
    assert giga(lambda: model.labels(model.receive(*sent))) == pytest.approx(4.83, rel=0.01)
    assert giga(lambda: model.synthesise(model.receive(*sent))) == pytest.approx(3.45, rel=0.01)
    assert giga(lambda: model.both(model.receive(*sent))) == pytest.approx(6.86, rel=0.01)


def test_published_network_sends_what_it_was_trained_on() -> None:
    torch.manual_seed(0)
    model = PaperJoint(TINY_PAPER).eval()
    pixels = torch.rand(2, 3, 64, 96) * 255
    with torch.no_grad():
        coded = model(pixels, noise=False)
        y_hat = model.receive(*model.send(pixels))
        assert torch.equal(model.labels(y_hat), coded.logits)
        assert torch.equal(model.synthesise(y_hat), coded.output)
    assert coded.output.shape == pixels.shape and coded.logits.shape == (2, 3)
    assert bool((coded.bits > 0).all())
    sigma, mu = model.moments(torch.ones(1, 4, 2, 2))
    both = model.hyper_synthesis(torch.ones(1, 4, 2, 2))
    assert torch.equal(sigma, both[:, :8]) and torch.equal(mu, both[:, 8:])  # deviations come first


def test_both_steps_of_the_published_training_reach_every_weight() -> None:
    torch.manual_seed(0)
    model = PaperJoint(TINY_PAPER)
    first = model(torch.rand(1, 3, 64, 64) * 255, noise=True, entropy=False)
    assert not bool(first.bits.any())
    (first.output.square().mean() + first.logits.square().mean()).backward()
    without = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is None}
    assert without == {"hyper_analysis", "hyper_synthesis", "density"}
    second = model(torch.rand(1, 3, 64, 64) * 255, noise=True)
    (second.output.square().mean() + second.logits.square().mean() + second.bits.mean()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == ["density.medians"]
    model.zero_grad(set_to_none=True)
    model.density.median_error().backward()
    assert [n for n, p in model.named_parameters() if p.grad is not None] == ["density.medians"]


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
