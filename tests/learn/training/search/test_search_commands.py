"""Supernet, search and fine-tuning as commands: what is found labels streams; misfits are refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bifocal
from bifocal.apps.cli.train.finetune import finetune
from bifocal.apps.cli.train.search import search
from bifocal.apps.cli.train.supernet import supernet
from bifocal.errors import BifocalError, OptionError, OutputError, TrainingError
from bifocal.learn.search.found import read_winner
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.fit import fit
from bifocal.learn.training.search.searching import read_limits
from bifocal.learn.training.search.supernet import accuracy_of, load_supernet
from bifocal.learn.training.tasks.supernet import supernet_job

SPACE = """
dim = [16, 24]
depth = [1, 2]
heads = [1, 2]
mlp = [2, 3]
eight = [0, 0.5, 1]
head_dim = 16
patch = 8
side = 32
"""
Refused = Callable[[Path], object]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a space, a supernet of latents, and what a search of it found."""
    made = tmp_path_factory.mktemp("search")
    for name, colour in (("red", (210, 40, 40)), ("blue", (30, 40, 210))):
        for i in range(8):
            rng = np.random.default_rng([len(name), i])
            shade = np.array(colour) + rng.integers(-25, 26, 3)  # flat: every channel but the mean is zero
            pixels = np.broadcast_to(shade.astype(np.uint8), (70 + i, 90, 3))
            for part in ("data", "test")[: 2 if i < 2 else 1]:
                (made / part / name).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(made / part / name / f"{i}.png")
    (made / "tiny.toml").write_text(SPACE)
    trained(made, "supernet", steps=30)
    find(made / "supernet", made / "found")
    return made


def trained(folder: Path, name: str, *, steps: int, space: str = "tiny.toml", **options: object) -> None:
    numbers: dict[str, object] = {"side": 64, "views": 2, "held": 0.25, "batch": 8, "lr": 0.01, "threads": 1}
    numbers |= {"latents": True, **options}
    supernet(folder / "data", folder / space, steps=steps, out=folder / name, **numbers)  # type: ignore[arg-type]


def find(supernet: Path, out: Path, *, latency: str = "0.05ms,1ms", seed: int = 0) -> None:
    search(supernet, latency, out=out, population=4, parents=2, generations=2, seed=seed, threads=1)


def test_a_found_subnet_becomes_a_head_that_labels_streams(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = folder / "mine.bfh"
    finetune(
        folder / "found" / "1ms.toml", folder / "data", steps=30, out=out, test=folder / "data", threads=1
    )
    said = capsys.readouterr().out
    assert "in integers" in said and "bifocal classify FILE.bfc --head" in said
    report = json.loads(out.with_suffix(".json").read_text())
    assert report["integer"] == 1.0 and report["bytes"] == out.stat().st_size
    assert report["test"]["accuracy"]["q60"] == 1.0 and report["found"]["device"] == "zcu102"
    for name, colour in (("red", (190, 50, 30)), ("blue", (40, 40, 190))):
        stream = bifocal.encode(np.full((150, 300, 3), colour, np.uint8), 50)
        assert bifocal.analyse(stream, head=out).names[0] == name


def test_a_search_leaves_winners_a_front_and_a_page(folder: Path) -> None:
    found = folder / "found"
    winner = read_winner(found / "0.05ms.toml")
    assert winner.facts["latency_ms"] <= 0.05 and "held out of the fit" in winner.facts["note"]
    rows = list(csv.DictReader((found / "pareto.csv").read_text().splitlines()))
    assert rows and float(rows[0]["latency_ms"]) <= float(rows[-1]["latency_ms"])
    page = (found / "pareto.html").read_text(encoding="utf-8")
    assert "modelled" in page and "<circle" in page


def test_the_same_seed_finds_the_same_and_a_search_is_not_done_twice(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    find(folder / "supernet", tmp_path / "again")
    names = ("0.05ms.toml", "1ms.toml", "pareto.csv", "search.json")
    kept = {name: (folder / "found" / name).read_bytes() for name in names}
    assert all((tmp_path / "again" / name).read_bytes() == kept[name] for name in names)
    capsys.readouterr()
    find(folder / "supernet", tmp_path / "again")
    assert "going on from" in capsys.readouterr().out
    assert (tmp_path / "again" / "search.json").read_bytes() == kept["search.json"]
    with pytest.raises(OptionError, match="other numbers"):
        find(folder / "supernet", tmp_path / "again", seed=1)


def test_a_supernet_goes_on_from_its_checkpoint(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(folder, "further", steps=2, resume=folder / "supernet")
    assert "the optimiser goes on from its state in the checkpoint" in capsys.readouterr().out
    further = load_supernet(folder / "further")
    history = json.loads((folder / "further" / "run.json").read_text())
    assert history["steps"] == 2 and len(further.labels) == 4


def test_a_supernet_of_another_space_or_of_other_latents_is_refused_before_any_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bifocal.learn.training.search.supernet.read_data", None)  # no picture is read
    monkeypatch.setattr("bifocal.learn.training.search.finetune.read_data", None)
    (folder / "other.toml").write_text(SPACE.replace("[16, 24]", "[16, 32]"))
    with pytest.raises(TrainingError, match="is a supernet of space tiny"):
        trained(folder, "x", steps=1, space="other.toml", resume=folder / "supernet")
    with pytest.raises(TrainingError, match="whose side was 64, not 128"):
        trained(folder, "x", steps=1, side=128, resume=folder / "supernet")
    with pytest.raises(TrainingError, match="whose base|whose fingerprint|whose form"):
        trained(folder, "x", steps=1, latents=False, resume=folder / "supernet")
    winner = folder / "found" / "1ms.toml"
    text = winner.read_text()
    (folder / "foreign.toml").write_text(text.replace(read_winner(winner).space, "0" * 16))
    with pytest.raises(TrainingError, match="is a subnet of space 0000"):
        finetune(folder / "foreign.toml", folder / "data", steps=1, threads=1)
    (folder / "other-data.toml").write_text(text.replace(read_winner(winner).data, "0" * 16))
    with pytest.raises(TrainingError, match="a supernet of other data"):
        finetune(folder / "other-data.toml", folder / "data", steps=1, threads=1)
    (folder / "none.toml").write_text("subnet = 3")
    with pytest.raises(TrainingError, match="is no subnet of bifocal-train search"):
        finetune(folder / "none.toml", folder / "data", steps=1, threads=1)
    with pytest.raises(OutputError, match="not named like a head"):
        finetune(winner, folder / "data", steps=1, out=folder / "x.onnx", threads=1)


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda f: find(f / "data", f / "x"), "cannot be read"),
        (lambda f: find(f / "mine.bin", f / "x"), "cannot be read"),
        (lambda f: find(f / "supernet", f / "x", latency="0.0001ms"), "excludes every subnet"),
        (lambda f: find(f / "supernet", f / "x", latency="fast"), "is no latency"),
        (lambda f: find(f / "supernet", f / "x", latency="-2ms"), "is no latency"),
        (lambda f: find(f / "supernet", f / "x", latency=" "), "no limit of latency"),
        (lambda f: search(f / "supernet", "1ms", "zcu999", f / "x"), "there is no device zcu999"),
    ],
)
def test_what_cannot_be_searched_is_refused_and_leaves_nothing(act: Refused, says: str, folder: Path) -> None:
    (folder / "mine.bin").write_bytes(b"\0" * 64)
    with pytest.raises(BifocalError, match=says):
        act(folder)
    assert not (folder / "x").exists()


def test_a_supernet_of_pixels_trains_one_random_subnet_a_step(folder: Path) -> None:
    trained(folder, "pixels", steps=2, latents=False, one=True)
    made = load_supernet(folder / "pixels")
    assert made.net.form.reads == "pixels" and made.held.shape == (4, 3, 32, 32)
    judge = accuracy_of(made.net, made.held, made.labels)
    x, target = made.held, np.eye(2, dtype=np.float32)[made.labels]
    import torch

    batches = iter([(x, torch.from_numpy(target))] * 2)
    fit(supernet_job(made.net, batches, judge, log=lambda line: None), Budget(steps=2))
    assert 0 <= judge(made.net.space.smallest) <= 1


def test_limits_are_read_in_their_units() -> None:
    assert read_limits("2ms,500us,") == (0.002, 0.0005)
