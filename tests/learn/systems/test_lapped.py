"""The default codec's second generation: a codec before any training, near-lossless at the top."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bifocal.learn.systems.lapped import Lapped, LappedConfig
from tests.conftest import made_picture

TINY = LappedConfig(
    latent=16, synthesis_width=8, synthesis_blocks=1, hyper=4, features=8, context=8, anchors=3
)


def picture() -> torch.Tensor:
    return torch.from_numpy(made_picture(128, 192)).permute(2, 0, 1).float()[None]


def test_it_is_complete_before_training() -> None:
    """Without rounding, all coefficients give the picture back, but at its edges."""
    torch.manual_seed(0)
    model = Lapped(replace(LappedConfig(), synthesis_width=0))
    x = picture()
    with torch.no_grad():
        again = model.synthesise(model.analyse(x))
    assert (again - x)[..., 16:-16, 16:-16].abs().max() < 0.05


def test_its_linear_path_stays_float32_under_autocast() -> None:
    """Bfloat16 would keep some 48 dB of a picture, and the top qualities have 46 to lose."""
    torch.manual_seed(0)
    model = Lapped(replace(LappedConfig(), synthesis_width=0))
    x = picture()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        again = model.synthesise(model.analyse(x))
    assert (again - x)[..., 16:-16, 16:-16].abs().max() < 0.05


@pytest.mark.parametrize("exact", [False, True])
def test_forward_gives_picture_and_bits(exact: bool) -> None:
    torch.manual_seed(0)
    coded = Lapped(TINY)(picture(), torch.tensor([60]), exact=exact, noise=not exact)
    assert coded.output.shape == (1, 3, 128, 192) and coded.small == ()
    assert float(coded.bits.detach()) > 0 and coded.channel_bits.shape == (1, 64)


def test_smaller_pictures_start_as_averages() -> None:
    torch.manual_seed(0)
    config = replace(LappedConfig(), synthesis_width=0, half_width=4, thumb_width=4)
    model = Lapped(config)
    for net in (model.to_half, model.to_thumb):
        torch.nn.init.zeros_(net.tail.weight)
    x = picture()
    with torch.no_grad():
        half, thumb = model.synthesise_small(model.analyse(x))
    mean = torch.nn.functional.avg_pool2d
    assert (half - mean(x, 2))[..., 8:-8, 8:-8].abs().max() < 0.1
    assert (thumb - mean(x, 16))[..., 1:-1, 1:-1].abs().mean() < 6
