"""Training the joint codec: two steps on labelled pictures, from the command line to a checkpoint."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import bifocal
from bifocal.apps.cli.train.main import app
from bifocal.errors import ModelError, TrainingError
from bifocal.learn.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from bifocal.learn.data.squares import Squares, as_tensor
from bifocal.learn.nets.parameters import KERNELS, MATRICES
from bifocal.learn.packing.heads import label_head
from bifocal.learn.recipe import JointPhases, Recipe, load_recipe
from bifocal.learn.systems.joint import Joint
from bifocal.learn.systems.lowfirst import LowFirst, LowFirstConfig
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.fit import Loss, fit
from bifocal.learn.training.joint_codec import Phase, first_loss, joint_phases, validate_joint
from bifocal.learn.training.optimisers import Rates
from bifocal.learn.training.run import train
from bifocal.learn.training.schedule import Every
from bifocal.learn.training.tasks.joint import phase_job
from bifocal.stream.latents import unpack

RECIPE = """
codec = "joint"
exact = true
crop = 64
batch = 4
validation = 4
warmup = 2
kernel_lr = {kernel_lr}
[system]
width = 8
latent = 8
dim = 24
depth = 3
heads = 2
grid = 4
aggregated = 3
hyper = 4
features = 8
context = 8
anchors = 2
[joint]
first = {first}
margin = 4
"""


def recipe_file(tmp_path: Path, *, first: float = 0.5, kernel_lr: float = 5e-3) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE.format(first=first, kernel_lr=kernel_lr))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes: stripes across, and stripes down."""
    rng = np.random.default_rng(0)
    for name, shape in (("across", (9, 1, 3)), ("down", (1, 9, 3))):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(6):
            coarse = np.broadcast_to(rng.integers(0, 256, shape), (9, 9, 3)).astype(np.uint8)
            Image.fromarray(coarse).resize((96, 80)).save(tmp_path / "data" / name / f"{i}.png")
    return tmp_path / "data"


def test_two_steps_from_the_command_line(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bifocal.learn.training.fit.LOG", Every(steps=1))
    names, out = tmp_path / "names.tsv", tmp_path / "run"
    names.write_text("across\tlying\n")
    arguments = [str(recipe_file(tmp_path)), "--data", str(folder), "--out", str(out), "--names", str(names)]
    result = CliRunner().invoke(app, ["run", *arguments, "--minutes", "9", "--steps", "4", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    loaded = load_checkpoint(out / "checkpoint.safetensors")
    model = loaded.model()
    assert isinstance(model, Joint) and model.config.classes == 2
    record = json.loads((out / "run.json").read_text())
    assert record["classes"] == ["lying", "down"] and record["steps"] == 4 and len(record["validation"]) == 8
    assert loaded.history[0]["crops"] == 16
    with (out / "curve.csv").open() as file:
        assert [(row["phase"], row["step"]) for row in csv.DictReader(file)] == [
            (phase, step) for phase in ("first", "second") for step in ("1", "2")
        ]
    assert (out / "curve.png").exists() and (out / "samples.png").exists()

    recipe = load_recipe(recipe_file(tmp_path, first=0.0))  # goes on with the second step alone
    again = train(recipe, folder, tmp_path / "b", Budget(steps=1), resume=out / "checkpoint.safetensors")
    assert len(load_checkpoint(again).history) == 2


def test_the_first_step_learns(folder: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file(tmp_path, kernel_lr=5e-3))
    torch.manual_seed(0)
    model = Joint(recipe.system)
    rng = np.random.default_rng(0)
    stripes = np.broadcast_to(rng.integers(0, 256, (12, 1, 68, 3), np.uint8), (12, 68, 68, 3)).copy()
    stripes[::2] = stripes[::2].transpose(0, 2, 1, 3)
    data = Squares(stripes, np.arange(12) % 2)
    before = validate_joint(model, data.middle(64), exact=True)[-1]
    phase = Phase("first", Budget(steps=30), Rates(2e-3, muon=(KERNELS, MATRICES), muon_lr=5e-3))
    losses: list[float] = []
    plain = first_loss(model, JointPhases(picture=0.0, smoothing=0.0))

    def loss(pixels: torch.Tensor, labels: torch.Tensor) -> Loss:
        made = plain(pixels, labels)
        losses.append(float(made.value.detach()))
        return made

    assert fit(phase_job(model, data, loss, phase, recipe, None), phase.budget).step == 30
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert before["bpp"] >= 0


def test_phases_share_the_run() -> None:
    recipe = Recipe("r", lr=1.0, kernel_lr=2.0)
    budget = Budget(minutes=40.0, steps=100)
    first, second = joint_phases(JointPhases(first=0.25, second=0.1), recipe, budget)
    assert (first.budget, first.rates.lr) == (Budget(minutes=10.0, steps=25), 1.0)
    assert (second.budget, second.rates.muon_lr) == (Budget(minutes=30.0, steps=75), 0.2)
    assert [phase.name for phase in joint_phases(JointPhases(first=0.0), recipe, budget)] == ["second"]


def test_refusals_come_before_the_first_step(tmp_path: Path, folder: Path) -> None:
    recipe = load_recipe(recipe_file(tmp_path))
    out = tmp_path / "run"
    budget = Budget(minutes=1)
    with pytest.raises(TrainingError, match="that needs codec"):
        train(Recipe("plain", joint=JointPhases()), folder, out, budget)
    with pytest.raises(TrainingError, match="multiple of 64"):
        train(Recipe("odd", recipe.system, joint=JointPhases(), crop=96), folder, out, budget)
    with pytest.raises(TrainingError, match="at least two"):
        train(recipe, folder / "down", out, budget)
    path = tmp_path / "misspelt.toml"
    path.write_text('codec = "joint"\n[joint]\nfrist = 0.5\n')
    with pytest.raises(TrainingError, match=r"\[joint\] does not know frist"):
        load_recipe(path)
    for name in ("joint.toml", "joint-small.toml"):
        assert load_recipe(Path(name)).joint is not None
    assert not out.exists()


def test_labels_from_the_stream_are_those_of_the_network(tmp_path: Path) -> None:
    """A checkpoint is packed with its label reader, which reads a file without the synthesis network."""
    torch.manual_seed(0)
    config = replace(load_recipe(recipe_file(tmp_path)).system, classes=3)
    model = Joint(config).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    model.scale_gains(as_tensor(pixels[None]))
    model.trunk.head.weight.data *= 50  # an untrained network is of no opinion
    weights = {k: v.detach() for k, v in model.state_dict().items()}
    average = {k: v.clone() for k, v in weights.items()}
    checkpoint, folder = tmp_path / "c.safetensors", tmp_path / "packed"
    save_checkpoint(checkpoint, Checkpoint(config, weights, average, ({"classes": ["a", "b", "c"]},)))
    result = CliRunner().invoke(app, ["pack", str(checkpoint), "--out", str(folder)])
    assert result.exit_code == 0, result.output
    (folder / "synthesis.onnx").unlink()

    data = bifocal.encode(pixels, quality=70, model=folder)
    labels = bifocal.analyse(data, head=folder / "labels.bfh", model=folder)
    packed = bifocal.Model.load(folder)
    y = torch.from_numpy(packed.to_float(unpack(data, packed.entropy, packed.engine).y, 70))
    with torch.no_grad():
        expected = model.labels(y[None])[0].softmax(0).numpy()  # positions for twice the trained width
    order = np.argsort(-expected)
    assert labels.names == tuple("abc"[i] for i in order)
    assert np.allclose(labels.probabilities, expected[order], atol=5e-3)  # weights are float16 in the file

    other = LowFirst().state_dict()
    with pytest.raises(ModelError, match="no joint codec"):
        label_head(Checkpoint(LowFirstConfig(), other, other), packed, "x")
