"""The papers' float prior: who sees whom, how far a correction reaches, and its estimate of the rate."""

import pytest
import torch

from bifocal.learn.nets.entropy.charm import ChannelPrior, Correction, SliceEstimate, estimate_slices
from bifocal.learn.nets.entropy.hyperprior import FloatEntropy
from bifocal.learn.nets.transforms.residual import Bands
from bifocal.stream.plan import Group, Plan, code_groups

PLAN = Plan(16, 4, (Group(0, 2, 1, 0), Group(2, 4, 1, 0), Group(4, 10, 1, 0), Group(10, 16, 1, 0)))


def priors(bound: str = "tanh", inner: int = 4) -> tuple[ChannelPrior, ChannelPrior]:
    torch.manual_seed(0)
    return tuple(
        ChannelPrior(PLAN, *ends, features=6, inner=inner, hidden=(8, 8), bound=bound)
        for ends in ((0, 4), (4, 16))
    )


@pytest.mark.parametrize("inner", [4, 0], ids=["gated", "simple"])
def test_a_slice_sees_those_before_it_and_no_other(inner: int) -> None:
    y = torch.randn(1, 16, 4, 4) * 3
    driver = SliceEstimate(priors(inner=inner), torch.randn(1, 6, 4, 4), torch.randn(1, 6, 4, 4), y)
    y.requires_grad_()
    code_groups(PLAN, driver)
    for group, mu, deviation in zip(PLAN.groups, driver.means, driver.deviations, strict=True):
        for made in (mu, deviation):
            (gradient,) = torch.autograd.grad(made.sum(), y, retain_graph=True)
            seen = gradient.abs().sum((0, 2, 3)) > 0
            assert seen.tolist() == [True] * group.start + [False] * (16 - group.start)


@pytest.mark.parametrize("bound", ["tanh", "clip"])
def test_a_correction_is_half_a_step_at_most(bound: str) -> None:
    net = Correction(5, 3, hidden=(8, 8), bound=bound)
    net.net[-1].weight.data *= 100
    support, y = torch.randn(1, 5, 4, 4) * 9, torch.randn(1, 3, 4, 4)
    change = (net(support, y) - y).abs().detach()
    assert 0.4 < float(change.max()) <= 0.5 + 1e-6


def test_without_a_correction_latents_are_rounded_around_their_means() -> None:
    y, features = torch.randn(1, 16, 4, 4) * 3, torch.randn(1, 6, 4, 4)
    driver = SliceEstimate(priors(bound=""), features, features, y)
    decoded = code_groups(PLAN, driver)
    assert torch.equal(decoded, torch.cat(driver.rounded, 1))
    steps = decoded - torch.cat(driver.means, 1)
    assert torch.allclose(steps, steps.round(), atol=1e-5)
    assert bool(((decoded - y).abs() <= 0.5 + 1e-5).all())


@pytest.mark.parametrize("family", ["gaussian", "logistic"])
def test_rate_is_finite_and_grows_with_the_latents(family: str) -> None:
    features = torch.randn(2, 6, 4, 4)
    rates = []
    for size in (0.1, 10.0):
        y = torch.randn(2, 16, 4, 4) * size
        for noise in (False, True):
            decoded, bits = estimate_slices(PLAN, priors(), features, features, y, noise=noise, family=family)
            assert decoded.shape == bits.shape == y.shape
            assert bool((bits >= 0).all()) and bool(bits.isfinite().all())
        rates.append(float(bits.sum().detach()))
    assert rates[0] < rates[1]


def test_float_entropy_trains_whole() -> None:
    torch.manual_seed(0)
    net = FloatEntropy(
        PLAN, 4, width=4, hidden=(8, 8), features=6, blocks=1, bands=Bands(), anchors=3, family="logistic"
    )
    y = (torch.randn(2, 16, 8, 8) * 3).requires_grad_()
    z_index, anchors = torch.full((2, 4), 20.0), torch.tensor([[1.0, 0, 0], [0, 0.5, 0.5]])
    decoded, bits, z_bits = net(y, z_index, anchors, True)
    assert decoded.shape == y.shape and bits.shape == (2, 16) and z_bits.shape == (2,)
    (bits.mean() + z_bits.mean() + decoded.square().mean()).backward()
    assert [n for n, p in net.named_parameters() if p.grad is None] == []
