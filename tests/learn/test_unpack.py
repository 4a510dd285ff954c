"""Training goes on from a packed model: its integers are found again, its floats as they were stored."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from bifocal.errors import ModelError, TrainingError
from bifocal.learn.checkpoint import Checkpoint, load_checkpoint
from bifocal.learn.data.crops import Corpus
from bifocal.learn.nets.codec import QUALITIES, Codec, quality_anchors
from bifocal.learn.packing.codec import entropy_model, pack, pack_checkpoint
from bifocal.learn.systems.lapped import Lapped, LappedConfig
from bifocal.learn.training.validation import validate
from bifocal.learn.unpack import anchor_table
from bifocal.runtime.model import DEFAULT_MODEL, Model
from tests.conftest import made_picture

CONFIG = LappedConfig(
    latent=16, analysis_width=8, analysis_blocks=1, synthesis_width=8, synthesis_blocks=2, half_width=4,
    half_blocks=1, thumb_width=4, hyper=4, features=8, context=8, anchors=4,
)  # fmt: skip


def trained(config: LappedConfig = CONFIG) -> Lapped:
    """A codec with gains, biases and reconstruction points such as training leaves."""
    torch.manual_seed(0)
    model = Lapped(config)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "quality_bias" in name or "log_" in name:
                value += torch.randn_like(value) * 0.3
        assert model.reconstruction is not None
        model.reconstruction.total.uniform_(0, 50)
        model.reconstruction.count.fill_(400)
    return model


def packed(model: Codec, folder: Path) -> Path:
    state = model.state_dict()
    pack(Checkpoint(model.config, state, state), folder, name="before", version="0.0.0")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(trained(), tmp_path_factory.mktemp("unpack") / "packed")


def test_weights_come_back_as_they_were_stored(folder: Path) -> None:
    found, before = load_checkpoint(folder), trained().state_dict()
    assert found.config == CONFIG and found.weights is found.average and not found.optimiser
    for name, value in before.items():
        if name.startswith("reconstruction."):
            continue
        exact = name.startswith(("hyper_synthesis", "predictors", "z_index"))
        near = 0.02 if exact else 0.005  # integers of seven bits, or bytes and half precision
        assert (found.weights[name] - value).abs().max() <= near * value.abs().max() + 1e-6, name
    points = trained().reconstruction, found.model().reconstruction
    assert points[0] is not None and points[1] is not None
    assert torch.allclose(points[0].shift, points[1].shift, atol=1 / 32)


def test_training_goes_on_where_the_checkpoint_was(folder: Path) -> None:
    """By the loss that a run prints, the mean of eight qualities: packing stores analysis as bytes, which may
    move a symbol."""
    corpus = Corpus((), (made_picture(64, 64),), ())
    before, after = (
        np.mean([row["loss"] for row in validate(model, corpus, exact=True)])
        for model in (trained(), load_checkpoint(folder).model())
    )
    assert after == pytest.approx(before, rel=1e-3)


def test_packing_it_again_gives_the_same_model(folder: Path, tmp_path: Path) -> None:
    pack_checkpoint(folder, tmp_path / "again", name="again", streams_of=str(folder))
    before, after = Model.load(folder), Model.load(tmp_path / "again")
    assert before.entropy.fingerprint == after.entropy.fingerprint
    for network in ("analysis", "synthesis", "half", "thumb", "hyper_analysis"):
        floats = before.float_weights(network), after.float_weights(network)
        assert floats[0].keys() == floats[1].keys()
        for name, value in floats[0].items():
            assert np.allclose(value, floats[1][name], rtol=2e-3, atol=1e-4), name


def test_a_codec_of_other_streams_is_refused(folder: Path, tmp_path: Path) -> None:
    model = load_checkpoint(folder).model()
    with torch.no_grad():
        model.predictors[0][0].weight += 0.1  # type: ignore[index]
    state = model.state_dict()
    with pytest.raises(ModelError, match="were trained since"):
        pack(
            Checkpoint(CONFIG, state, state), tmp_path / "x", name="x", version="0.0.0",
            streams_of=Model.load(folder),
        )  # fmt: skip
    assert not (tmp_path / "x").exists()


def test_the_shipped_model_is_found_by_its_name() -> None:
    found = load_checkpoint(Path(DEFAULT_MODEL))
    kept = Model.load(Path(__file__).parents[2] / "src" / "bifocal" / "models" / DEFAULT_MODEL).entropy
    made = entropy_model(found.model().eval(), kept.name, "0.0.0", ())
    for one, other in zip((kept.hyper, *kept.predictors), (made.hyper, *made.predictors), strict=True):
        for a, b in zip(one.layers, other.layers, strict=True):
            assert np.array_equal(a.weight, b.weight) and np.array_equal(a.shift, b.shift)
            assert (a.bias != b.bias).mean() < 1e-3 and np.abs(a.bias - b.bias).max() <= 1
    assert made.reconstruction is not None and kept.reconstruction is not None
    assert np.array_equal(made.reconstruction, kept.reconstruction)


def test_what_cannot_be_trained_on_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="neither a checkpoint nor a packed model"):
        load_checkpoint(Path("no-such-model"))
    old = shutil.copytree(folder, tmp_path / "old")
    spec = json.loads((old / "model.json").read_text(encoding="utf-8"))
    del spec["config"]
    (old / "model.json").write_text(json.dumps(spec), encoding="utf-8")
    with pytest.raises(TrainingError, match="packed without its configuration"):
        load_checkpoint(old)
    (old / "model.json").write_text("{", encoding="utf-8")
    with pytest.raises(TrainingError, match="cannot be trained on"):
        load_checkpoint(old)


@pytest.mark.parametrize("change", [
    {"config": {"nonsense": 1}}, {"config": [1]}, {"config": {"anchors": "x"}}, {"config": {"latent": 32}},
    {"config": {"synthesis_width": 16}}, {"config": {"synthesis_blocks": 3}}, {"system": "dual"},
    {"card": 3}, {"system": None},
])  # fmt: skip
def test_a_configuration_of_another_model_is_refused(
    folder: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    bad = shutil.copytree(folder, tmp_path / "bad")
    spec = json.loads((bad / "model.json").read_text(encoding="utf-8"))
    for key, value in change.items():
        spec[key] = spec[key] | value if isinstance(value, dict) else value
    (bad / "model.json").write_text(json.dumps(spec), encoding="utf-8")
    with pytest.raises(TrainingError, match="does not fit its configuration|there is no codec"):
        load_checkpoint(str(bad))


@pytest.mark.parametrize("name", ["gain", "synthesis.first.weight", "hyper_analysis.0.bias"])
def test_a_model_that_lacks_weights_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    bad = shutil.copytree(folder, tmp_path / "bad")
    arrays = load_file(bad / "weights.safetensors")
    del arrays[name]
    save_file(arrays, bad / "weights.safetensors")
    with pytest.raises(TrainingError, match="pack"):
        load_checkpoint(bad)


def test_a_linear_codec_has_no_deep_path_to_find(tmp_path: Path) -> None:
    config = replace(CONFIG, analysis_width=0, synthesis_width=0, half_width=0, thumb_width=0)
    found = load_checkpoint(packed(trained(config), tmp_path / "linear"))
    assert found.config == config and "synthesis.linear.weight" in found.weights


def test_gains_that_float32_cannot_tell_apart_come_back_nearly(tmp_path: Path) -> None:
    """Those above 16 are stored in finer steps than their logarithms have in float32."""
    model = trained()
    with torch.no_grad():
        model.log_gain += 3
        model.log_inverse_gain += 4
    found = load_checkpoint(packed(model, tmp_path / "large")).model()
    assert torch.allclose(found.log_gain, model.log_gain, atol=1e-4)
    assert torch.allclose(found.log_inverse_gain, model.log_inverse_gain, atol=1e-4)


def test_tables_of_anchors_meet_every_quality() -> None:
    weights = quality_anchors(torch.arange(1, QUALITIES + 1), 12).double().numpy()
    wanted = np.rint(weights @ np.random.default_rng(0).normal(size=(12, 50)) * 300)
    assert (np.rint(weights @ anchor_table(weights, wanted)) == wanted).mean() > 0.999
    with pytest.raises(ModelError, match="not those of a table"):
        anchor_table(weights, np.random.default_rng(0).normal(size=(100, 2)) * 300)
