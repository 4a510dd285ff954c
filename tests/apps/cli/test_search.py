"""``bifocal search`` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bifocal
from bifocal._version import DEFAULT_MODEL
from bifocal.runtime import text
from bifocal.runtime.cards import read_card
from tests.apps.cli.test_commands import Command, command
from tests.conftest import made_picture
from tests.runtime.heads.test_detect import bright_detector, squares
from tests.runtime.heads.test_embed import embedding_head
from tests.tiny_head import dense_head

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
    assert made.status == 1 and "in/0.bfc: this is not a Bifocal stream" in made.err
    assert made.out.splitlines()[0] == "1.000  in/2.bfc" and len(made.out.splitlines()) == 3
    made = command(
        "search", "in/1.bfc", "in/2.bfc", "--like", "2.png", "--head", "mine.bfh", "--index", "no/x"
    )
    assert made.status == 0 and Path("no/x").is_file()


@pytest.fixture
def captioned(command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Two captioned streams in a folder; no text encoder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("cache").resolve()))
    monkeypatch.setattr(text, "installed", lambda: None)
    model = bifocal.Model.load(DEFAULT_MODEL, threads=1)
    for name, caption in (("a", "a <b>red</b> cup \u202e\u200d"), ("b", "two dogs on a beach")):
        Path(f"in/{name}.bfc").write_bytes(
            bifocal.encode(made_picture(40, 60), 50, model=model, caption=bifocal.Caption(caption, "en"))
        )
    return command


def test_captions_are_searched_and_shown_escaped(captioned: Command) -> None:
    made = captioned("search", "the red cup", "in", "--html", "page.html")
    assert made.status == 0 and "without a text encoder" in made.err
    (line,) = made.out.splitlines()
    assert line.endswith("in/a.bfc  a <b>red</b> cup \\u202e\u200d")
    page = Path("page.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;red" in page and "<b>red" not in page and page.count("data:image/png;base64,") == 1
    made = captioned("search", "dog", "in", "--by", "words", "--json")
    row = json.loads(made.out)
    assert row["file"] == "in/b.bfc" and row["caption"] == "two dogs on a beach" and row["bm25"] > 0
    assert made.err == ""
    made = captioned("search", "zebra", "in", "--by", "words")
    assert made.status == 0 and made.out == "" and "nothing found in 2 streams" in made.err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("in",), "what to look for in in"),
        (("", "in"), "are empty"),
        (("cup", "in", "--by", "magic"), "Choose words or meaning"),
        (("cup", "in", "--by", "meaning"), "no text encoder is installed"),
        (("cup", "in", "--index", "photo.jpg"), "no index of a search"),
        (("cup", "in", "--html", "photo.jpg"), "exists already"),
        (("cup", "nowhere"), "does not exist"),
        (("cup", "in", "--detector", "x.bfd"), "Name one with --label"),
        (("in", "--like", "photo.jpg", "--label", "dog"), "cannot be combined"),
    ],
)
def test_a_search_that_cannot_be_says_why(captioned: Command, arguments: tuple[str, ...], why: str) -> None:
    made = captioned("search", *arguments)
    assert made.status == 2 and why in made.err and made.out == ""


def test_streams_are_found_by_label(captioned: Command) -> None:
    dense_head(Path("mine.bfh"), bytes.fromhex(read_card(Path("../models", DEFAULT_MODEL)).fingerprint))
    streams = ("in/a.bfc", "in/b.bfc")
    labelled = captioned("classify", *streams, "--head", "mine.bfh", "--json", "-")
    best = json.loads(labelled.out[labelled.out.index("{") :])["files"][0]["labels"][0]
    name, share = best["name"], best["probability"]
    made = captioned("search", "--label", name, "in", "--head", "mine.bfh", "--json")
    assert made.status == 0
    found = [json.loads(line) for line in made.out.splitlines()]
    assert {row["file"] for row in found} >= ({"in/a.bfc"} if share >= 0.3 else set())
    made = captioned("search", "dogs", "in", "--label", name, "--head", "mine.bfh", "--by", "words")
    assert made.status == 0


def test_streams_are_found_by_what_a_detector_sees_in_them(captioned: Command) -> None:
    detector, (pixels, _) = bright_detector(Path("a.bfd")), squares(64, 64)
    Path("in/sub/c.bfc").write_bytes(bifocal.encode(pixels, lossless=True, caption="two squares"))
    Path("in/sub/d.bfc").write_bytes(bifocal.encode(np.zeros_like(pixels), lossless=True))
    for words in ((), ("squares",)):
        made = captioned(
            "search", *words, "in/sub", "--label", "square", "--detector", str(detector), "--json"
        )
        assert made.status == 0, made.err
        (row,) = map(json.loads, made.out.splitlines())
        assert row["file"] == "in/sub/c.bfc" and ("probability" in row) is not bool(words)
    assert captioned("search", "in/sub", "--label", "car", "--detector", str(detector)).out == ""


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
