"""A run from pictures to a packed model: it starts, resumes, stops by itself and leaves its record."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bifocal
from bifocal.errors import TrainingError
from bifocal.learn.checkpoint import load_checkpoint, save_checkpoint
from bifocal.learn.data.crops import Corpus, crops, load_corpus
from bifocal.learn.nets.codec import quality_anchors
from bifocal.learn.nets.parameters import KERNELS, parameter_groups
from bifocal.learn.packing.codec import exact_nets, pack, table_pictures
from bifocal.learn.recipe import load_recipe
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.optimisers import Rates, make_optimisers, orthogonalise
from bifocal.learn.training.run import train
from bifocal.runtime.analysis import float_latents
from bifocal.runtime.rendering import synthesise
from bifocal.stream.latents import unpack

RECIPE = """
exact = {exact}
crop = 64
batch = 2
validation = 2
kernel_lr = {kernel_lr}
[system]
analysis_width = 8
analysis_blocks = 1
synthesis_width = 8
synthesis_blocks = 1
latent = 4
hyper = 4
features = 8
context = 8
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    data = tmp_path / "data"
    data.mkdir()
    for i in range(5):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
        coarse.resize((192, 144), Image.Resampling.BICUBIC).save(data / f"p{i}.png")
    (data / "broken.png").write_bytes(b"not a picture")
    return data


def recipe_file(tmp_path: Path, *, exact: bool = False, kernel_lr: float = 0.0) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE.format(exact=str(exact).lower(), kernel_lr=kernel_lr))
    return path


def test_run_resume_pack(tmp_path: Path, folder: Path) -> None:
    recipe = load_recipe(recipe_file(tmp_path))
    first = train(recipe, folder, tmp_path / "a", Budget(steps=3))
    exact = load_recipe(recipe_file(tmp_path, exact=True, kernel_lr=1e-3))
    second = train(exact, folder, tmp_path / "b", Budget(steps=3), resume=first)
    checkpoint = load_checkpoint(second)
    assert [r["steps"] for r in checkpoint.history] == [3, 3]
    assert json.loads((tmp_path / "b" / "run.json").read_text())["crops"] == 6
    assert (tmp_path / "b" / "samples.png").exists()
    small = tmp_path / "small.safetensors"
    save_checkpoint(small, checkpoint, small=True)
    assert small.stat().st_size < second.stat().st_size / 3
    for name, net in exact_nets(checkpoint.model()).items():
        again = exact_nets(load_checkpoint(small).model())[name]
        for layer, kept in zip(net.layers, again.layers, strict=True):
            assert np.array_equal(layer.weight, kept.weight)
            assert np.array_equal(layer.shift, kept.shift)
    pictures = table_pictures(checkpoint, folder)
    assert len(pictures) == 3
    proof = pack(load_checkpoint(small), tmp_path / "packed", name="tiny", version="0.0.0", pictures=pictures)
    assert max(proof.values()) <= 2**24
    pixels = load_corpus(folder, validation=2).train[0]
    stream = bifocal.encode(pixels, 50, model=tmp_path / "packed")
    assert bifocal.decode(stream, model=tmp_path / "packed").pixels.shape == pixels.shape
    assert {"model.json", "weights.safetensors", "analysis.onnx"} <= {
        p.name for p in (tmp_path / "packed").iterdir()
    }
    wider = dataclasses.replace(recipe, system=dataclasses.replace(recipe.system, latent=8))
    with pytest.raises(TrainingError, match="another configuration than recipe tiny"):
        train(wider, folder, tmp_path / "c", Budget(steps=1), resume=first)


def test_a_run_stops_after_its_minutes(tmp_path: Path, folder: Path) -> None:
    path = train(load_recipe(recipe_file(tmp_path)), folder, tmp_path / "a", Budget(minutes=0.02))
    assert load_checkpoint(path).history[0]["steps"] >= 1


def test_out_of_range_network_is_not_packed(tmp_path: Path, folder: Path) -> None:
    path = train(load_recipe(recipe_file(tmp_path)), folder, tmp_path / "a", Budget(steps=1))
    model = load_checkpoint(path).model()
    model.predictors[0][2].weight.data *= 1e4  # type: ignore[index,union-attr,operator]
    with pytest.raises(Exception, match="left its range"):
        exact_nets(model)


def test_unusable_input_is_refused_before_the_first_step(tmp_path: Path, folder: Path) -> None:
    recipe = load_recipe(recipe_file(tmp_path))
    with pytest.raises(TrainingError, match="not a folder"):
        train(recipe, tmp_path / "nowhere", tmp_path / "a", Budget(minutes=1))
    with pytest.raises(TrainingError, match="usable"):
        load_corpus(tmp_path / "data", smallest=4000)
    with pytest.raises(TrainingError, match="Lower"):
        next(crops(load_corpus(folder, validation=2), size=1024, batch=1, seed=0))
    with pytest.raises(TrainingError, match="cannot be read"):
        load_checkpoint(folder / "broken.png")
    (tmp_path / "bad.toml").write_text("learning_rate = 1\n")
    with pytest.raises(TrainingError, match="does not know learning_rate"):
        load_recipe(tmp_path / "bad.toml")


def test_pictures_of_which_a_crop_validates_are_never_trained_on(tmp_path: Path, folder: Path) -> None:
    rows = ["file\trepo\tpath"] + [f"p{i}.png\tr\t{'same' if i in (0, 4) else i}" for i in range(5)]
    (folder / "index.tsv").write_text("\n".join(rows) + "\n")
    corpus = load_corpus(folder, validation=2)
    assert corpus.names == ("p1.png", "p2.png")
    assert len(corpus.validation) == 1


def test_muon_orthogonalises() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(24, 60)).float())
    assert 0.5 < float(values.min()) and float(values.max()) < 1.4
    groups = parameter_groups(torch.nn.Conv2d(3, 4, 3))
    kinds = [type(o).__name__ for o in make_optimisers(groups, Rates(1e-3, muon=(KERNELS,), muon_lr=1e-3))]
    assert kinds == ["AdamW", "Muon"]


def test_crops_are_windows_flipped_and_turned() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    batch = next(crops(Corpus((picture,), (), ("a",)), size=7, batch=64, seed=1, gray=0.0))
    assert batch.shape == (64, 3, 7, 7) and batch.is_contiguous(memory_format=torch.channels_last)
    windows = {
        np.rot90(part[:, ::-1] if flip else part, turn).tobytes()
        for part in (picture[i : i + 7, j : j + 7] for i in range(2) for j in range(3))
        for flip in (False, True)
        for turn in range(4)
    }
    found = {crop.tobytes() for crop in batch.permute(0, 2, 3, 1).byte().numpy()}
    assert found <= windows and len(found) > 20
    plain = next(crops(Corpus((picture,), (), ("a",)), size=7, batch=4, seed=1, gray=1.0))
    assert torch.equal(plain[:, 0], plain[:, 2])


def test_exported_graphs_compute_what_the_network_computes(tmp_path: Path, folder: Path) -> None:
    """Folding the packet, the Haar step and both paths' first products into convolutions changes nothing."""
    trained = load_checkpoint(
        train(load_recipe(recipe_file(tmp_path)), folder, tmp_path / "a", Budget(steps=2))
    )
    pack(trained, tmp_path / "packed", name="tiny", version="0.0.0")
    packed, model = bifocal.Model.load(tmp_path / "packed"), trained.model()
    pixels = load_corpus(folder, validation=2).train[0][:128, :192]
    anchors = quality_anchors(torch.tensor([70]), model.config.anchors)
    with torch.no_grad():
        gain, inverse = model.gains(anchors)
        y = model.analyse(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()) * gain
        z = model.hyper_latent(y)
        found = float_latents(packed, pixels, 70)
        assert np.allclose(found.y, y[0].numpy(), atol=0.02)  # float halves are stored in float16
        assert np.allclose(found.z, z[0].numpy(), atol=0.02)
        latents = unpack(bifocal.encode(pixels, 70, model=packed), packed.entropy, packed.engine)
        decoded = torch.from_numpy(latents.y)[None].float() / 2**model.plan.fraction
        expected = model.synthesise(decoded * inverse)[0].clamp(0, 255).permute(1, 2, 0).numpy()
    assert np.abs(synthesise(packed, latents) - expected).max() < 1
