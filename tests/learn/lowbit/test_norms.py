"""L1 and L2 norms: against torch's, against finite differences, quantised, and folded."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bifocal.errors import OptionError
from bifocal.learn.lowbit import folded
from bifocal.learn.lowbit.norms import LowBitBatchNorm2d, LowBitLayerNorm, NormSettings


def maps(seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 + 2 * torch.randn(4, 5, 6, 7, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("power", [1, 2])
def test_the_backward_pass_is_that_of_finite_differences(power: int) -> None:
    settings = NormSettings(power=power)
    for norm in (LowBitBatchNorm2d(5, settings), LowBitLayerNorm((6, 7), settings)):
        assert torch.autograd.gradcheck(norm.double(), maps().requires_grad_())


def test_l2_norms_are_those_of_torch() -> None:
    settings = NormSettings(power=2)
    for theirs, kind in ((nn.BatchNorm2d(5), LowBitBatchNorm2d), (nn.LayerNorm(7), LowBitLayerNorm)):
        nn.init.normal_(theirs.weight)
        nn.init.normal_(theirs.bias)
        ours = kind.of(theirs, settings).double()  # type: ignore[arg-type]
        x, y = maps().requires_grad_(), maps().requires_grad_()
        a, b = theirs.double()(x), ours(y)
        torch.testing.assert_close(a, b)
        (a**3).sum().backward()
        (b**3).sum().backward()
        torch.testing.assert_close(x.grad, y.grad)


def test_l1_norm_of_gaussian_values_is_that_of_torch() -> None:
    x = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 4 + 1
    theirs = nn.BatchNorm2d(3)
    ours = LowBitBatchNorm2d.of(theirs, NormSettings())
    torch.testing.assert_close(ours(x), theirs(x), atol=0.02, rtol=0.02)
    trained = LowBitBatchNorm2d.of(theirs, NormSettings())  # its statistics are the same, too
    torch.testing.assert_close(trained.eval()(x), theirs.eval()(x))
    layer = nn.LayerNorm(3 * 256, elementwise_affine=False)
    flat = x.flatten(1)
    torch.testing.assert_close(
        LowBitLayerNorm.of(layer, NormSettings())(flat), layer(flat), atol=0.3, rtol=0.1
    )


def test_quantised_norms_are_near_and_use_few_values() -> None:
    x = maps().float().requires_grad_()
    exact = LowBitBatchNorm2d(5)
    coarse = LowBitBatchNorm2d(5, NormSettings("n", bits=8))
    near = coarse(x)
    torch.testing.assert_close(near, exact(x), atol=0.1, rtol=0.05)
    near.square().sum().backward()
    assert x.grad is not None and bool(x.grad.isfinite().all())
    four = LowBitBatchNorm2d(1, NormSettings("n", bits=4))(maps()[:, :1].float())
    assert len(four.unique()) <= 15
    assert LowBitBatchNorm2d(5).train()(x).shape == x.shape


def test_constant_channels_stay_finite() -> None:
    x = torch.zeros(2, 3, 4, 4, requires_grad=True)
    for bits in (0, 4):
        for power in (1, 2):
            LowBitBatchNorm2d(3, NormSettings("n", power, bits))(x).sum().backward()
            assert x.grad is not None and bool(x.grad.isfinite().all())


def test_a_folded_convolution_does_what_both_did() -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 5, 3, padding=1), LowBitBatchNorm2d(5)
    nn.init.normal_(norm.weight)
    for _ in range(5):
        norm(conv(torch.randn(8, 3, 9, 9)))
    x = torch.randn(2, 3, 9, 9)
    both = norm.eval()(conv.eval()(x))
    torch.testing.assert_close(folded(conv, norm)(x), both)


def test_the_running_scale_is_the_mean_absolute_deviation() -> None:
    x = torch.randn(64, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2
    norm = LowBitBatchNorm2d(1, momentum=1.0)
    norm(x)
    assert float(norm.running_scale) == pytest.approx(2 * math.sqrt(2 / math.pi), rel=0.02)


def test_compiled_norms_are_the_same_to_rounding() -> None:
    """Values, gradients of x, γ and β, and running statistics; batch and layer."""
    x = maps().float()
    x[0, 0, 0, 0] = x[0, 0].mean()
    for made in (lambda s: LowBitBatchNorm2d(5, s), lambda s: LowBitLayerNorm((6, 7), s)):
        found = []
        for fused in (False, True):
            norm = made(NormSettings(fused=fused))
            nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(0))
            given = x.clone().requires_grad_()
            y = norm(given.transpose(2, 3).contiguous().transpose(2, 3))
            (y**3).sum().backward()
            found.append([y, given.grad, norm.weight.grad, norm.bias.grad, *norm.buffers()])
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4, check_dtype=False) if a.ndim else None
    with pytest.raises(OptionError, match="fused norms are float"):
        NormSettings(fused=True, bits=8)


def test_another_power_is_refused() -> None:
    with pytest.raises(OptionError, match="1 or 2"):
        NormSettings(power=3)
