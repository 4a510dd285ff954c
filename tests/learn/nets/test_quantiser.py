"""The quantiser: its formulas, its groups, unbiased rounding, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from bifocal.errors import OptionError
from bifocal.learn.nets.quantiser import CHANNEL, Groups, Quantiser, channel_ranges, fraction_bits


def spread_channels(rows: int = 64, channels: int = 32, spread: float = 1.5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    scale = torch.exp(spread * torch.randn(channels, generator=generator))
    return torch.randn(rows, channels, generator=generator) * scale


@pytest.mark.parametrize("bits", [4, 6, 8])
@pytest.mark.parametrize("groups", [1, 2, 4, 8, CHANNEL])
def test_no_error_is_larger_than_half_a_step(bits: int, groups: Groups) -> None:
    x = spread_channels()
    found = Quantiser(bits, groups)(x, (1,))
    steps = found.scale if found.shifts is None else found.scale * torch.exp2(-found.shifts)
    assert bool(((found.values - x).abs() <= 0.5001 * steps).all())
    assert int(found.integers.abs().max()) <= found.largest
    assert float(found.shifted.abs().max()) <= found.reach or groups == CHANNEL


def test_groups_are_those_of_the_formula_and_fit_their_channels() -> None:
    ranges = torch.tensor([[8.0, 4.1, 4.0, 1.1, 0.01, 0.0]])
    found = Quantiser(4, 4)(torch.ones(1, 6) * ranges, (1,))
    assert found.shifts is not None
    assert found.shifts.tolist() == [[0, 0, 1, 2, 3, 3]]
    assert found.unit == 8 / 7 / 8


def test_more_groups_are_closer_to_a_scale_for_each_channel() -> None:
    x = spread_channels()
    errors = [float((Quantiser(4, g)(x, (1,)).values - x).square().mean()) for g in (1, 2, 4, CHANNEL)]
    assert errors[0] > 1.5 * errors[1] > 2 * errors[2] > errors[3]


def test_stochastic_rounding_has_no_bias_and_nearest_has() -> None:
    x = torch.full((20_000,), 0.3)
    x[0] = 7.0
    noise = torch.rand(20_000, generator=torch.Generator().manual_seed(1))
    assert Quantiser(4)(x, (), noise=noise).values[1:].mean() == pytest.approx(0.3, abs=0.01)
    assert not Quantiser(4)(x, ()).values[1:].any()


def test_a_power_of_two_scale_is_one_and_fits() -> None:
    for largest in (0.7, 1.0, 7.0, 7.01, 1e-20, 0.0):
        x = torch.tensor([largest, -largest])
        found = Quantiser(4, power_of_two=True)(x, ())
        assert torch.equal(torch.exp2(torch.log2(found.scale).round()), found.scale)
        assert torch.allclose(found.values, x, atol=float(found.scale) / 2)


def test_given_ranges_saturate() -> None:
    x = torch.tensor([[10.0, 1.0]])
    found = Quantiser(8, 2)(x, (1,), ranges=torch.tensor([[2.0, 1.0]]))
    assert found.values.flatten().tolist() == pytest.approx([2.0, 1.0])


def test_what_is_not_a_number_is_not_a_scale() -> None:
    for bad in (float("nan"), float("inf"), float("-inf")):
        assert not Quantiser(4, 4)(torch.tensor([[1.0, bad]]), (1,)).scale.isfinite()


@pytest.mark.parametrize(("bits", "groups"), [(1, 1), (17, 1), (4, 0), (4, 17)])
def test_numbers_out_of_range_are_refused(bits: int, groups: int) -> None:
    with pytest.raises(OptionError, match="give"):
        Quantiser(bits, groups)


def test_ranges_and_fraction_bits() -> None:
    x = torch.tensor([[[1.0, -2.0]], [[-5.0, 0.5]]])
    assert channel_ranges(x, (0,)).flatten().tolist() == [2.0, 5.0]
    assert channel_ranges(x, (2,)).flatten().tolist() == [5.0, 2.0]
    assert float(channel_ranges(x, ())) == 5.0
    assert fraction_bits(torch.tensor(127.0), 127) == 0
    assert fraction_bits(torch.tensor(127.1), 127) == -1
