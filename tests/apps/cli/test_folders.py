"""Runs over folders name what they skip, pass over what they cannot read, and stop when the disk is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from PIL import Image

import bifocal
from bifocal.errors import OutputError
from tests.apps.cli.test_commands import Command, command

__all__ = ["command"]  # the fixture


def test_skipped_files_are_counted_and_named(command: Command) -> None:
    Image.new("RGB", (64, 64)).save("in/plain", "JPEG")
    Path("in/notes.txt").write_text("no picture")
    Path("in/sub/raw.nef").write_bytes(b"II*\0" + bytes(60))
    made = command("encode", "in", "-o", "out")
    assert made.status == 0 and Path("out/plain.bfc").exists()
    assert "2 files are skipped, being no pictures: in/notes.txt, in/sub/raw.nef." in made.err
    made = command("decode", "out", "-o", "back")
    assert made.status == 0 and "skipped" not in made.err  # the manifest is ours
    (none := Path("none")).mkdir()
    (none / "a.txt").touch()
    made = command("encode", "none")
    assert (
        made.status == 2
        and "no pictures found in none. Skipped, since they are none: none/a.txt." in made.err
    )


def test_a_folder_that_cannot_be_read_fails_no_other(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def scan(path: str) -> object:
        if str(path).endswith("sub"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scan)
    made = command("encode", "in", "-o", "out")
    assert made.status == 1 and Path("out/a.bfc").exists()
    assert "1 not readable and passed over: in/sub (Permission denied)." in made.err


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_full_disk_stops_the_run(command: Command, monkeypatch: pytest.MonkeyPatch, jobs: str) -> None:
    if jobs == "2" and not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    for number in range(8):
        Image.new("RGB", (8, 8)).save(f"in/{number}.png")
    if jobs == "1":

        def full(*_: object, **__: object) -> None:
            raise OutputError("out/0.bfc cannot be written: full.") from OSError(errno.ENOSPC, "full")

        monkeypatch.setattr(bifocal, "encode_file", full)
    else:  # worker processes see no monkeypatch, but this device, which is always full
        Path("out").mkdir()
        Path("out/0.bfc").symlink_to("/dev/full")
    made = command("encode", "in", "-o", "out", "--jobs", jobs)
    assert made.status == 1
    assert "the disk is full, so the run stops here. Make room, then go on with --resume." in made.err
    assert "1 of 10 files failed" in made.err and "Traceback" not in made.err
