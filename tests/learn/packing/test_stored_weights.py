"""How a packed model holds its float weights: half precision, and bytes for the blocks of analysis."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bifocal.learn.checkpoint import Checkpoint
from bifocal.learn.packing.codec import pack
from bifocal.learn.systems.lapped import Lapped, LappedConfig
from bifocal.runtime.model import Model

CONFIG = LappedConfig(
    latent=16, analysis_width=8, analysis_blocks=1, synthesis_width=8, synthesis_blocks=1, hyper=4,
    features=8, context=8, anchors=12,
)  # fmt: skip


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lapped, Model]:
    torch.manual_seed(0)
    net = Lapped(CONFIG)
    state = net.state_dict()
    folder = tmp_path_factory.mktemp("stored") / "packed"
    pack(Checkpoint(CONFIG, state, state, ()), folder, name="stored", version="0.0.0")
    return net, Model.load(folder)


@pytest.mark.parametrize("part", ["analysis", "synthesis"])
def test_the_runtime_reads_them_as_floats(packed: tuple[Lapped, Model], part: str) -> None:
    net, model = packed
    found = model.float_weights(part)
    for name in ("first", "second"):
        trained = getattr(getattr(net, part).blocks[0], name).weight.detach().numpy()
        kept = found[f"{part}.block.0.{name}.weight"]
        rows = np.abs(trained).max((1, 2, 3), keepdims=True)
        assert kept.dtype == np.float32 and (np.abs(kept - trained) <= rows * 0.502 / 127).all()
    assert not [name for name in found if name.endswith((".int8", ".scale"))]


def test_blocks_of_analysis_take_a_byte_a_weight(packed: tuple[Lapped, Model]) -> None:
    tensors = packed[1]._tensors("analysis.", "synthesis.")
    assert tensors["analysis.block.0.first.weight.int8"].dtype == np.int8
    assert tensors["synthesis.block.0.first.weight"].dtype == np.float16
