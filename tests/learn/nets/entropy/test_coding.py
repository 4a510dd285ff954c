"""The estimate driver by phases gives what the plain formula gives: values, bits and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bifocal.errors import ModelError
from bifocal.learn.nets.codec import quality_anchors
from bifocal.learn.nets.entropy.coding import Estimate, Reconstruction, phases
from bifocal.learn.nets.entropy.exact import ExactConv, round_ste
from bifocal.learn.nets.entropy.prior import INDEX_FRACTION, MEAN_FRACTION, TABLES, logistic_bits
from bifocal.learn.systems.lapped import Lapped, LappedConfig
from bifocal.stream.plan import Group, Plan, code_groups, group_mask

TINY = LappedConfig(
    latent=8, synthesis_width=8, synthesis_blocks=1, hyper=4, features=6, context=10, anchors=3
)


class Plain:
    """The driver as one would write it first: whole maps, masks, a canvas."""

    def __init__(
        self,
        plan: Plan,
        nets: list[list[ExactConv]],
        features: Tensor,
        y: Tensor,
        anchors: Tensor,
        exact: bool,
    ) -> None:
        self.plan, self.nets, self.features, self.y, self.anchors, self.exact = (
            *(plan, nets, features, y, anchors),
            exact,
        )
        self.total = torch.zeros_like(y)

    def start(self) -> Tensor:
        return torch.zeros_like(self.y)

    def predict(self, k: int, group: Group, decoded: Tensor) -> tuple[Tensor, Tensor]:
        grid = 2.0 ** (self.plan.fraction - self.plan.context_shift)
        context = round_ste(decoded, grid) if self.exact else decoded
        context = context.clamp(-self.plan.context_max / grid, self.plan.context_max / grid)
        x = torch.cat([self.features, context * (grid * 2.0**-self.plan.fraction)], 1)
        for layer in self.nets[k]:
            x = layer(x, self.anchors, self.exact)
        mu, index = x.chunk(2, 1)
        index = (index * 2**INDEX_FRACTION).clamp(0, TABLES - 1)
        return mu * 2.0 ** (MEAN_FRACTION - self.plan.fraction), index

    def code(self, group: Group, mu: Tensor, index: Tensor, decoded: Tensor) -> Tensor:
        mask = torch.from_numpy(group_mask(group, *mu.shape[-2:]).copy())
        part = slice(group.start, group.stop)
        table = torch.floor(index + 0.5)
        q = torch.where(table < self.plan.skip, 0 * mu, round_ste(self.y[:, part] - mu))
        bits = torch.where(table < self.plan.skip, 0 * mu, logistic_bits(q, table))
        self.total = torch.cat(
            [self.total[:, : group.start], self.total[:, part] + bits * mask, self.total[:, group.stop :]], 1
        )
        here = torch.where(mask, q + mu, decoded[:, part])
        return torch.cat([decoded[:, : group.start], here, decoded[:, group.stop :]], 1)


def driven(exact: bool, h: int, w: int, plain: bool) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Decoded latents, bits a channel, and gradients of a sum of both."""
    torch.manual_seed(0)
    model = Lapped(TINY)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    anchors = quality_anchors(torch.tensor([20, 80]), TINY.anchors)
    y = (3 * torch.randn(2, 32, h, w)).requires_grad_()
    features = round_ste(2 * torch.rand(2, 6, h, w), 16.0).detach().requires_grad_()
    arguments = (model.plan, model.group_predictors, features, y, anchors, exact)
    if plain:
        straight = Plain(*arguments)
        decoded = code_groups(model.plan, straight)
        bits = straight.total.sum((2, 3))
    else:
        driver = Estimate(*arguments)
        parts = code_groups(model.plan, driver)
        decoded, bits = driver.whole(parts), driver.bits(noise=False)
        assert torch.allclose(driver.bit_maps().sum((2, 3)), bits, rtol=1e-4)
    weights = torch.sin(torch.arange(decoded.numel())).reshape(decoded.shape)  # any loss of the values
    (bits.sum() + (decoded * weights).sum()).backward()
    nets = [parameter.grad for parameter in model.predictors.parameters()]
    return decoded, bits, [g for g in (y.grad, features.grad, *nets) if g is not None]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("h", "w"), [(4, 6), (3, 5), (1, 1)])
def test_phases_give_what_whole_maps_give(exact: bool, h: int, w: int) -> None:
    decoded, bits, gradients = driven(exact, h, w, plain=False)
    plain_decoded, plain_bits, plain_gradients = driven(exact, h, w, plain=True)
    assert torch.allclose(decoded, plain_decoded, atol=1e-4)
    # tables are whole in the plain formula: without them the two differ in the index only
    assert torch.allclose(bits, plain_bits, rtol=1e-4, atol=1e-3)
    for mine, theirs in zip(gradients[:2], plain_gradients[:2], strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()) + 1e-6)


def test_bits_with_noise_have_the_gradient_of_the_formula() -> None:
    torch.manual_seed(1)
    from bifocal.learn.nets.entropy.coding import _Bits

    residual = (4 * torch.randn(500, dtype=torch.float64)).requires_grad_()
    index = (80 * torch.rand(500, dtype=torch.float64) - 8).requires_grad_()
    both = []
    for bits in (_Bits.apply(residual, index), logistic_bits(residual, index)):
        both.append((bits, *torch.autograd.grad(bits.sum(), [residual, index])))
    for mine, theirs in zip(*both, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-6, atol=1e-9)


def test_a_group_in_steps_needs_channels_for_all_of_them() -> None:
    plan = Plan(6, 2, (Group(0, 6, 4, 0),))
    with pytest.raises(ModelError, match="multiple of 4"):
        phases(plan, 1, 2, 2)


def test_points_are_means_of_what_rounds_to_a_symbol() -> None:
    """Triangular values, denser towards zero: those that round to 1 are 0.94 on average, to 2 likewise."""
    torch.manual_seed(0)
    u = torch.rand(200_000)
    residual = 5 * (1 - u.sqrt()) * torch.where(torch.rand(len(u)) < 0.5, -1.0, 1.0)
    q, table = torch.round(residual), torch.full((len(u),), 9.0)
    reconstruction = Reconstruction()
    reconstruction.measure(residual, q, table)
    shift = reconstruction.shift[9]
    assert shift[0].item() == pytest.approx(1 / 12 / 4, abs=0.004)  # a slope of 1 in 4, over 12
    points = reconstruction.points(q, table)
    assert (points - residual).square().mean() < (q - residual).square().mean()
    assert torch.equal(points[q == 0], q[q == 0])
    assert torch.equal(reconstruction.points(-q, table), -points)


def test_points_are_on_the_grid_of_the_integers_in_exact_mode() -> None:
    torch.manual_seed(0)
    model = Lapped(TINY)
    assert model.reconstruction is not None
    model.reconstruction.total.fill_(30.0)
    model.reconstruction.count.fill_(50.0)
    anchors = quality_anchors(torch.tensor([90]), TINY.anchors)
    model.eval()
    driver = Estimate(
        *(model.plan, model.group_predictors, torch.ones(1, 6, 4, 4), 9 * torch.randn(1, 32, 4, 4), anchors),
        exact=True,
        reconstruction=model.reconstruction,
    )
    parts = code_groups(model.plan, driver)
    offsets = torch.cat(
        [(part - mu).flatten() for part, (mu, _) in zip(parts, driver.predicted, strict=True)]
    )
    assert torch.equal(offsets * 16, torch.round(offsets * 16))
    assert (offsets.abs() % 1).unique().tolist() == [0.0, 1 - 3 / 16]  # 30/150 of a step, on the grid
    assert model.reconstruction.count[0, 0] == 50  # nothing is measured in evaluation
