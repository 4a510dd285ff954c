"""Heads in 8 bits: nearly the same answers, from a file that the runtime reads like any other."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bifocal
from bifocal.errors import ModelError
from bifocal.learn.nets.heads.latent_stem import LatentResNet, LatentResNetConfig
from bifocal.learn.packing.heads import PackedHead, pack_head
from bifocal.learn.packing.int8_heads import int8_head
from bifocal.learn.training.classify.int8 import quantise_head
from bifocal.runtime.heads.file import read_head
from tests.conftest import made_picture

CHANNELS = 16


def packed(model: bifocal.Model) -> PackedHead:
    torch.manual_seed(0)
    sizes = {"width": 32, "blocks": 1, "deep_width": 48, "deep_blocks": 1, "classes": 3}
    config = LatentResNetConfig(channels=CHANNELS, low=CHANNELS, **sizes)
    network = LatentResNet(config, torch.zeros(CHANNELS), torch.ones(CHANNELS)).eval()
    torch.nn.init.normal_(network.head.weight)
    for norm in (one for one in network.modules() if isinstance(one, torch.nn.BatchNorm2d)):
        torch.nn.init.ones_(norm.weight)
    return pack_head(
        network, name="a", base=model, channels=CHANNELS, classes=("one", "two", "three"), window=12
    )


def test_an_int8_head_nearly_agrees_with_the_float_one_and_is_smaller(
    tiny_model: bifocal.Model, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    samples = [rng.normal(size=(CHANNELS, 8, 8)).astype(np.float32) for _ in range(8)]
    exact = packed(tiny_model)
    small = int8_head(exact, samples)
    assert len(small.data()) < len(exact.data()) and small.spec == exact.spec
    for name, made in (("exact", exact), ("small", small)):
        (tmp_path / f"{name}.bfh").write_bytes(made.data())
    weights = read_head(tmp_path / "small.bfh").weights[0]
    kernels = [value for value in weights.values() if value.dtype == np.int8 and value.ndim == 4]
    assert len(kernels) == 6 and all(np.abs(value).max() <= 64 for value in kernels), "a bit is left"
    first, second = (bifocal.Head.load(tmp_path / f"{name}.bfh", threads=1) for name in ("exact", "small"))
    wanted, got = (
        np.concatenate([one.arrays["logits"] for one in head.run_many(samples)]) for head in (first, second)
    )
    assert np.abs(got - wanted).max() < 0.05 * np.abs(wanted).max()
    assert second.gives_evidence
    quantised_by_command(tmp_path, tiny_model)
    other = samples[0][:, :5, :3].copy()
    assert second.run(other).arrays["logits"].shape == (1, 3), "any size up to the window"


def quantised_by_command(folder: Path, model: bifocal.Model) -> None:
    """A file from a file: the card gets both accuracies, and the first file's description stays."""
    for k, name in enumerate(("one", "two", "three")):
        (folder / "data" / name).mkdir(parents=True)
        for number in range(24):
            pixels = made_picture(64, 64 + k, seed=number)
            Image.fromarray(pixels).save(folder / "data" / name / f"{number}.png")
    lines: list[str] = []
    given = {"base": str(model.folder), "side": 64, "log": lines.append}
    made = quantise_head(folder / "exact.bfh", folder / "data", folder / "made.bfh", **given)
    assert set(made.accuracy) == set(made.float_accuracy) == {"q10", "q30", "q60", "q90"} and len(lines) == 4
    before, after = (read_head(folder / name).spec for name in ("exact.bfh", "made.bfh"))
    assert after.card["int8"]["accuracy"] == made.accuracy and after.card["int8"]["judged on"] == 8
    assert dataclasses.replace(after, card={}) == dataclasses.replace(before, card={})


def test_what_cannot_be_quantised_is_refused(tiny_model: bifocal.Model) -> None:
    head = packed(tiny_model)
    with pytest.raises(ModelError, match="latents of training pictures"):
        int8_head(head, [])
    with pytest.raises(ModelError, match="selectors"):
        int8_head(dataclasses.replace(head, graphs=head.graphs * 2), [np.zeros((CHANNELS, 8, 8), np.float32)])
