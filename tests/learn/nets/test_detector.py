"""The detector: the sizes of the published network, and what its answers mean."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from bifocal.learn.nets.cost import count
from bifocal.learn.nets.heads.detector import (
    PAPER,
    SLIM,
    BoxesOf,
    Detector,
    LatentDetector,
    LatentDetectorConfig,
    boxes_and_scores,
)
from bifocal.learn.nets.heads.super_resolution import SuperResolution


@pytest.mark.parametrize(
    "modalities, millions, gmac", [(("rgb", "ir"), 4.8451, 17.98), (("rgb",), 4.8256, 16.61)]
)
def test_the_published_network_has_its_published_size(
    modalities: tuple[str, ...], millions: float, gmac: float
) -> None:
    """Parameters to the last published digit, with batch norms folded into convolutions. Published
    operations also count norms, which ours do not."""
    config = replace(PAPER, modalities=modalities)
    network = Detector(config).eval()
    norms = sum(part.num_features for part in network.modules() if isinstance(part, nn.BatchNorm2d))
    assert round((sum(p.numel() for p in network.parameters()) - norms) / 1e6, 4) == millions
    x = torch.zeros(1, config.channels, 64, 64)
    kmac = sum(row.kmac for row in count(network, lambda: network(x), 64 * 64))
    assert 0.995 * gmac < kmac * 512 * 512 / 1e6 < gmac


def test_the_slim_network_is_small() -> None:
    for fusion in ("mf", "concat"):
        assert sum(p.numel() for p in Detector(replace(SLIM, fusion=fusion)).parameters()) < 600_000


@pytest.mark.parametrize("modalities", [("rgb",), ("ir",), ("rgb", "ir")])
def test_answers_stand_at_a_quarter_and_the_branch_doubles_the_picture(modalities: tuple[str, ...]) -> None:
    config = replace(SLIM, modalities=modalities, classes=2)
    seen = Detector(config).features(torch.rand(1, config.channels, 32, 48))
    assert seen.answers.shape == (1, 3, 7, 8, 12)
    assert SuperResolution(config, 1)(seen.low, seen.high).shape == (1, config.channels, 64, 96)


def test_an_answer_of_zeros_is_an_anchor_at_the_middle_of_its_cell() -> None:
    answers = torch.zeros(1, 1, 6, 2, 3)
    corners, scores = boxes_and_scores(answers, torch.tensor([8.0, 6.0]).reshape(1, 1, 2, 1, 1))
    assert corners.shape == (1, 6, 4) and scores.shape == (1, 6, 1)
    assert corners[0, 4].tolist() == [2.0, 3.0, 10.0, 9.0]  # row 1, column 1
    assert scores[0, 0, 0] == 0.25


def test_a_packed_detector_halves_the_picture_first() -> None:
    network = Detector(replace(SLIM, modalities=("ir",))).eval()
    pixels = torch.randint(0, 256, (1, 1, 64, 64)).float()
    corners, scores = BoxesOf(network, SLIM.anchors, 2)(pixels)
    plain, same = BoxesOf(network, SLIM.anchors, 1)(nn.functional.avg_pool2d(pixels, 2))
    assert torch.equal(corners, 2 * plain) and torch.equal(scores, same)


def test_the_detector_on_latents_answers_at_a_quarter_of_the_picture() -> None:
    config = LatentDetectorConfig(channels=8, planes=2, width=16)
    network = LatentDetector(config, torch.zeros(16), torch.ones(16))
    assert network(torch.rand(1, 16, 4, 6)).shape == (1, 3, 6, 16, 24)
