"""Training a head: what is wrong is said before the first step; what comes out is read by the runtime."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bifocal
from bifocal._version import DEFAULT_MODEL
from bifocal.errors import HeadError, OptionError, OutputError, TrainingError
from bifocal.learn.checkpoint import load_checkpoint, read_parts
from bifocal.learn.data.labelled import split
from bifocal.learn.data.views import coded, random_view
from bifocal.learn.nets.heads.latent_stem import (
    LatentClassifierConfig,
    LatentResNet,
    LatentResNetConfig,
    latent_classifier,
)
from bifocal.learn.packing.heads import pack_dense_head
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.classify import run
from bifocal.learn.training.classify.batches import cut
from bifocal.learn.training.classify.recipe import HeadRecipe, settled
from bifocal.learn.training.classify.run import TrainedHead, train_head
from bifocal.learn.training.soft_labels import mixed
from bifocal.runtime.heads.classify import answer
from bifocal.runtime.heads.run import Head
from bifocal.runtime.model import Model

TINY = LatentResNetConfig(width=8, blocks=1, deep_width=8, deep_blocks=1)
TOKENS = LatentClassifierConfig(width=8, blocks=1, dim=8, depth=2, heads=2)
RECIPE = HeadRecipe(TINY, views=2, held=0.25, batch=12, side=64, warmup=1, lr=0.05, matrix_lr=0.05, ema=0.5)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.load(DEFAULT_MODEL, threads=1)


def _fill(folder: Path, model: Model) -> Path:
    """Red and blue pictures, some gray-levelled, some of them streams; one file that is neither."""
    for number, (name, colour) in enumerate((("red", (210, 40, 40)), ("blue", (30, 40, 210)))):
        (folder / name).mkdir(parents=True)
        for i in range(8):
            rng = np.random.default_rng([number, i])
            pixels = np.clip(colour + rng.normal(0, 20, (70 + i, 90, 3)), 0, 255).astype(np.uint8)
            if i < 5:
                Image.fromarray(pixels).save(folder / name / f"{i}.png")
            else:
                (folder / name / f"{i}.bfc").write_bytes(bifocal.encode(pixels, 40, model=model))
    (folder / "red" / "broken.bfc").write_bytes(b"not a stream")
    (folder / "blue" / "broken.jpg").write_bytes(b"not a picture")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, model: Model) -> tuple[TrainedHead, list[str]]:
    folder, said = tmp_path_factory.mktemp("head"), list[str]()
    data = _fill(folder / "data", model)
    return train_head(data, folder / "mine.bfh", Budget(steps=80), recipe=RECIPE, log=said.append), said


def test_a_trained_head_answers_from_streams(trained: tuple[TrainedHead, list[str]], model: Model) -> None:
    made, _ = trained
    assert made.classes == ("blue", "red")
    assert all(share == 1.0 for share in made.accuracy.values())
    for quality in (5, 95):
        data = bifocal.encode(np.full((150, 300, 3), (190, 50, 30), np.uint8), quality, model=model)
        assert bifocal.analyse(data, head=made.path).names[0] == "red"


def test_a_run_goes_on_from_its_checkpoint(trained: tuple[TrainedHead, list[str]], tmp_path: Path) -> None:
    made, said = trained[0], list[str]()
    data, checkpoint = made.path.parent / "data", made.report / "checkpoint.safetensors"
    gentle = dataclasses.replace(RECIPE, lr=1e-4, matrix_lr=1e-4)
    again = train_head(
        data, tmp_path / "again.bfh", Budget(steps=2), recipe=gentle, resume=checkpoint, log=said.append
    )
    assert "the optimiser goes on from its state in the checkpoint" in said
    assert all(share == 1.0 for share in again.accuracy.values())
    header, _ = read_parts(again.report / "checkpoint.safetensors")
    assert [run["steps"] for run in json.loads(header["history"])] == [80, 2]
    other = dataclasses.replace(RECIPE, seed=1)  # it would be judged on pictures that it was trained on
    with pytest.raises(TrainingError, match="whose seed was 0, not 1"):
        train_head(data, tmp_path / "no.bfh", Budget(steps=1), recipe=other, resume=checkpoint)
    with pytest.raises(OptionError, match="Leave --start out"):
        train_head(
            data, tmp_path / "no.bfh", Budget(steps=1), recipe=RECIPE, resume=checkpoint, start="imagenette"
        )
    with pytest.raises(TrainingError, match="is the checkpoint of a head"):
        load_checkpoint(checkpoint)


def test_streams_and_pictures_are_judged_and_what_is_broken_is_counted(
    trained: tuple[TrainedHead, list[str]],
) -> None:
    made, said = trained
    assert set(made.accuracy) == {"q10", "q30", "q60", "q90", "given"}
    assert made.warnings[0].startswith("2 left out, unreadable")
    assert any(line.startswith("warning: 2 left out") for line in said)


def test_the_report_has_curve_confusion_and_figures(trained: tuple[TrainedHead, list[str]]) -> None:
    folder = trained[0].report
    assert {file.name for file in folder.iterdir()} == {
        "curve.csv",
        "curve.png",
        "confusion.csv",
        "confusion.png",
        "report.json",
        "checkpoint.safetensors",
        "run.json",
    }
    figures = json.loads((folder / "report.json").read_text())
    assert figures["steps"] == 80
    assert figures["classes"] == {"train": {"blue": 6, "red": 6}, "judged on": {"blue": 2, "red": 2}}
    assert figures["pictures"] == {"train": 12, "judged on": 4}
    card = Head.load(trained[0].path).spec.card
    assert card["accuracy"] == figures["accuracy"] and card["recipe"]["side"] == 64


@pytest.mark.parametrize("config", [TINY, TOKENS], ids=["residual", "transformer"])
def test_the_packed_head_computes_what_torch_does(
    config: LatentResNetConfig | LatentClassifierConfig, tmp_path: Path, model: Model
) -> None:
    torch.manual_seed(1)
    scale = torch.zeros(64), torch.ones(64)
    network = LatentResNet(config, *scale) if config is TINY else latent_classifier(config, *scale)
    torch.nn.init.normal_(network.eval().head.weight)
    classes = tuple(f"class {k}" for k in range(10))
    packed = pack_dense_head(network, name="x", base=model, channels=64, classes=classes, window=8)
    (tmp_path / "x.bfh").write_bytes(packed.data({"licence": "none"}))
    head = Head.load(tmp_path / "x.bfh")
    for shape in ((8, 8), (1, 1), (3, 8)):
        y = torch.randn(1, 64, *shape)
        with torch.no_grad():
            expected = network(y)[0].numpy()
        said = answer(head, y[0].numpy())
        np.testing.assert_allclose(said.logits, expected, atol=2e-3)  # float16 weights
        assert (said.evidence is not None) == (config is TINY) == head.gives_evidence
        if said.evidence is not None:
            np.testing.assert_allclose(said.evidence.mean((1, 2)), said.logits, atol=1e-5)


def test_a_head_may_see_a_picture_of_any_size_at_once(tmp_path: Path, model: Model) -> None:
    recipe = dataclasses.replace(RECIPE, whole=True, views=4)
    data = _fill(tmp_path / "data", model)
    made = train_head(data, tmp_path / "whole.bfh", Budget(steps=200), recipe=recipe, base=DEFAULT_MODEL)
    assert min(made.accuracy.values()) >= 0.75
    head = Head.load(made.path)
    assert (head.spec.grid, head.spec.window, head.spec.magnitudes) == (4, 4, True)
    pixels = np.asarray(Image.open(data / "red" / "0.png").resize((330, 200)))
    labels = bifocal.analyse(bifocal.encode(pixels, 50, model=model), head=head)
    assert labels.name == "red"
    with pytest.raises(OptionError, match="--keep or --whole"):
        settled(dataclasses.replace(recipe, classifier=TOKENS, keep=(0.5,)), model)


def test_a_head_with_selectors_is_trained_and_keeps_what_was_asked_for(tmp_path: Path, model: Model) -> None:
    said = list[str]()
    recipe = dataclasses.replace(RECIPE, classifier=TOKENS, keep=(0.5,))
    data = _fill(tmp_path / "data", model)
    made = train_head(data, tmp_path / "tokens.bfh", Budget(steps=20), recipe=recipe, log=said.append)
    head = Head.load(made.path)
    assert head.spec.stages == (True,) and not head.gives_evidence
    kept = head.spec.card["tokens kept"]
    assert len(kept) == 1 and 0 <= kept[0] <= 1
    assert any(line.startswith("tokens kept: ") for line in said)
    labels = bifocal.analyse(
        bifocal.encode(np.full((64, 64, 3), (200, 40, 30), np.uint8), model=model), head=head
    )
    assert labels.kept[0].shape == (4, 4) and labels.evidence is None


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"out": "mine.onnx"}, OutputError, "mine.bfh"),
        ({"out": "file/mine.bfh"}, OutputError, "cannot be written"),
        ({"recipe": HeadRecipe(side=64, batch=1)}, OptionError, "batch is 1"),
        ({"recipe": HeadRecipe(side=100)}, OptionError, "side is 100"),
        ({"recipe": HeadRecipe(channels=999)}, OptionError, "channels is 999"),
        ({"recipe": HeadRecipe(keep=(0.5,))}, OptionError, "keep is 0.5. It needs a transformer"),
        ({"recipe": HeadRecipe(TOKENS, keep=(0.5, 0.4))}, OptionError, "one fewer than blocks"),
        ({"recipe": HeadRecipe(TOKENS), "start": "imagenette"}, OptionError, "starts from nothing"),
        ({"start": "nothing"}, HeadError, "no head 'nothing'"),
    ],
)
def test_what_cannot_work_is_refused_before_any_picture_is_read(
    tmp_path: Path, change: dict[str, object], error: type[Exception], said: str
) -> None:
    (tmp_path / "file").write_bytes(b"")
    arguments = {"recipe": RECIPE, **change}
    out = tmp_path / str(arguments.pop("out", "mine.bfh"))
    with pytest.raises(error, match=said):
        train_head(tmp_path / "no such folder", out, Budget(minutes=1), **arguments)  # type: ignore[arg-type]


def test_streams_of_another_model_are_refused_from_their_headers(tmp_path: Path, model: Model) -> None:
    data = _fill(tmp_path / "data", model)
    golden = Path(__file__).parents[3] / "conformance" / "golden" / "tiny-1" / "gray-64x64.bfc"
    (data / "red" / "other.bfc").write_bytes(golden.read_bytes())
    with pytest.raises(TrainingError, match=f"other.bfc is a stream of another model than {DEFAULT_MODEL}"):
        train_head(data, tmp_path / "mine.bfh", Budget(minutes=1), recipe=RECIPE)


def test_a_class_whose_pictures_cannot_be_read_is_refused_before_training(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _fill(tmp_path / "data", model)
    (data / "green").mkdir()
    for i in range(3):
        (data / "green" / f"{i}.png").write_bytes(b"nothing" + bytes([i]))
    monkeypatch.setattr(run, "fit", lambda *_: pytest.fail("it was trained"))
    with pytest.raises(TrainingError, match="'green' has 0 usable"):
        train_head(data, tmp_path / "mine.bfh", Budget(minutes=1), recipe=RECIPE)


def test_views_are_seeded_square_and_of_any_picture() -> None:
    for size in ((1, 1), (40, 900), (300, 200)):
        rng = np.random.default_rng(0)
        picture = Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8))
        first, again, other = (random_view(picture, np.random.default_rng(seed), 64) for seed in (5, 5, 6))
        assert first.shape == (64, 64, 3) and first.dtype == np.uint8
        assert (first == again).all() and (size == (1, 1) or (first != other).any())


def test_coding_latents_is_what_rounding_at_the_quality_does(model: Model) -> None:
    torch.manual_seed(0)
    gains = torch.from_numpy(model.gains["gain"]), torch.from_numpy(model.gains["inverse_gain"])
    y, quality = 5 * torch.randn(2, 64, 3, 3), torch.tensor([0, 99])
    step = 1 / gains[0][quality][:, :64, None, None]
    for mode, most in ((0, 0.5), (1, 0.6), (2, 0.5)):
        left = coded(y, quality, gains, mode)
        drift = gains[0] * gains[1] - 1  # gains are learned: one need not undo the other exactly
        slack = drift.abs().max() * y.abs().max() + 1e-3
        assert ((left - y).abs() <= most * step * (1 + drift.abs().max()) + slack).all()


def test_mixing_keeps_the_weight_of_targets() -> None:
    rng = np.random.default_rng(3)
    y, target = torch.randn(6, 4, 8, 8), torch.eye(6)
    for _ in range(8):
        both, soft = mixed(y, target, rng)
        assert both.shape == y.shape
        assert torch.allclose(soft.sum(1), torch.ones(6))
        assert min(cut(y, rng).shape[2:]) >= 5


def test_the_split_of_a_run_follows_its_seed() -> None:
    labels = np.repeat([0, 1], 20)
    assert (split(labels, 0.1, 0)[1] == split(labels, 0.1, 0)[1]).all()
