"""WeConvene: the published size part by part, the small rows, and what cannot be packed."""

import dataclasses

import pytest
import torch

from bifocal.errors import ModelError
from bifocal.learn.nets.cost import Cost, count
from bifocal.learn.recipe import load_recipe
from bifocal.learn.systems.weconvene import PAPER, WeConvene, WeConveneConfig
from tests.contract.tiny_systems import TINY

DEAD = 128 * 128 * 9 + 128  # the convolution that a down block of the released code never runs
FACTORISED = 192 * 61  # its density of z


def test_paper_size_has_the_published_parameters_and_products() -> None:
    """Part by part; the published counts have the dead weights in them, which are added here."""
    torch.manual_seed(0)
    model = WeConvene(PAPER).eval()
    pixels, quality = torch.rand(1, 3, 64, 64) * 255, torch.tensor([50])
    rows = {r.part: r for r in count(model, lambda: model(pixels, quality, exact=False, noise=False), 4096)}
    y, table, anchors = torch.randn(1, 1280, 4, 4), torch.full((1, 192), 20.0), torch.eye(12)[:1]
    rows |= {r.part: r for r in count(model.prior, lambda: model.prior(y, table, anchors, False), 4096)}
    hyper = [rows[name] for name in ("hyper_analysis", "hyper_mean", "hyper_scale")]
    parts = {
        "analysis": (rows["analysis"], 2 * DEAD, 7.10, 1513.9),
        "synthesis": (rows["synthesis"], 0, 9.21, 528.0),
        "hyper": (Cost("", sum(r.parameters for r in hyper), sum(r.kmac for r in hyper)), DEAD, 16.1, 9.1),
        "low": (rows["low"], 0, 29.6, 115.5),
        "high": (rows["high"], 0, 45.1, 176.2),
    }
    for part, (row, dead, parameters, kmac) in parts.items():
        assert (row.parameters + dead) / 1e6 == pytest.approx(parameters, abs=0.05), part
        assert row.kmac == pytest.approx(kmac, abs=0.1), part
    total = sum(row.parameters for row, *_ in parts.values())
    assert total / 1e6 == pytest.approx(107.15, rel=0.005)
    assert (total + 3 * DEAD + FACTORISED) / 1e6 == pytest.approx(107.15, abs=0.005)
    assert sum(row.kmac for row, *_ in parts.values()) == pytest.approx(2343, rel=0.01)


ROWS = [
    "weconvene-row-residual",
    "weconvene-row-weconv",
    "weconvene-small",
    "weconvene-row-97",
    "weconvene-row-float",
]


def test_small_rows_cost_about_the_same(tmp_path) -> None:
    """Where an idea does not cost by itself; the float prior at a quarter of the paper's width does."""
    pixels, quality = torch.zeros(1, 3, 64, 64), torch.tensor([50])

    def kmac(name: str) -> float:
        model = WeConvene(load_recipe(tmp_path / f"{name}.toml").system)
        return sum(
            r.kmac for r in count(model, lambda: model(pixels, quality, exact=False, noise=False), 4096)
        )

    assert [kmac(name) for name in ROWS] == pytest.approx([14.5, 17.4, 16.8, 16.8, 26.3], abs=0.3)


@pytest.mark.parametrize(
    "change",
    [{}, {"wavelet": "9/7"}, {"transform": "residual", "slices_of": "channels"}, {"prior": "paper"}],
    ids=["haar", "9/7", "residual", "float"],
)
@pytest.mark.parametrize("exact", [False, True])
def test_forward_gives_picture_and_bits(change: dict, exact: bool) -> None:
    torch.manual_seed(0)
    model = WeConvene(WeConveneConfig(**TINY["weconvene"] | change))
    pixels = torch.rand(2, 3, 64, 128) * 255
    coded = model(pixels, torch.tensor([1, 100]), exact=exact, noise=True)
    assert coded.output.shape == pixels.shape
    assert bool((coded.bits > 0).all()) and coded.bits[1] > coded.bits[0]
    (coded.output.square().mean() + coded.bits.mean()).backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())]
    assert missing == []


def test_high_slices_come_after_the_whole_low_band() -> None:
    plan = WeConveneConfig().plan
    assert [(g.start, g.stop) for g in plan.groups[:5]] == [(0, 12), (12, 24), (24, 36), (36, 48), (48, 84)]
    assert plan.groups[-1].stop == plan.y_channels == 192
    channels = dataclasses.replace(WeConveneConfig(), slices_of="channels").plan
    assert channels.y_stride == 8 and channels.y_channels == 48


def test_a_float_prior_is_never_packed() -> None:
    model = WeConvene(WeConveneConfig(**TINY["weconvene"] | {"prior": "paper"}))
    with pytest.raises(ModelError, match="never packed"):
        _ = model.exact_layers
    with pytest.raises(ModelError, match="fourier"):
        WeConvene(WeConveneConfig(transform="fourier"))
