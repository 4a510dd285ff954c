"""`bifocal encode` with --size, --psnr, --effort and --quality-map: each reaches the codec."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import bifocal
from bifocal.apps.cli.main import run
from tests.conftest import made_picture

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def encode(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs ``bifocal encode`` with the tiny model beside two pictures; gives the status and what was said."""
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    for seed in (1, 2):
        bifocal.write_picture(bifocal.Picture(made_picture(70, 90, seed=seed)), f"in/{seed}.png")

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["bifocal", "encode", *arguments, "--model", str(tiny_folder)])
        with pytest.raises(SystemExit) as exit_info:
            run()
        captured = capsys.readouterr()
        code = exit_info.value.code
        assert isinstance(code, int | None)
        return code or 0, captured.out + captured.err

    return call


def same(name: str, tiny_folder: Path, **settings: object) -> bool:
    """Whether the stream is the one that the function of the package makes."""
    wanted = bifocal.encode(bifocal.read_picture(f"in/{name}.png"), model=tiny_folder, **settings)  # type: ignore[arg-type]
    return Path(f"out/{name}.bfc").read_bytes() == wanted


def test_a_size_holds_for_every_file_of_a_run(encode: Command, tiny_folder: Path) -> None:
    assert encode("in", "-o", "out", "--size", "1.5kB")[0] == 0
    for name in "12":
        assert Path(f"out/{name}.bfc").stat().st_size <= 1500
        assert same(name, tiny_folder, size=1500)


def test_effort_psnr_and_map_reach_the_codec(encode: Command, tiny_folder: Path) -> None:
    assert encode("in/1.png", "-o", "out/1.bfc", "--effort", "2", "-q", "70")[0] == 0
    assert same("1", tiny_folder, quality=70, effort=2)
    assert encode("in/1.png", "-o", "out/1.bfc", "--force", "--psnr", "24")[0] == 0
    assert same("1", tiny_folder, psnr=24)
    mask = np.zeros((70, 90), np.uint8)
    mask[20:50] = 255
    bifocal.write_picture(bifocal.Picture(mask), "mask.png")
    assert encode("in/1.png", "-o", "out/1.bfc", "--force", "--quality-map", "mask.png")[0] == 0
    assert same("1", tiny_folder, quality_map=mask)


def test_what_cannot_be_is_said_once(encode: Command) -> None:
    for wrong in (["--size", "3 cows"], ["--size", "9kB", "-q", "5"], ["--psnr", "-3"]):
        status, said = encode("in", "-o", "out", *wrong)
        assert status != 0 and said.count("bifocal:") == 1 and not Path("out").exists()
    status, said = encode("in/1.png", "-o", "out/1.bfc", "--size", "100")
    assert status != 0 and "smallest" not in said and "quality 1" in said and not Path("out/1.bfc").exists()
