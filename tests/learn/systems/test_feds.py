"""FEDS: teacher and student of one design, stage by stage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bifocal.learn.nets.cost import count
from bifocal.learn.recipe import load_recipe
from bifocal.learn.systems.feds import PAPER_STUDENT, PAPER_TEACHER, Feds, FedsConfig
from bifocal.learn.training.distillation import tapped
from tests.conftest import made_picture

TINY = FedsConfig(
    width_2=12,
    width_4=16,
    width_8=16,
    blocks_4=1,
    latent=14,
    slices=3,
    hyper=4,
    features=8,
    context=8,
    anchors=2,
)
TEACHER = replace(TINY, width_8=32, attention=2, window=4, latent=16)
DEEP = replace(TEACHER, width_16=16, blocks_16=1)


@pytest.mark.parametrize("config", [TINY, TEACHER, DEEP])
def test_it_trains_everywhere_and_starts_as_a_transform(config: FedsConfig) -> None:
    torch.manual_seed(0)
    model = Feds(config)
    pixels = torch.from_numpy(made_picture(64, 128)).permute(2, 0, 1)[None].float()
    coded = model(pixels, torch.tensor([60]), exact=True, noise=True)
    error = (coded.output - pixels).square().mean()
    assert float(error.detach()) < 0.5 * float(pixels.var())
    (error + coded.bits.mean()).backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())]
    assert missing == []


@pytest.mark.parametrize(
    "config, widths", [(TINY, [64, 32, 16, 16, 32, 64]), (DEEP, [64, 32, 16, 8, 8, 16, 32, 64])]
)
def test_taps_halve_and_double(config: FedsConfig, widths: list[int]) -> None:
    model = Feds(config)
    with torch.no_grad(), tapped(model, config.taps) as seen:
        model.synthesise(model.analyse(torch.zeros(1, 3, 64, 128)))
    assert [seen[name].shape[3] for name in config.taps] == widths


def test_slices_cover_all_channels() -> None:
    groups = TINY.plan.groups
    assert [(g.start, g.stop) for g in groups] == [(0, 4), (4, 9), (9, 14)]
    assert PAPER_STUDENT.plan.groups[-1].stop == 192


def test_teacher_of_the_recipes_is_larger_everywhere() -> None:
    teacher, student = (load_recipe(Path(f"{name}.toml")).system for name in ("feds-teacher", "feds-small"))
    assert isinstance(teacher, FedsConfig) and isinstance(student, FedsConfig)
    assert student == FedsConfig()
    assert all(t > s for t, s in zip(teacher.widths, student.widths, strict=True))
    assert teacher.attention and teacher.latent > student.latent


def test_paper_size_runs_and_is_counted() -> None:
    side = 64
    pixels, quality = torch.rand(1, 3, side, side) * 255, torch.tensor([50])
    sizes = []
    for config in (PAPER_STUDENT, PAPER_TEACHER):
        model = Feds(config).eval()
        rows = count(model, lambda m=model: m(pixels, quality, exact=False, noise=False), side * side)  # type: ignore[misc]
        sizes.append(sum(row.parameters for row in rows))
        del model
    assert sizes == [10_285_644, 32_193_340]
    assert 1 - sizes[0] / sizes[1] == pytest.approx(0.68, abs=0.005)
