"""The polynomial functions stay within the errors that the sheet and the docstrings name."""

import torch
from torch.nn import functional as F

from bifocal.learn.nets.heads.polynomial import plan_sigmoid, poly_exp, poly_gelu, poly_softmax

X = torch.linspace(-12, 12, 24001, dtype=torch.float64)


def test_gelu_with_delta_one_is_the_gelu() -> None:
    assert 0.017 < float((poly_gelu(X, 1.0) - F.gelu(X)).abs().max()) < 0.0185


def test_gelu_with_delta_half_contracts() -> None:
    assert float((poly_gelu(X, 0.5) - (F.gelu(X) / 2 + X / 4)).abs().max()) < 0.0095
    slope = (poly_gelu(X, 0.5).diff() / X.diff()).abs()
    assert float(slope.max()) < 0.84 and float(slope.min()) > 0.16
    assert float((poly_gelu(X, 1.0).diff() / X.diff()).max()) > 1.1
    slope = (poly_gelu(X, 0.77).diff() / X.diff()).abs()
    assert float(slope.max()) < 1.0 + 1e-3


def test_exp_over_many_octaves() -> None:
    t = torch.linspace(-30, 0, 30001, dtype=torch.float64)
    assert float((poly_exp(t) - t.exp()).abs().max()) < 0.0022
    assert float((poly_exp(t) / t.exp() - 1).abs().max()) < 0.0032
    assert poly_exp(torch.tensor(-200.0)) == 0 or poly_exp(torch.tensor(-200.0)) < 1e-30


def test_sigmoid() -> None:
    assert 0.018 < float((plan_sigmoid(X) - X.sigmoid()).abs().max()) < 0.0195
    assert torch.allclose(plan_sigmoid(X) + plan_sigmoid(-X), torch.ones_like(X))
    assert plan_sigmoid(X).diff().min() > -0.004  # PLAN falls by 1/256 at 2.375


def test_softmax_sums_to_delta() -> None:
    x = torch.randn(4, 9) * 5
    assert torch.allclose(poly_softmax(x, 0.5).sum(-1), torch.full((4,), 0.5))
    assert float((poly_softmax(x) - x.softmax(-1)).abs().max()) < 0.004


def test_gradients_are_finite() -> None:
    x = torch.tensor([-9.0, -2.375, -1.0, 0.0, 0.5, 5.0], requires_grad=True)
    (poly_gelu(x).sum() + plan_sigmoid(x).sum() + (poly_softmax(x) * torch.arange(6.0)).sum()).backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()
