"""What a packed model has beside the codec is what its system says: no system's name is asked for.

That the others have none of it is tested in tests/contract.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bifocal
from bifocal.learn.checkpoint import Checkpoint
from bifocal.learn.nets.codec import PIXEL_UNIT, Codec
from bifocal.learn.packing.codec import pack
from bifocal.learn.systems import registry
from bifocal.stream.plan import Group, Plan
from tests.conftest import made_picture


@dataclass(frozen=True)
class PlainConfig:
    """The smallest codec that can do everything."""

    extras: tuple[str, ...] = ()
    hyper: int = 4
    features: int = 4
    context: int = 4
    anchors: int = 2
    lambda_min: float = 0.0012
    lambda_max: float = 0.24

    @property
    def plan(self) -> Plan:
        return Plan(16, self.hyper, (Group(0, 8, 2, 0), Group(0, 8, 2, 1), Group(8, 16, 1, 0)), skip=2)


class Plain(Codec):
    """Averages of blocks of 16 pixels and a little more, by convolutions and leaky ReLUs alone."""

    config: PlainConfig

    def __init__(self, config: PlainConfig) -> None:
        super().__init__(config)
        self.down = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.LeakyReLU(0.1), nn.Conv2d(8, 16, 4, 4))
        self.up = nn.Sequential(nn.ConvTranspose2d(16, 8, 4, 4), nn.LeakyReLU(0.1), nn.Conv2d(8, 8, 3, 1, 1))
        self.last = nn.ConvTranspose2d(8, 3, 4, 4)
        self.first = nn.Conv2d(8, 3, 3, 1, 1)

    def packing_extras(self) -> frozenset[str]:
        return frozenset(self.config.extras)

    def windows(self) -> dict[str, int] | None:
        return dict.fromkeys(("analysis", "synthesis", "half", "thumb"), 40) if self.config.extras else None

    def analyse(self, pixels: Tensor) -> Tensor:
        return self.down((pixels - 127.5) / PIXEL_UNIT) * 4

    def synthesise(self, y: Tensor) -> Tensor:
        return self.last(self.up(y)) * PIXEL_UNIT + 127.5

    def synthesise_half(self, y: Tensor) -> Tensor:
        return F.avg_pool2d(self.synthesise(y), 2)

    def synthesise_thumb(self, y: Tensor) -> Tensor:
        return self.first(y) * PIXEL_UNIT + 127.5


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(registry, "SYSTEMS", dict(registry.SYSTEMS))
    registry.register("plain", PlainConfig, Plain)
    yield tmp_path


def packed(folder: Path, *extras: str) -> Path:
    torch.manual_seed(3)
    config = PlainConfig(extras)
    weights = {key: value.detach() for key, value in Plain(config).state_dict().items()}
    pictures = [made_picture(128, 128, seed=seed) for seed in range(2)]
    checkpoint = Checkpoint(config, weights, weights)
    pack(checkpoint, folder / "packed", name="plain", version="0.0.0", pictures=pictures)
    return folder / "packed"


def test_a_system_that_says_so_has_efforts_scales_and_int8(folder: Path) -> None:
    made = packed(folder, "half", "thumb", "adjoint", "int8")
    model, pixels = bifocal.Model.load(made, threads=1), made_picture(90, 70)
    assert (made / "synthesis-int8.onnx").exists() and model.window("half")[1] == 64
    plain, searched = (bifocal.encode(pixels, 60, model=model, effort=effort) for effort in (1, 3))
    assert searched != plain

    def error(data: bytes) -> float:
        return float(np.square(bifocal.decode(data, model=model).pixels - pixels.astype(float)).mean())

    assert error(searched) <= error(plain) or len(searched) < len(plain)
    for scale in (1 / 2, 1 / 16):
        small = bifocal.decode(plain, model=model, scale=scale).pixels
        assert small.shape == (-(-90 * scale // 1), -(-70 * scale // 1), 3)
