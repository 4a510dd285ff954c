"""A command line like others: -, exit codes, names of results, what is never replaced, odd terminals."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import bifocal
from bifocal.apps.cli.main import run
from tests.apps.cli.test_commands import Command, command

__all__ = ["command"]  # the fixture


class _Input:
    """Standard input that holds some bytes."""

    def __init__(self, data: bytes) -> None:
        self.buffer = io.BytesIO(data)


class _Output(io.TextIOWrapper):
    """Standard output that keeps bytes, and may be a terminal."""

    def __init__(self, terminal: bool = False) -> None:
        self.kept = io.BytesIO()
        self.terminal = terminal
        super().__init__(self.kept, encoding="utf-8", write_through=True)

    def isatty(self) -> bool:
        return self.terminal


def piped(
    monkeypatch: pytest.MonkeyPatch, *arguments: str, given: bytes = b"", terminal: bool = False
) -> tuple[int, bytes]:
    """Exit status and standard output of a command line."""
    out = _Output(terminal)
    monkeypatch.setattr(sys, "argv", ["bifocal", *arguments])
    monkeypatch.setattr(sys, "stdin", _Input(given))
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(SystemExit) as exit_info:
        run()
    assert isinstance(exit_info.value.code, int)
    return exit_info.value.code, out.kept.getvalue()


def test_standard_input_and_output(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Path("in/a.png").read_bytes()
    assert command("encode", "in/a.png", "-o", "a.bfc").status == 0
    stream = Path("a.bfc").read_bytes()
    assert piped(monkeypatch, "encode", "-", given=picture) == (0, stream)
    for name in ("-", "/dev/stdout"):
        assert piped(monkeypatch, "encode", "in/a.png", "--out", name) == (0, stream)
    assert piped(monkeypatch, "encode", "-", "-o", "b.bfc", given=picture)[0] == 0
    assert Path("b.bfc").read_bytes() == stream
    status, webp = piped(monkeypatch, "decode", "-", "--format", "webp", given=stream)
    with Image.open(io.BytesIO(webp)) as image:
        assert status == 0 and image.format == "WEBP" and image.size == (60, 40)
    status, png = piped(monkeypatch, "decode", "a.bfc", "-o", "-")
    assert status == 0 and png.startswith(b"\x89PNG")
    status, said = piped(monkeypatch, "info", "-", "--json", given=stream)
    assert status == 0 and json.loads(said)["path"] == "stdin"


def test_errors_of_standard_input_call_it_by_its_name(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert piped(monkeypatch, "encode", "-", given=b"no picture") == (1, b"")
    assert capsys.readouterr().err.startswith("bifocal: stdin is no picture")
    assert piped(monkeypatch, "info", "-", given=b"none") == (1, b"")
    assert capsys.readouterr().err.startswith("bifocal: stdin: this is not a Bifocal stream")
    for arguments in (["-", "photo.jpg"], ["in", "-o", "-"], ["photo.jpg", "in/a.png", "-o", "-"]):
        assert piped(monkeypatch, "encode", *arguments) == (2, b"")


def test_binary_is_not_written_to_a_terminal(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert piped(monkeypatch, "encode", "photo.jpg", "-o", "-", terminal=True) == (2, b"")
    assert "standard output is a terminal" in capsys.readouterr().err


def test_no_output_replaces_a_file_unasked(command: Command) -> None:
    assert command("encode", "photo.jpg", "-o", "a.bfc").status == 0
    before = {}
    for name in ("a.bfc", "mine.png", "rows.csv", "labels.json", "errors.json"):
        if name != "a.bfc":
            Path(name).write_text("mine")
        before[name] = Path(name).read_bytes()
    for arguments in (
        ["encode", "photo.jpg", "-o", "a.bfc"],
        ["decode", "a.bfc", "-o", "mine.png"],
        ["classify", "a.bfc", "--json", "labels.json"],
        ["classify", "a.bfc", "--explain", "mine.png"],
        ["bench", "photo.jpg", "--csv", "rows.csv"],
        ["encode", "in", "-o", "out", "--errors", "errors.json"],
    ):
        refused = command(*arguments)
        assert refused.status == 2 and "exists already" in refused.err and "--force" in refused.err, arguments
    assert before == {name: Path(name).read_bytes() for name in before} and not Path("out").exists()
    assert command("decode", "a.bfc", "-o", "mine.png", "--force").status == 0
    assert bifocal.read_picture("mine.png").width == 60
    assert command("encode", "in", "-o", "out", "--errors", "errors.json", "--force").status == 0
    assert json.loads(Path("errors.json").read_text()) == []


def test_out_without_a_suffix_is_a_folder_for_one_as_for_many(command: Command) -> None:
    assert command("encode", "photo.jpg", "-o", "one").status == 0
    assert command("encode", "photo.jpg", "in/a.png", "-o", "many").status == 0
    assert Path("one/photo.bfc").read_bytes() == Path("many/photo.bfc").read_bytes()
    assert command("decode", "one/photo.bfc", "-o", "pictures", "--format", ".webp").status == 0
    with Image.open("pictures/photo.webp") as image:
        assert image.format == "WEBP"
    refused = command("encode", "photo.jpg", "in/a.png", "-o", "x.bfc")
    assert refused.status == 2 and "named like a file" in refused.err
    refused = command("encode", "photo.jpg", "-o", "")
    assert refused.status == 2 and "--out is empty" in refused.err


def test_info_takes_folders_names_errors_and_goes_on(command: Command) -> None:
    assert command("encode", "in", "-o", "out").status == 0
    Path("out/bad.bfc").write_bytes(b"bad")
    made = command("info", "missing.bfc", "out", "--json")
    assert made.status == 1
    assert [json.loads(line)["path"] for line in made.out.splitlines()] == ["out/a.bfc", "out/sub/b.bfc"]
    errors = made.err.splitlines()
    assert len(errors) == 2 and "missing.bfc: No such file" in errors[0] and "out/bad.bfc: " in errors[1]


def test_short_options_and_completion(command: Command) -> None:
    assert command("-V").out == f"bifocal {bifocal.__version__}\n"
    assert "Usage: bifocal encode" in command("encode", "-h").out
    assert "--install-completion" in command("-h").out
    assert "Did you mean 'decode'" in command("dekode").err
    assert "dB" in command("encode", "--help").out and "same bytes" in " ".join(
        command("encode", "--help").out.split()
    )


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_any_encoding_of_standard_output_will_do(
    command: Command, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    Path("in/a.png").rename("in/Grüße ∞.png")
    monkeypatch.setattr(sys, "argv", ["bifocal", "encode", "in", "-o", "out"])
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(SystemExit) as exit_info:
        run()
    assert exit_info.value.code == 0 and len(list(Path("out").rglob("*.bfc"))) == 2


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_a_reader_that_leaves_early_sees_no_traceback(tmp_path: Path) -> None:
    shell = f"{sys.executable} -m bifocal models | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_an_output_whose_name_says_no_format_gets_png(command: Command) -> None:
    assert command("encode", "in/a.png", "-o", "a.bfc").status == 0
    Path("plain").touch()
    assert command("decode", "a.bfc", "-o", "plain").status == 2
    assert command("decode", "a.bfc", "-o", "plain", "--force").status == 0
    assert Path("plain").read_bytes().startswith(b"\x89PNG")
    assert command("decode", "a.bfc", "-o", os.devnull).status == 0
