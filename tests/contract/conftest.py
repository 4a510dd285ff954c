"""Every system's tiny codec, packed once a session: exporting its networks is what takes time here."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch

from bifocal.learn.checkpoint import Checkpoint
from bifocal.learn.packing.codec import pack
from bifocal.learn.systems.registry import SYSTEMS, find_system
from bifocal.runtime.model import Model
from tests.conftest import made_picture
from tests.contract.tiny_systems import TINY, Packed

#: How many steps the latents of a picture are apart at middle quality: random weights have no scale.
SPREAD = 2.0


@pytest.fixture(scope="session", params=sorted(set(SYSTEMS) & set(TINY)))
def system(request: pytest.FixtureRequest) -> str:
    """The name of a registered system; that all have a tiny configuration is a test of its own."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def packed(system: str, tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return _packed(system, tmp_path_factory.getbasetemp() / "contract" / system)


@cache
def _packed(name: str, folder: Path) -> Packed:
    """Weights are rounded to float16 first, as packing does, so that both sides compute the same."""
    found = find_system(name)
    config = found.config(**TINY[name])
    torch.manual_seed(1)
    codec = found.codec(config).eval()
    with torch.no_grad():
        y = codec.analyse(torch.from_numpy(made_picture(128, 192)).permute(2, 0, 1)[None].float())
        deviation = y.transpose(0, 1).flatten(1).std(1)
        shift = (SPREAD / deviation.clamp_min(0.01 * float(deviation.max()))).log() - codec.log_gain.mean(0)
        codec.log_gain += shift
        codec.log_inverse_gain.copy_(-codec.log_gain)
    weights = {key: value.detach().half().float() for key, value in codec.state_dict().items()}
    codec.load_state_dict(weights)
    pack(Checkpoint(config, weights, weights), folder, name=f"tiny-{name}", version="0.0.0")
    return Packed(codec, Model.load(folder, threads=1))
