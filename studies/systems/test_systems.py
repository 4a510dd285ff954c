"""The four systems: rows name recipes that exist and go the whole way; tables say what they know."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from bifocal.apps.cli.train.main import app
from bifocal.learn.checkpoint import Checkpoint
from bifocal.learn.packing import codec as packing
from bifocal.learn.recipe import load_recipe
from bifocal.learn.systems.registry import system_of
from bifocal.measure import MeasureError
from tests.conftest import made_picture

NAMES = ("rows", "training", "measuring", "tables", "run")

TOY = """
exact = true
crop = 64
batch = 2
validation = 2
kernel_lr = 0.0
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
ROWS = """
steps = 2
[[table]]
name = "toy"
title = "Toy"
[[table.row]]
recipe = "{folder}/first"
label = "first"
[[table.row]]
label = "second"
phases = [{{ recipe = "{folder}/first", steps = 1 }}, {{ recipe = "{folder}/second", steps = 1 }}]
[[table.row]]
recipe = "{folder}/third"
label = "third"
estimated = true
against = "first"
"""


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, ModuleType]:
    """The scripts by name, with results and records in a folder of the test."""
    found = {name: importlib.import_module(f"studies.systems.{name}") for name in NAMES}
    for name in NAMES:
        for constant, path in (("RESULTS", "results"), ("RECORDS", "records")):
            if hasattr(found[name], constant):
                monkeypatch.setattr(found[name], constant, tmp_path / path)
    monkeypatch.setattr(found["measuring"], "TIMES", tmp_path / "results" / "times.json")
    return found


def test_every_row_has_its_recipe(scripts: dict[str, ModuleType]) -> None:
    tables = scripts["rows"].read_tables()
    assert [table.name for table in tables] == ["weconvene", "weconvene3d", "dual", "feds"]
    page = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    for table in tables:
        assert page.count(f"<!-- {table.name} -->") == page.count(f"<!-- /{table.name} -->") == 1
        assert len({row.label for row in table.rows}) == len(table.rows)
        for row in table.rows:
            for phase in row.phases:
                recipe = load_recipe(Path(f"{phase.recipe}.toml"))
                assert recipe.crop == 128 and recipe.batch == 16  # 2,500 steps are 40,000 crops


def test_longer_rows_for_a_gpu(scripts: dict[str, ModuleType]) -> None:
    """300,000 crops each, phases in proportion, names of their own that name each other."""
    short, long = (scripts["rows"].read_tables(gpu=gpu) for gpu in (False, True))
    for a, b in zip(short, long, strict=True):
        for one, more in zip(a.rows, b.rows, strict=True):
            assert more.crops / 300_000 == pytest.approx(one.crops / 40_000, rel=1e-3)
            assert more.name == f"{one.name}.gpu" and len(more.phases) == len(one.phases)
            assert not one.against or more.against == f"{one.against}.gpu"


def test_rows_with_mistakes_are_refused(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    read = scripts["rows"].read_tables
    text = ROWS.format(folder=tmp_path)
    for wrong, reason in (
        (text.replace('against = "first"', 'against = "fourth"'), "no such row"),
        (text.replace("estimated", "guessed"), "unknown keys"),
    ):
        (tmp_path / "rows.toml").write_text(wrong)
        with pytest.raises(MeasureError, match=reason):
            read(tmp_path / "rows.toml")


@pytest.mark.parametrize("name", ["weconvene-small", "weconvene3d-small", "dual-small", "feds-small"])
def test_small_models_may_ship(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 2 MiB packed. Exporting is slow, so graphs are left out and counted as 64 KiB."""

    def weights_alone(codec: Any) -> dict[str, tuple[bytes, dict[str, Any]]]:
        named = {k: v.detach().numpy() for k, v in codec.named_parameters() if v.ndim > 2 or "gamma" in k}
        exact = ("hyper_synthesis.", "predictors.")
        return {"all": (b"", {f"all.{k}": v for k, v in named.items() if not k.startswith(exact)})}

    monkeypatch.setattr(packing, "float_graphs", weights_alone)
    monkeypatch.setattr(packing, "reach", lambda codec: {})
    config = load_recipe(Path(f"{name}.toml")).system
    weights = {k: v.detach() for k, v in system_of(config).codec(config).state_dict().items()}
    packing.pack(Checkpoint(config, weights, weights), tmp_path / "model", name=name, version="0.0.0")
    size = sum(file.stat().st_size for file in (tmp_path / "model").iterdir())
    assert size + 2**16 <= 2**21


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Training pictures, two pictures to measure on, and toy recipes."""
    for name, count, sides in (("data", 5, (144, 192)), ("kodak", 2, (64, 128))):
        (tmp_path / name).mkdir()
        for i in range(count):
            Image.fromarray(made_picture(*sides, seed=i)).save(tmp_path / name / f"{i}.png")
    for name in ("first", "second", "third"):
        (tmp_path / f"{name}.toml").write_text(TOY)
    (tmp_path / "rows.toml").write_text(ROWS.format(folder=tmp_path))
    return tmp_path


def in_this_process(command: list[str], out: Path) -> None:
    """Runs a `bifocal-train` command without the seconds that a process of its own takes to start."""
    assert command[:2] == [sys.executable, "-c"] and "train.main import run" in command[2]
    result = CliRunner().invoke(app, command[3:])
    assert result.exit_code == 0 and out.is_dir(), result.output


def test_rows_go_the_whole_way(
    scripts: dict[str, ModuleType],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Trained by the command that anyone would give, measured, timed and tabulated."""
    rows, training, run = scripts["rows"], scripts["training"], scripts["run"]
    work = folder / "work"

    def call(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["run.py", "--rows-file", str(folder / "rows.toml"), *arguments])
        assert run.main() == 0

    threads = torch.get_num_threads()
    monkeypatch.setattr(training, "_run", in_this_process)
    call("train", "first", "second", "first.seed1", "--data", str(folder / "data"), "--work", str(work))
    _, second, third = rows.read_tables(folder / "rows.toml")[0].rows
    records = {path.stem: json.loads(path.read_text()) for path in (folder / "records").iterdir()}
    assert set(records) == {"first", "second", "first.seed1"}
    torch.set_num_threads(threads)
    assert [r["steps"] for r in records["second"]["runs"]] == [1, 1]
    assert records["first.seed1"]["runs"][0]["recipe"]["seed"] == 1
    assert records["second"]["checkpoint_sha256"] == training.sha256(training.checkpoint_of(second, work))
    capsys.readouterr()

    call("measure", "--kodak", str(folder / "kodak"), "--data", str(folder / "data"), "--work", str(work))
    assert "third: not trained" in capsys.readouterr().out
    result = json.loads((folder / "results" / "second.json").read_text())
    assert result["crops"] == 4 and result["qualities"] == [5, 25, 50, 75, 95]
    assert set(result["points"]) == {"0.png", "1.png"}
    bpp, psnr = np.array(result["points"]["1.png"]).T
    assert (np.diff(bpp) > 0).all() and (psnr > 5).all()
    assert set(result["cost"]) >= {"analysis", "hyper_analysis", "predictors", "synthesis"}
    call(
        "measure", "second", "--kodak", str(folder / "nowhere"), "--work", str(work)
    )  # nothing is left to do
    call("train", "third", "--data", str(folder / "data"), "--work", str(work))
    call("measure", "third", "--kodak", str(folder / "kodak"), "--work", str(work))
    assert json.loads(third.results.read_text())["estimated"]

    (folder / "kodak" / "2.png").write_bytes((folder / "kodak" / "0.png").read_bytes())
    for name in "34":
        (folder / "kodak" / f"{name}.png").write_bytes((folder / "kodak" / "0.png").read_bytes())
    call("time", "first", "--kodak", str(folder / "kodak"), "--work", str(work), "--rounds", "1")
    call("table")
    text = capsys.readouterr().out
    assert "only 4 crops" in text and "it cannot be a file" in text and "128×64 picture" in text


def write(scripts: dict[str, ModuleType], name: str, factor: float, psnr: float = 30.0) -> None:
    """Results of a row that spends ``factor`` times the bits."""
    points = [[factor * 0.25 * 2**i, psnr + 3 * i] for i in range(4)]
    result = {
        "estimated": False,
        "crops": 100,
        "cost": {"analysis": [1_000_000, 5.0], "predictors": [0, 1.0], "synthesis": [0, 7.0]},
        "points": {"a": points, "b": points},
    }
    path = scripts["tables"].RESULTS / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result))


def test_tables_say_what_they_know(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    pages, rows = scripts["tables"], scripts["rows"]
    (tmp_path / "rows.toml").write_text(ROWS.format(folder="x"))
    tables = rows.read_tables(tmp_path / "rows.toml")
    first, second, third = tables[0].rows
    assert str(pages.gap(second, first)) == "not measured"
    write(scripts, first.name, 1.0)
    write(scripts, second.name, 0.9)
    assert str(pages.gap(second, first)) == "-10.0 %"
    assert not pages.close_pairs(tables)
    write(scripts, third.name, 1.01)
    assert str(pages.gap(third, first)) == "+1.0 % (one seed)"
    assert {row.name for row in pages.close_pairs(tables)} == {f"{first.name}.seed1", f"{third.name}.seed1"}
    write(scripts, f"{first.name}.seed1", 1.0)
    write(scripts, f"{third.name}.seed1", 0.99)
    assert str(pages.gap(third, first)) in ("+0.0 % (+1.0, -1.0)", "-0.0 % (+1.0, -1.0)")
    assert not pages.close_pairs(tables)
    write(scripts, second.name, 0.9, psnr=60.0)
    assert str(pages.gap(second, first)) == "no overlap"
    text = pages.table_text(tables[0], tables)
    assert "no overlap (60.0–69.0 dB)" in text and "“Above” is “first” for “third”." in text
