"""``bifocal search`` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import bifocal
from bifocal._version import DEFAULT_MODEL
from bifocal.runtime.cards import read_card
from tests.apps.cli.test_commands import Command, command
from tests.conftest import made_picture
from tests.runtime.heads.test_embed import embedding_head

__all__ = ["command"]  # the fixture


def test_streams_are_ranked_by_likeness_and_read_once(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("cache").resolve()))
    fingerprint = bytes.fromhex(read_card(Path("../models", DEFAULT_MODEL)).fingerprint)
    embedding_head(Path("mine.bfh"), fingerprint)
    model = bifocal.Model.load(DEFAULT_MODEL, threads=1)
    Path("in").mkdir(exist_ok=True)
    for seed in range(3):
        picture = made_picture(60, 60, seed=seed)
        Path(f"in/{seed}.bfc").write_bytes(bifocal.encode(picture, 90, model=model))
        Image.fromarray(picture).save(f"{seed}.png")
    made = command("search", "in", "--like", "1.png", "--head", "mine.bfh", "--json", "--top", "2")
    assert made.status == 0, made.err
    rows = [json.loads(line) for line in made.out.splitlines()]
    assert len(rows) == 2 and rows[0]["file"] == "in/1.bfc" and rows[0]["cosine"] > 0.99
    assert "3 of 3 files read" in made.err
    Path("in/3.bfc").write_bytes(Path("in/1.bfc").read_bytes())
    Path("in/0.bfc").write_bytes(b"broken")
    made = command("search", "in", "--like", "in/2.bfc", "--head", "mine.bfh")
    assert made.status == 1 and "1 of 2 files failed" in made.err and "in/0.bfc" in made.err
    assert made.out.splitlines()[0] == "1.000  in/2.bfc" and len(made.out.splitlines()) == 3
    made = command(
        "search", "in/1.bfc", "in/2.bfc", "--like", "2.png", "--head", "mine.bfh", "--index", "no/x"
    )
    assert made.status == 0 and Path("no/x").is_file()


def test_classes_are_named_by_example(command: Command) -> None:
    fingerprint = bytes.fromhex(read_card(Path("../models", DEFAULT_MODEL)).fingerprint)
    embedding_head(Path("mine.bfh"), fingerprint)
    model = bifocal.Model.load(DEFAULT_MODEL, threads=1)
    for seed, name in enumerate(("one", "two")):
        Path("examples", name).mkdir(parents=True)
        Image.fromarray(made_picture(60, 60, seed=seed)).save(f"examples/{name}/a.png")
        Path(f"{name}.bfc").write_bytes(bifocal.encode(made_picture(60, 60, seed=seed), 90, model=model))
    made = command("classify", "one.bfc", "two.bfc", "--head", "mine.bfh", "--examples", "examples")
    assert made.status == 0, made.err
    assert [line.split()[1] for line in made.out.splitlines()] == ["one", "two"]
    made = command("classify", "one.bfc", "--head", "mine.bfh", "--examples", "nowhere")
    assert made.status == 2 and "nowhere is not a folder" in made.err
