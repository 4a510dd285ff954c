"""``bifocal classify`` as a user types it, and what it leaves."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bifocal
from bifocal._version import DEFAULT_MODEL
from bifocal.apps import batch
from bifocal.errors import OptionError
from bifocal.runtime.cards import read_card
from bifocal.runtime.heads import file as head_file
from tests.apps.cli.test_commands import Command, command
from tests.conftest import made_picture
from tests.tiny_head import CLASSES, dense_head, selecting_head, telling_head

__all__ = ["command"]  # the fixture


@pytest.fixture
def streams(command: Command, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Streams at in/a.bfc, in/sub/b.bfc and photo.bfc, and heads: a shipped one, and two files."""
    fingerprint = bytes.fromhex(read_card(Path("../models", DEFAULT_MODEL)).fingerprint)
    Path("../models/heads").mkdir()
    monkeypatch.setattr(head_file, "HEADS", Path("../models/heads").resolve())
    dense_head(Path("../models/heads/imagenette.bfh"), fingerprint, name="imagenette")
    selecting_head(Path("select.bfh"), fingerprint, name="select")
    dense_head(Path("other.bfh"), b"8 bytes!", codec="another")
    names = ["in/a.bfc", "in/sub/b.bfc", "photo.bfc"]
    for seed, name in enumerate(names):
        model = bifocal.Model.load(DEFAULT_MODEL, threads=1)
        Path(name).write_bytes(bifocal.encode(made_picture(40 + 30 * seed, 90, seed=seed), model=model))
    return names


def test_a_folder_is_labelled(command: Command, streams: list[str]) -> None:
    made = command("classify", "in", "photo.bfc", "--json", "out.json", "--top", "2")
    assert made.status == 0, made.err
    assert "3 of 3 files classified in" in made.err and "a second" in made.err
    result = json.loads(Path("out.json").read_text("utf-8"))
    assert (result["head"], result["labelled"], result["failed"]) == ("imagenette", 3, 0)
    assert [row["file"] for row in result["files"]] == streams
    for row in result["files"]:
        expected = bifocal.analyse(Path(row["file"]).read_bytes())
        assert [label["name"] for label in row["labels"]] == list(expected.names[:2])
        chances = [label["probability"] for label in row["labels"]]
        np.testing.assert_allclose(chances, expected.probabilities[:2], atol=1e-6)
    line = next(line for line in made.out.splitlines() if line.startswith("photo.bfc"))
    assert line.count("%") == 2 and line.split()[1] in CLASSES
    assert not list(Path(".").glob("**/*.part"))


def test_unreadable_streams_are_named_and_the_rest_goes_on(command: Command, streams: list[str]) -> None:
    whole = Path("photo.bfc").read_bytes()
    Path("in/cut.bfc").write_bytes(whole[:-9])
    Path("in/empty.bfc").write_bytes(b"")
    Path("in/text.bfc").write_text("no stream")
    made = command("classify", "in", "--json", "out.json")
    assert made.status == 1
    assert "2 of 5 files classified" in made.err and "3 of 5 files failed" in made.err
    for name in ("cut", "empty", "text"):
        assert f"in/{name}.bfc" in made.err
    result = json.loads(Path("out.json").read_text("utf-8"))
    assert (result["labelled"], result["failed"]) == (2, 3)
    errors = {row["file"]: row["error"] for row in result["files"] if "error" in row}
    assert set(errors) == {"in/cut.bfc", "in/empty.bfc", "in/text.bfc"}
    assert "incomplete" in errors["in/cut.bfc"] or "again" in errors["in/cut.bfc"]


def test_jobs_change_nothing(command: Command, streams: list[str]) -> None:
    model = shutil.copytree(
        Path("../models", DEFAULT_MODEL), "packed"
    )  # spawned processes see no monkeypatch
    head = shutil.copy("../models/heads/imagenette.bfh", "mine.bfh")
    common = ("classify", "in", "photo.bfc", "--head", str(head), "--model", str(model), "--json")
    assert command(*common, "one.json").status == 0
    made = command(*common, "two.json", "--jobs", "2")
    assert made.status == 0, made.err
    assert Path("one.json").read_bytes() == Path("two.json").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("nowhere",), "nowhere does not exist"),
        (("in", "--head", "nonsense"), "there is no head 'nonsense'.*imagenette"),
        (("in", "--head", "photo.jpg"), "photo.jpg cannot be read as a head"),
        (("in", "--model", "nonsense"), "there is no model 'nonsense'"),
        (("in", "--explain", "out.png"), "one stream is drawn, and 2 were named"),
        (("photo.bfc", "--explain", "out.png"), "imagenette has no selectors"),
        (("photo.bfc", "--head", "select.bfh", "--explain", "out.xyz"), "cannot write a picture as '.xyz'"),
        (("photo.bfc", "--head", "other.bfh", "--explain", "out.png"), "has no selectors"),
    ],
)
def test_what_cannot_begin_is_refused_at_once(
    command: Command, streams: list[str], arguments: tuple[str, ...], why: str
) -> None:
    made = command("classify", *arguments, "--json", "out.json")
    assert made.status == 2 and made.out == ""
    assert re.search(why, made.err), made.err
    assert not Path("out.json").exists() and not Path("out.png").exists()


def test_a_head_for_another_model_fails_each_file(command: Command, streams: list[str]) -> None:
    made = command("classify", "photo.bfc", "--head", "other.bfh")
    assert made.status == 1 and "reads streams of model another" in made.err


def test_explain_draws_a_panel_a_stage(command: Command, streams: list[str]) -> None:
    made = command("classify", "photo.bfc", "--head", "select.bfh", "--explain", "out.png")
    assert made.status == 0, made.err
    with Image.open("out.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    # 100×90 pixels, five times as large: two panels of 450×500, margins of 10, captions of 44
    assert pixels.shape == (500 + 44 + 20, 2 * (450 + 10) + 10, 3)
    labels = bifocal.analyse(Path("photo.bfc").read_bytes(), head="select.bfh")
    picture = bifocal.decode(Path("photo.bfc").read_bytes()).pixels.astype(int)
    for stage, left in ((0, 10), (1, 470)):
        panel = pixels[54 : 54 + 500 : 5, left : left + 450 : 5]
        kept = np.kron(labels.kept[stage], np.ones((16, 16), bool))[:100, :90]
        assert kept.any() and not kept.all()
        assert np.array_equal(panel[kept], picture[kept])
        assert np.array_equal(panel[~kept], (picture[~kept] * 0.2).astype(int))


def test_explain_draws_what_speaks_for_two_classes(command: Command, streams: list[str]) -> None:
    fingerprint = bytes.fromhex(read_card(Path("../models", DEFAULT_MODEL)).fingerprint)
    telling_head(Path("telling.bfh"), fingerprint)
    made = command("classify", "photo.bfc", "--head", "telling.bfh", "--explain", "out.png")
    assert made.status == 0, made.err
    with Image.open("out.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    assert pixels.shape == (500 + 44 + 20, 2 * (450 + 10) + 10, 3)
    picture = bifocal.decode(Path("photo.bfc").read_bytes()).pixels.astype(int)
    first, second = (pixels[54 : 54 + 500 : 5, left : left + 450 : 5] for left in (10, 470))
    for panel in (first, second):
        assert (panel <= picture + 1).all() and (panel >= picture * 0.19 - 1).all()
    assert (first != second).any()


def test_models_lists_heads(command: Command, streams: list[str]) -> None:
    result = command("models").out
    assert "imagenette" in result and "made by code" not in result


def test_a_worker_labels_columns(command: Command, streams: list[str]) -> None:
    Path("bad.bfc").write_bytes(b"bad")
    table = batch.Worker("analyse", {"head": "select.bfh"})({"source": ["photo.bfc", "bad.bfc"]})
    assert table["label"][0] in CLASSES and table["label"][1] == ""
    assert table["state"] == ["done", "failed"] and table["error"][1]
    assert 0 < table["probability"][0] <= 1 and table["bytes_in"][0] == Path("photo.bfc").stat().st_size


def test_no_jobs_are_refused(streams: list[str]) -> None:
    with pytest.raises(OptionError, match="0 jobs do nothing"):
        batch.read(batch.Worker("analyse"), ["in"], jobs=0)
