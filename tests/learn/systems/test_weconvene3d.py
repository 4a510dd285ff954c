"""3DM-WeConvene: its reconstruction at full size, its octants, and that training reaches all of it."""

import pytest
import torch

from bifocal.errors import ModelError
from bifocal.learn.nets.cost import count
from bifocal.learn.nets.transforms.lifting import CDF97, decompose
from bifocal.learn.systems.weconvene3d import PAPER, WeConvene3D, WeConvene3DConfig
from tests.contract.tiny_systems import TINY


def test_paper_size_runs_forward() -> None:
    """Counted by ourselves; no total was published."""
    torch.manual_seed(0)
    model = WeConvene3D(PAPER).eval()
    pixels, quality = torch.rand(1, 3, 64, 64) * 255, torch.tensor([50])
    rows = {r.part: r for r in count(model, lambda: model(pixels, quality, exact=False, noise=False), 4096)}
    total = sum(r.parameters for r in rows.values()) / 1e6, sum(r.kmac for r in rows.values())
    assert total == pytest.approx((67.52, 1992.3), rel=1e-4)


def test_y_is_the_transform_over_three_axes() -> None:
    torch.manual_seed(0)
    model = WeConvene3D(WeConvene3DConfig(**TINY["weconvene3d"] | {"wavelet": "9/7"})).eval()
    pixels = torch.rand(1, 3, 64, 128) * 255
    with torch.no_grad():
        y = model.analyse(pixels)
        x = model.analysis((pixels - 127.5) / 32)
        bands = decompose(x, CDF97, axes=(1, 2, 3))
        assert torch.allclose(y, torch.cat([bands.low, *bands.high[0]], 1), atol=1e-4)
        model.synthesis = torch.nn.Identity()
        assert torch.allclose((model.synthesise(y) - 127.5) / 32, x, atol=1e-4)


@pytest.mark.parametrize(
    "change", [{}, {"channels": False}, {"channels": False, "levels": 1}, {"prior": "paper"}]
)
def test_forward_gives_picture_and_bits(change: dict) -> None:
    torch.manual_seed(0)
    model = WeConvene3D(WeConvene3DConfig(**TINY["weconvene3d"] | change))
    pixels = torch.rand(2, 3, 64, 128) * 255
    coded = model(pixels, torch.tensor([1, 100]), exact=True, noise=True)
    assert coded.output.shape == pixels.shape
    assert bool((coded.bits > 0).all()) and coded.bits[1] > coded.bits[0]
    (coded.output.square().mean() + coded.bits.mean()).backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())]
    assert missing == []


def test_packets_start_in_the_low_half_of_the_channels() -> None:
    """What a smooth picture holds is in the low octant before any training."""
    torch.manual_seed(0)
    model = WeConvene3D().eval()
    ramp = torch.linspace(40, 220, 128).expand(1, 3, 128, 128)
    with torch.no_grad():
        energy = model.analyse(ramp).square().sum((0, 2, 3))
    assert float(energy[: model.config.low].sum() / energy.sum()) > 0.9


def test_groups_cover_all_channels_low_octant_first() -> None:
    plan = WeConvene3DConfig().plan
    starts = [(g.start, g.stop) for g in plan.groups]
    assert starts == [(0, 6), (6, 12), (12, 18), (18, 24), (24, 96), (96, 120), (120, 192)]


def test_unknown_priors_are_refused() -> None:
    with pytest.raises(ModelError, match="Choose 'exact' or 'paper'"):
        WeConvene3D(WeConvene3DConfig(prior="none"))
    with pytest.raises(ModelError, match="never packed"):
        _ = WeConvene3D(WeConvene3DConfig(**TINY["weconvene3d"] | {"prior": "paper"})).exact_layers
