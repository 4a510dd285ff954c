"""A new head that starts from another: the same function but for its classes, and heads that cannot be it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import bifocal
from bifocal.errors import HeadError
from bifocal.learn.nets.heads.latent_stem import (
    LatentClassifierConfig,
    LatentResNet,
    LatentResNetConfig,
    latent_classifier,
)
from bifocal.learn.packing.heads import pack_dense_head
from bifocal.learn.training.classify.start import take_over
from tests.tiny_head import CHANNELS, CLASSES, dense_head

SIZES = LatentResNetConfig(CHANNELS, CHANNELS, width=6, blocks=1, deep_width=5, deep_blocks=1, classes=3)
SCALE = torch.zeros(CHANNELS), torch.ones(CHANNELS)


def packed(network: torch.nn.Module, model: bifocal.Model, path: Path) -> Path:
    made = pack_dense_head(network, name="old", base=model, channels=CHANNELS, classes=CLASSES, window=8)
    path.write_bytes(made.data())
    return path


def trained_network() -> LatentResNet:
    """Not at its start: every norm has statistics and factors of its own."""
    torch.manual_seed(3)
    network = LatentResNet(SIZES, torch.randn(CHANNELS), torch.rand(CHANNELS) + 0.5)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and "norm" in name:
            tensor.copy_(torch.rand_like(tensor) + 0.5)
    return network.eval()


def test_the_function_is_taken_over_but_for_the_classes(tiny_model: bifocal.Model, tmp_path: Path) -> None:
    old, y = trained_network(), torch.randn(6, CHANNELS, 5, 8)
    new = LatentResNet(SIZES, *SCALE)
    classes = new.head.weight.clone()
    take_over(new, packed(old, tiny_model, tmp_path / "old.bfh"), tiny_model, y)
    assert new.training and torch.equal(new.head.weight, classes)
    new.head.load_state_dict(old.head.state_dict())
    torch.nn.init.normal_(new.head.weight)
    old.head.load_state_dict(new.head.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(new.eval()(y), old(y), atol=2e-2, rtol=1e-2)  # float16 weights


def test_heads_of_another_network_or_codec_are_refused(tiny_model: bifocal.Model, tmp_path: Path) -> None:
    new, y = LatentResNet(SIZES, *SCALE), torch.randn(2, CHANNELS, 4, 4)
    sizes = LatentClassifierConfig(CHANNELS, CHANNELS, width=6, blocks=1, dim=6, depth=1, heads=1, classes=3)
    transformer = packed(latent_classifier(sizes, *SCALE), tiny_model, tmp_path / "transformer.bfh")
    for other in (transformer, dense_head(tmp_path / "made.bfh", tiny_model.entropy.fingerprint)):
        with pytest.raises(HeadError, match="has another network"):
            take_over(new, other, tiny_model, y)
    foreign = dense_head(tmp_path / "foreign.bfh", b"8 bytes!")
    with pytest.raises(HeadError, match="reads streams of model tiny, and this one"):
        take_over(new, foreign, tiny_model, y)
    with pytest.raises(HeadError, match="no head 'nothing'"):
        take_over(new, "nothing", tiny_model, y)
