"""The commands as a user types them: what they print, what they write, and the exit status."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import bifocal
from bifocal._version import DEFAULT_MODEL
from bifocal.apps.cli.main import run
from bifocal.runtime import model as runtime_model
from tests.conftest import made_picture


class Result(NamedTuple):
    status: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture
def command(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs a command line in a folder with pictures, where the tiny model is the default one."""
    shutil.copytree(tiny_folder, tmp_path / "models" / DEFAULT_MODEL)
    monkeypatch.setattr(runtime_model, "MODELS", tmp_path / "models")
    (tmp_path / "work" / "in" / "sub").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    for seed, name in enumerate(("photo.jpg", "in/a.png", "in/sub/b.png")):
        bifocal.write_picture(bifocal.Picture(made_picture(40, 60, seed=seed)), name)

    def call(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["bifocal", *arguments])
        with pytest.raises(SystemExit) as exit_info:
            run()
        captured = capsys.readouterr()
        code = exit_info.value.code
        assert isinstance(code, int | None)
        return Result(code or 0, captured.out, captured.err)

    return call


def test_names_with_control_characters_do_not_reach_the_terminal(command: Command) -> None:
    name = "a\nb\x1b[2J.jpg"
    shutil.copy("photo.jpg", f"in/{name}")
    Path(f"in/x{name}").write_bytes(b"no picture")
    shown = "a\\nb\\x1b[2J"
    assert f"{shown}.jpg → ./{shown}.bfc" in command("encode", f"in/{name}", "-o", "./a\nb\x1b[2J.bfc").out
    made = command("encode", "in", "-o", "out/")
    assert f"in/{shown}.jpg" in made.out and f"in/x{shown}.jpg" in made.err
    assert f"{shown}.bfc" in command("info", "out").out
    assert f"nothing{shown}" in command("encode", f"nothing{name}").err
    for text in (made.out, made.err):
        assert "\x1b" not in text


def test_encode_info_decode(command: Command) -> None:
    made = command("encode", "photo.jpg", "-q", "60", "-o", "photo.bfc")
    size = Path("photo.bfc").stat().st_size
    assert made.status == 0 and f"photo.bfc  {size:,} bytes" in made.out and made.err == ""
    result = command("info", "photo.bfc")
    assert "60×40 RGB, quality 60, 1 tile" in result.out and "tiny" in result.out
    result = command("info", "--json", "photo.bfc")
    assert json.loads(result.out)["bytes"] == size
    assert command("decode", "photo.bfc", "-o", "photo.png").status == 0
    assert bifocal.read_picture("photo.png").width == 60


def test_folders_and_several_files(command: Command) -> None:
    made = command("encode", "in", "photo.jpg", "-o", "out")
    assert made.status == 0 and len(made.out.splitlines()) == 3
    assert {str(path) for path in Path("out").rglob("*.bfc")} == {
        "out/a.bfc",
        "out/sub/b.bfc",
        "out/photo.bfc",
    }
    assert command("decode", "out", "--format", "webp").status == 0
    assert Path("out/sub/b.webp").is_file()


def test_one_bad_file_stops_no_other_and_the_status_tells(command: Command) -> None:
    Path("in/broken.jpg").write_bytes(b"\xff\xd8\xff")
    made = command("encode", "in", "-o", "out")
    assert made.status == 1 and len(made.out.splitlines()) == 2
    assert "in/broken.jpg  is no picture" in made.err and "1 of 3 files failed" in made.err
    assert "Traceback" not in made.err
    assert not Path("out/broken.bfc").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["encode", "missing.jpg"], 2, "does not exist"),
        (["encode", "photo.jpg", "-o", "photo.jpg"], 2, "would be overwritten"),
        (["encode", "photo.jpg", "-o", "other.png"], 2, "named like a picture"),
        (["encode", "photo.jpg", "--model", "nothing"], 2, "no model 'nothing'"),
        (["encode", "photo.jpg", "--tile", "100"], 2, "multiple of 64"),
        (["decode", "photo.jpg", "-o", "x.png"], 1, "not a Bifocal stream"),
        (["info", "photo.jpg"], 1, "not a Bifocal stream"),
        (["info", "missing.bfc"], 1, "No such file"),
        (["bench", "photo.jpg", "-q", "a,b"], 2, "whole numbers"),
        (["bench", "photo.jpg", "-q", "0"], 2, "quality is 0"),
        (["bench", "missing.jpg"], 2, "no missing.jpg"),
        (["bench", "photo.jpg", "--peers", "bmp"], 2, "no peer called 'bmp'"),
    ],
)
def test_refusals_are_one_message(command: Command, arguments: list[str], status: int, says: str) -> None:
    result = command(*arguments)
    assert result.status == status and says in result.err and "Traceback" not in result.err
    assert result.err.startswith("bifocal: ") and result.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [["encode", "photo.jpg", "-q", "0"], ["encode"], ["dekode"], ["info", "-x"]]
)
def test_wrong_command_lines_have_status_2(command: Command, arguments: list[str]) -> None:
    result = command(*arguments)
    assert result.status == 2 and "Usage" in result.err


def test_a_decoded_picture_never_replaces_the_original_unasked(command: Command) -> None:
    original = Path("in/a.png").read_bytes()
    assert command("encode", "in/a.png").status == 0
    refused = command("decode", "in/a.bfc")
    assert refused.status == 2 and "exists already" in refused.err
    assert Path("in/a.png").read_bytes() == original
    assert command("decode", "in/a.bfc", "--force").status == 0
    assert Path("in/a.png").read_bytes() != original


def test_models_and_version(command: Command) -> None:
    listed = command("models")
    assert re.search(r"tiny +1 +[0-9a-f]{16} +1,234 +\d\.\d MiB +Apache-2\.0", listed.out)
    assert command("--version").out == f"bifocal {bifocal.__version__}\n"


def test_bench_prints_a_table(command: Command) -> None:
    bifocal.write_picture(bifocal.Picture(made_picture(180, 180)), "large.png")
    result = command("bench", "large.png", "-q", "10,90", "--peers", "jpeg", "--csv", "rows.csv")
    assert result.status == 0 and "bifocal" in result.out and "jpeg" in result.out.lower()
    assert Path("rows.csv").read_text().count("bifocal") >= 2


def test_bench_names_a_picture_that_cannot_be_read_and_goes_on(command: Command) -> None:
    Path("broken.jpg").write_bytes(b"no picture")
    result = command("bench", "broken.jpg", "photo.jpg", "-q", "10", "--peers", "none", "--csv", "rows.csv")
    assert result.status == 1 and "broken.jpg is no picture" in result.err and "photo.jpg" in result.out
    assert Path("rows.csv").read_text().count("photo.jpg") == 1


def test_decoding_a_part_or_a_smaller_picture(command: Command) -> None:
    command("encode", "photo.jpg", "-o", "photo.bfc")
    whole = command("decode", "photo.bfc", "-o", "whole.png")
    assert "60×40" in whole.out
    part = command("decode", "photo.bfc", "-o", "part.png", "--box", "10,5,31,21", "--scale", "1/2")
    assert part.status == 0 and "11×9" in part.out and bifocal.read_picture("part.png").width == 11
    for option, said in (
        (("--box", "1,2,3"), "LEFT,TOP,RIGHT,BOTTOM"),
        (("--box", "0,0,61,40"), "60×40 pixels"),
        (("--scale", "1/3"), "1/16"),
        (("--scale", "half"), "1/16"),
    ):
        result = command("decode", "photo.bfc", "-o", "no.png", *option)
        assert result.status != 0 and said in result.err and not Path("no.png").exists()


def test_decode_takes_a_backend_and_refuses_an_unknown_one_once(command: Command) -> None:
    assert command("encode", "in", "--out", "coded").status == 0
    refused = command("decode", "coded", "--out", "back", "--backend", "abacus")
    assert refused.status == 2 and refused.err.count("no backend 'abacus'") == 1
    assert not Path("back").exists()
    assert command("decode", "coded", "--out", "back", "--backend", "onnxruntime").status == 0
