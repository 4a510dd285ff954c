"""Captions as a user gives and sees them: `encode` and `info`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import bifocal
from tests.apps.cli.test_commands import Command, command

__all__ = ["command"]  # the fixture


def test_a_caption_is_written_and_shown_escaped(command: Command) -> None:
    made = command("encode", "photo.jpg", "--caption", "a\x1b[31m red\ncup \u202e", "--language", "en")
    assert made.status == 0 and made.err == ""
    shown = command("info", "photo.bfc").out
    assert "caption   [en] a[31m red cup \\u202e\n" in shown and "\x1b" not in shown
    row = json.loads(command("info", "photo.bfc", "--json").out)
    assert row["caption"] == {"text": "a[31m red cup \u202e", "language": "en"} and row["metadata"]["capt"]
    assert command("decode", "photo.bfc", "-o", "again.jpg").status == 0
    assert command("encode", "again.jpg", "--caption-from-metadata", "-o", "again.bfc").status == 0
    caption = bifocal.info(Path("again.bfc").read_bytes()).caption
    assert caption and caption.text.startswith("a[31m red cup")


def test_a_list_of_captions_serves_a_folder(command: Command) -> None:
    Path("list.tsv").write_text("in/a.png\ta cup\nsub/b.png\tzwei Hunde\tde\nnone.png\tnothing\n", "utf-8")
    Path("in/c.png").write_bytes(Path("in/a.png").read_bytes())
    made = command("encode", "in", "--captions", "list.tsv", "-o", "out/")
    assert made.status == 0
    assert "1 picture has no caption in list.tsv: in/c.png." in made.err
    assert "1 name in list.tsv matches no picture: none.png." in made.err
    found = {path.stem: bifocal.info(path.read_bytes()).caption for path in Path("out").rglob("*.bfc")}
    assert found["c"] is None and found["b"] == bifocal.Caption("zwei Hunde", "de")
    again = command("encode", "in", "--captions", "list.tsv", "-o", "out/", "--resume")
    assert again.status == 0 and "3 finished before" in again.err
    Path("list.tsv").write_text("in/a.png\tanother cup\n", "utf-8")
    assert (
        "3 of 3 files encoded"
        in command("encode", "in", "--captions", "list.tsv", "-o", "out/", "--resume").err
    )


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("photo.jpg", "--caption", ""), "the caption is empty"),
        (("photo.jpg", "--caption", "x" * 70_000), "streams hold 65536"),
        (("photo.jpg", "--language", "en"), "give both"),
        (("photo.jpg", "--caption", "x", "--language", "not a tag"), "no language tag"),
        (("in", "--caption", "x"), "goes with one picture"),
        (("photo.jpg", "--captions", "none.tsv"), "No such file"),
        (("in", "--captions", "latin.tsv", "-o", "out/"), "line 2: it is not UTF-8"),
        (("photo.jpg", "--captions", "latin.tsv"), "line 2: it is not UTF-8"),
    ],
)
def test_captions_that_cannot_be_are_refused_before_any_work(
    command: Command, arguments: tuple[str, ...], why: str
) -> None:
    Path("latin.tsv").write_bytes(b"a.png\tx\nphoto.jpg\tcaf\xe9\n")
    made = command("encode", *arguments)
    assert made.status == 2 and why in made.err and made.out == ""
    assert not Path("photo.bfc").exists() and not list(Path().glob("out/*.bfc"))
