"""Files are whole or absent, never replaced unasked, and stay what they are: links, devices, modes."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bifocal.errors import OutputError
from bifocal.storage import filesystem
from bifocal.storage.filesystem import is_disk_full, refuse_existing, write_atomically

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX files")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_existing_file_is_replaced_only_if_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.bfc"
    write_atomically(path, b"one", overwrite=False)
    with pytest.raises(OutputError, match=r"exists already.*--force.*overwrite=True"):
        write_atomically(path, b"two", overwrite=False)
    with pytest.raises(OutputError, match="exists already"):
        refuse_existing(path)
    assert path.read_bytes() == b"one"
    write_atomically(path, b"two")
    refuse_existing(tmp_path / "b.bfc")
    assert path.read_bytes() == b"two" and names(tmp_path) == ["a.bfc"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_while_we_write_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    write_atomically(tmp_path / "b", b"one", overwrite=False)
    assert (tmp_path / "b").read_bytes() == b"one"
    real = os.fsync

    def late(descriptor: int) -> None:
        (tmp_path / "a").write_bytes(b"theirs")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", late)
    with pytest.raises(OutputError, match="exists already"):
        write_atomically(tmp_path / "a", b"ours", overwrite=False)
    assert (tmp_path / "a").read_bytes() == b"theirs" and names(tmp_path) == ["a", "b"]


@posix
@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("chain", [True, False])
def test_a_link_stays_a_link_and_what_it_points_to_is_written(
    tmp_path: Path, overwrite: bool, chain: bool
) -> None:
    (tmp_path / "far").mkdir()
    link, target = tmp_path / "link", tmp_path / "far" / "target"
    link.symlink_to("middle" if chain else "far/target")
    if chain:
        (tmp_path / "middle").symlink_to("far/target")
    write_atomically(link, b"dangling", overwrite=overwrite)
    assert link.is_symlink() and target.read_bytes() == b"dangling" and not target.is_symlink()
    if overwrite:
        write_atomically(link, b"again")
        assert link.is_symlink() and target.read_bytes() == b"again"
    else:
        with pytest.raises(OutputError, match="exists already"):
            write_atomically(link, b"again", overwrite=False)
    assert names(tmp_path / "far") == ["target"]


@posix
def test_links_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "lost").symlink_to("no/folder/here")
    for name in ("loop", "lost"):
        with pytest.raises(OutputError, match=f"{name} cannot be written"):
            write_atomically(tmp_path / name, b"x")
        assert (tmp_path / name).is_symlink()
    assert names(tmp_path) == ["loop", "lost"]


@posix
@pytest.mark.parametrize("overwrite", [True, False])
def test_a_pipe_gets_the_bytes_and_stays_a_pipe(tmp_path: Path, overwrite: bool) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    refuse_existing(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, bytes(100_000), overwrite=overwrite)
    reader.join()
    assert read == [bytes(100_000)] and stat.S_ISFIFO(pipe.stat().st_mode) and names(tmp_path) == ["pipe"]


@posix
def test_a_device_stays_a_device(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        write_atomically(tmp_path / "null", b"gone", overwrite=False)
    except OSError:
        pytest.skip("may not make devices here")
    assert stat.S_ISCHR((tmp_path / "null").stat().st_mode) and names(tmp_path) == ["null"]


@posix
def test_standard_output_by_its_path_is_appended_to_as_the_shell_opened_it(tmp_path: Path) -> None:
    script = (
        "from bifocal.storage.filesystem import *; write_atomically('/dev/stdout', b'2', overwrite=False)"
    )
    (tmp_path / "log").write_bytes(b"1")
    with (tmp_path / "log").open("ab") as log:
        subprocess.run([sys.executable, "-c", script], stdout=log, check=True)
    assert (tmp_path / "log").read_bytes() == b"12"
    piped = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert piped.stdout == b"2"


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_the_mode_of_a_replaced_file_is_kept(tmp_path: Path, mode: int) -> None:
    (tmp_path / "a").touch()
    (tmp_path / "a").chmod(mode)
    write_atomically(tmp_path / "a", b"new")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode


@posix
def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@posix
def test_the_owner_of_a_replaced_file_is_kept_where_we_may(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root may give files away")
    (tmp_path / "a").touch()
    os.chown(tmp_path / "a", 12345, 54321)
    write_atomically(tmp_path / "a", b"new")
    state = (tmp_path / "a").stat()
    assert (state.st_uid, state.st_gid) == (12345, 54321)


@pytest.mark.parametrize("fails", ["fsync", "replace", "link"])
def test_a_full_disk_is_an_error_of_ours_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, fails, full)
    with pytest.raises(OutputError, match=r"No space left.*Make room") as caught:
        write_atomically(tmp_path / "a", b"new", overwrite=fails != "link")
    assert is_disk_full(caught.value) and not is_disk_full(OutputError("else"))
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["", "no/folder/a", "folder", "folder/", "new/", "a\0b", 300 * "n"])
def test_names_that_cannot_be_written_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    for overwrite in (True, False):
        with pytest.raises(OutputError, match="cannot be written"):
            write_atomically(name, b"new", overwrite=overwrite)
    assert names(tmp_path) == ["folder"] and names(tmp_path / "folder") == []


def test_a_read_only_file_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr(filesystem.os, "access", lambda *_: False)  # root may write to everything
    with pytest.raises(OutputError, match="read-only"):
        write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
