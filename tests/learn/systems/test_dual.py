"""The dual-branch codec: its fold, its groups, what conditions what, and where it starts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bifocal.learn.nets.codec import quality_anchors
from bifocal.learn.nets.cost import count
from bifocal.learn.nets.transforms.packets import PIXELS, halve, start_down, start_up
from bifocal.learn.nets.transforms.residual import Subpixel
from bifocal.learn.systems.dual import PAPER, Dual, DualConfig, fold, unfold
from tests.conftest import made_picture

TINY = DualConfig(
    stem=12,
    trunk=16,
    low_width=8,
    low_up=4,
    fused=18,
    blocks=1,
    high=16,
    low=8,
    high_slices=2,
    low_slices=2,
    hyper=4,
    features=8,
    context=8,
    anchors=2,
)
DEEP = replace(TINY, high_width=20, low_deep=8)


def test_fold_is_undone_and_puts_the_diagonal_first() -> None:
    y = torch.arange(2 * 4 * 4 * 6.0).reshape(2, 4, 4, 6)
    folded = fold(y, 2)
    assert folded.shape == (2, 16, 2, 3)
    assert torch.equal(unfold(folded, 2), y)
    places = [(0, 0), (1, 1), (0, 1), (1, 0)]
    for n in range(2):
        for k, (i, j) in enumerate(places):
            part = folded[:, 8 * n + 2 * k : 8 * n + 2 * k + 2]
            assert torch.equal(part, y[:, 2 * n : 2 * n + 2, i::2, j::2])


def test_two_steps_are_a_checkerboard_of_the_fine_map() -> None:
    config = replace(TINY, low=0, steps=2)
    plan = config.plan
    marked = torch.zeros(1, 64, 2, 2)
    for k, group in enumerate(plan.groups):
        marked[:, group.start : group.stop] = k
    board = unfold(marked, config.high_slices)[0]
    i, j = torch.arange(4)[:, None], torch.arange(4)
    for channel, passes in enumerate(board):
        assert torch.equal(passes, 2 * (channel // 8) + (i + j) % 2)


def test_groups_are_high_then_low_and_cover_all() -> None:
    plan = DualConfig().plan
    assert (plan.y_stride, plan.z_stride, plan.y_channels) == (16, 64, 4 * 40 + 96)
    assert [g.start for g in plan.groups] == [0, 40, 80, 120, 160, 208]
    assert DEEP.plan.y_stride == PAPER.plan.y_stride == 32
    assert plan.groups[-1].stop == plan.y_channels


@pytest.mark.parametrize("conditioned", [True, False])
def test_only_a_conditioned_low_latent_sees_the_high_one(conditioned: bool) -> None:
    torch.manual_seed(0)
    model = Dual(replace(TINY, conditioned=conditioned))
    anchors = quality_anchors(torch.tensor([50]), 2)
    x = torch.randn(1, 8 + model.plan.y_channels, 2, 2)
    other = x.clone()
    other[:, 8 : 8 + 4 * TINY.high] += 1
    for k, group in enumerate(model.plan.groups):
        first = model.exact_layers[f"predict.{k}"][0]
        sees = conditioned or group.start < 4 * TINY.high
        assert torch.equal(first(x, anchors, False), first(other, anchors, False)) != sees


def test_packets_of_a_chain_are_put_together_again() -> None:
    """With enough channels the start is an orthonormal transform: what is left of random weights is small."""
    torch.manual_seed(0)
    down = [torch.nn.Conv2d(3, 12, 3, 2, 1), torch.nn.Conv2d(12, 48, 3, 2, 1)]
    up = [Subpixel(48, 12), Subpixel(12, 3)]
    labels = [PIXELS]
    for conv in down:
        labels.append(start_down(conv, labels[-1]))
    assert sorted(labels[2]) == sorted((c, u, v) for c in range(3) for u in range(4) for v in range(4))  # type: ignore[type-var]
    for layer, coarse, finer in zip(up, labels[:0:-1], labels[1::-1], strict=True):
        start_up(layer, coarse, finer)
    pixels = torch.from_numpy(made_picture(32, 48)).permute(2, 0, 1)[None].float() / 32 - 4
    y = down[1](down[0](pixels))
    assert float((y.detach().norm() / pixels.norm() - 1).abs()) < 0.1
    assert float((up[1](up[0](y)) - pixels).detach().norm() / pixels.norm()) < 0.3
    assert halve([(0, 0, 0), None], 5) == [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), None]


CONFIGS = [TINY, DEEP, replace(TINY, conditioned=False), replace(TINY, low=0, steps=4)]


@pytest.mark.parametrize("config", CONFIGS)
def test_it_trains_everywhere_and_starts_as_a_transform(config: DualConfig) -> None:
    torch.manual_seed(0)
    model = Dual(config)
    pixels = torch.from_numpy(made_picture(64, 128)).permute(2, 0, 1)[None].float()
    coded = model(pixels, torch.tensor([60]), exact=True, noise=True)
    assert coded.output.shape == pixels.shape
    error, spread = (coded.output - pixels).square().mean(), pixels.var()
    assert float(error.detach()) < 0.1 * float(spread)
    (error + coded.bits.mean()).backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())]
    assert missing == []


@pytest.mark.parametrize("config", [TINY, DEEP])
def test_both_latents_start_with_packets_of_their_own(config: DualConfig) -> None:
    """The picture needs both."""
    torch.manual_seed(0)
    model = Dual(config).eval()
    pixels = torch.from_numpy(made_picture(64, 128)).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        y = model.analyse(pixels)
        n = 4 * config.high
        errors = []
        for kept in (slice(0, None), slice(0, n), slice(n, None)):
            part = torch.zeros_like(y)
            part[:, kept] = y[:, kept]
            errors.append(float((model.synthesise(part) - pixels).square().mean()))
    assert min(errors[1:]) > 1.5 * errors[0]


def test_paper_size_runs_and_is_counted() -> None:
    model, side = Dual(PAPER).eval(), 64
    pixels, quality = torch.rand(1, 3, side, side) * 255, torch.tensor([50])
    rows = count(model, lambda: model(pixels, quality, exact=False, noise=False), side * side)
    assert sum(row.parameters for row in rows) == 15_391_820
    assert sum(row.kmac for row in rows) == pytest.approx(553.7, rel=0.005)
