"""The published network of the joint codec: its costs, what it sends, and that training reaches all of it."""

import pytest
import torch

from bifocal.learn.nets.cost import count
from studies.joint.paper import PaperJoint, PaperJointConfig

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
