"""``encode`` and ``decode`` on folders: shards, resuming, the table of errors and the exit status."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bifocal._version import DEFAULT_MODEL
from bifocal.apps.cli import display
from bifocal.runtime import model as runtime_model
from tests.apps.cli.test_commands import Command, Result
from tests.apps.cli.test_commands import command as command  # the fixture


def made(result: Result) -> int:
    return len(result.out.splitlines())


def test_a_run_is_resumed_and_says_so(command: Command) -> None:
    first = command("encode", "in", "photo.jpg", "--out", "out", "--jobs", "2")
    assert first.status == 0 and made(first) == 3
    assert first.err.startswith("bifocal: 3 of 3 files encoded in ") and "a second)" in first.err
    again = command("encode", "in", "photo.jpg", "--output", "out", "-j", "1", "--resume")
    assert again.status == 0 and made(again) == 0
    assert "0 of 3 files encoded" in again.err and "3 finished before" in again.err
    model = str(runtime_model.MODELS / DEFAULT_MODEL)  # tests put it there, and new processes would not know
    back = command("decode", "out", "-o", "back", "--jobs", "2", "--resume", "--model", model)
    assert back.status == 0 and made(back) == 3 and Path("back/sub/b.png").exists()
    again = command("decode", "out", "-o", "back", "--resume", "--model", model)
    assert "3 finished before" in again.err


def test_without_resume_what_exists_is_refused_with_a_hint(command: Command) -> None:
    assert command("encode", "in", "--out", "out").status == 0
    refused = command("encode", "in", "--out", "out")
    assert refused.status == 2 and "--resume" in refused.err and "--force" in refused.err
    assert command("encode", "in", "--out", "out", "--force").status == 0


def test_shards_share_a_folder(command: Command) -> None:
    counts = [
        made(command("encode", "in", "--out", "out", "--shard", f"{i}/3", "--resume")) for i in (1, 2, 3)
    ]
    assert sum(counts) == 2
    assert made(command("encode", "in", "--out", "out", "--resume")) == 0


@pytest.mark.parametrize("shard", ["1", "0/3", "4/3", "a/b", "1/3/2", "-1/3"])
def test_shards_that_do_not_exist(command: Command, shard: str) -> None:
    result = command("encode", "in", "--out", "out", "--shard", shard)
    assert result.status == 2 and "shard" in result.err and result.err.count("\n") == 1


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_errors_are_a_table_and_a_file(command: Command, jobs: str) -> None:
    Path("in/broken.jpg").write_bytes(b"\xff\xd8\xff")
    Path("in/empty.png").touch()
    result = command("encode", "in", "--out", "out", "--errors", "errors.json", "--jobs", jobs)
    assert result.status == 1 and made(result) == 2
    lines = sorted(result.err.splitlines()[:2])
    assert lines[0].startswith("  in/broken.jpg  is no picture") and lines[1].startswith("  in/empty.png   ")
    assert "2 of 4 files failed" in result.err
    rows = {row["file"]: row for row in json.loads(Path("errors.json").read_text())}
    assert (
        set(rows) == {"in/broken.jpg", "in/empty.png"} and rows["in/empty.png"]["target"] == "out/empty.bfc"
    )
    Path("in/broken.jpg").unlink()
    Path("in/empty.png").unlink()
    fixed = command("encode", "in", "--out", "out", "--errors", "errors.json", "--resume")
    assert fixed.status == 0 and json.loads(Path("errors.json").read_text()) == []


def test_a_long_table_is_cut(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "ROWS", 2)
    for number in range(5):
        Path(f"in/bad{number}.png").write_bytes(b"bad")
    result = command("encode", "in", "--out", "out")
    assert result.err.count("  in/bad") == 2 and "… and 3 more; --errors FILE writes all." in result.err


def test_no_bar_where_nobody_looks_and_one_where_somebody_does(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b" not in command("encode", "in", "photo.jpg", "--out", "piped").err
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: self is sys.stderr, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    shown = command("encode", "in", "photo.jpg", "--out", "out")
    assert shown.status == 0 and "encoding" in shown.err and "3/3" in shown.err and "files/s" in shown.err
    assert made(shown) == 3 and "\x1b" not in shown.out  # the lines stay in the pipe


def test_what_cannot_be_resumed(command: Command) -> None:
    result = command("encode", "in", "--resume")
    assert result.status == 2 and "--out" in result.err
    assert command("encode", "in", "--out", "out", "--jobs", "0").status == 2
