"""``bifocal-train lowbit``: recipes are checked, arms are trained alike and once, and tabulated."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from bifocal.apps.cli.train.lowbit import lowbit
from bifocal.errors import TrainingError
from bifocal.learn.training.lowbit import arm_network, load_lowbit_recipe, run_arms
from tests.conftest import made_picture

SHIPPED = sorted((Path(__file__).parents[3] / "src/bifocal/learn/recipes").glob("lowbit-*.toml"))
TINY = """
network = "resnet20"
width = 2
side = 8
margin = 2
epochs = 2
batch = 4
[arms.fp32]
[arms.shift-4]
groups = 4
[arms.masters]
masters = 12
groups = 2
norm = 2
"""


def classes(folder: Path, first: int) -> Path:
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(first, first + 4):
            picture = made_picture(10, 12, seed=number + 100 * (name == "dog"))
            Image.fromarray(picture).save(folder / name / f"{number}.png")
    return folder


def test_arms_are_trained_once_and_tabulated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(TINY)
    train, test = classes(tmp_path / "train", 0), classes(tmp_path / "val", 50)
    lowbit(recipe, train, test, out=tmp_path / "out", threads=1)
    first = capsys.readouterr().out
    assert "| fp32 | float | - | L2 |" in first and "| shift-4 | 4/4/4 | 4 | L1 |" in first
    assert "arm masters, seed 0: 4 steps" in first
    lowbit(recipe, train, test, arm=["shift-4"], out=tmp_path / "out", threads=1)
    again = capsys.readouterr().out
    assert "arm shift-4, seed" not in again and "wrote 1 results" in again
    loaded = load_lowbit_recipe(recipe)
    with pytest.raises(TrainingError, match="no arm 'shift'"):
        run_arms(loaded, train, test, tmp_path, arms=["shift"])
    with pytest.raises(TrainingError, match="is what is trained on"):
        run_arms(loaded, train, train, tmp_path)


def test_a_training_that_diverges_is_a_row_with_its_layer(tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(TINY.replace("epochs = 2", "epochs = 2\nlr = 1e30"))
    train, test = classes(tmp_path / "train", 0), classes(tmp_path / "val", 50)
    (row,) = run_arms(load_lowbit_recipe(recipe), train, test, tmp_path, arms=["shift-4"])
    assert row["accuracy"] is None and "of layer" in row["failed"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes_load_and_their_networks_convert(path: Path) -> None:
    recipe = load_lowbit_recipe(Path(path.name))
    x = torch.zeros(1, 3, recipe.side, recipe.side)
    for arm in list(recipe.arms.values())[:3]:
        assert arm_network(recipe, arm, 10, 0)(x).shape == (1, 10)
    for arm in recipe.arms.values():
        arm_network(recipe, arm, 10, 0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("side = 32", "no table"),
        ("sides = 32\n[arms.a]", "does not know sides"),
        ("[arms.a]\nbits = 4", r"\[arms.a\] does not know bits"),
        ("[arms.a]\nforward = 1", r"\[arms.a\]: Policy"),
        ("network = 'vgg'\n[arms.a]", "network is one of"),
        ("network =", "not valid TOML"),
    ],
)
def test_wrong_recipes_are_refused(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(TrainingError, match=says):
        load_lowbit_recipe(path)
    with pytest.raises(TrainingError, match="lowbit-small.toml"):
        load_lowbit_recipe(tmp_path / "missing.toml")
