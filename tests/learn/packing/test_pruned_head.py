"""A transformer with selectors as a .bfh: the runtime decides and answers as torch does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import bifocal
from bifocal.learn.nets.heads.heatvit import HeatConfig, HeatViT
from bifocal.learn.nets.heads.latent_stem import LatentClassifierConfig, latent_classifier
from bifocal.learn.packing.heads import pack_pruned_head
from bifocal.runtime.heads.classify import answer

CHANNELS, CLASSES = 4, ("a", "b", "c")


def test_the_runtime_prunes_as_torch_does(tmp_path: Path, tiny_model: bifocal.Model) -> None:
    torch.manual_seed(1)
    config = LatentClassifierConfig(
        channels=CHANNELS, width=16, blocks=1, dim=24, depth=3, heads=3, grid=4, classes=len(CLASSES)
    )
    vit = latent_classifier(config, torch.zeros(CHANNELS), torch.ones(CHANNELS))
    model = HeatViT(vit, HeatConfig(before=(1, 2), bits=True)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "selectors" in name:  # decisions that differ from token to token
                parameter.add_(0.6 * torch.randn_like(parameter))
            parameter.copy_(parameter.half())  # what the file holds: no decision hangs on the rounding
    packed = pack_pruned_head(
        model, name="pruned", base=tiny_model, channels=CHANNELS, classes=CLASSES, window=8
    )
    (tmp_path / "a.bfh").write_bytes(packed.data({"licence": "Apache-2.0"}))
    head = bifocal.Head.load(tmp_path / "a.bfh", threads=1)
    assert head.spec.bits and head.spec.stages == (True, True)
    some = 0
    for h, w in ((1, 1), (2, 3), (8, 8), (5, 7)):
        y, cost = torch.randn(1, CHANNELS, h, w), 60 * torch.rand(1, 1, h, w)
        with torch.no_grad():
            made = model.run(y, cost, masked=False)
        said = answer(head, y[0].numpy(), cost[0, 0].numpy())
        np.testing.assert_allclose(said.logits, made.logits[0].numpy(), atol=1e-4)
        for kept, keep in zip(said.kept, made.keep, strict=True):
            assert np.array_equal(kept.ravel(), keep[0].numpy() > 0.5)
        some += int(sum(kept.any() and not kept.all() for kept in said.kept))
    assert some  # a decision was made that is neither all nor nothing
