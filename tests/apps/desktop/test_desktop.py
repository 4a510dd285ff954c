"""Installed into a temporary home: what is written, that desktops understand it, that it can be undone."""

from __future__ import annotations

import configparser
import io
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

import bifocal
from bifocal.apps.desktop import integration
from bifocal.apps.desktop.thumbnail import write_thumbnail
from bifocal.errors import NotAStream, OptionError, OutputError
from bifocal.stream.container import MAGIC
from tests.apps.cli.test_commands import Command, command
from tests.apps.plugins.conftest import tiny_installed
from tests.conftest import made_picture
from tests.stream.chunks.test_alpha import made_alpha

__all__ = ["command", "tiny_installed"]  # fixtures

pytestmark = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="desktops of freedesktop.org")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data"


def test_install_and_uninstall(home: Path, command: Command) -> None:
    made = command("desktop", "install")
    assert made.status == 0
    mime, thumbnailer = (
        home / name for name in ("mime/packages/bifocal-codec.xml", "thumbnailers/bifocal-codec.thumbnailer")
    )
    assert str(mime) in made.out and str(thumbnailer) in made.out
    assert command("desktop", "install").status == 0  # again
    removed = command("desktop", "uninstall")
    assert removed.status == 0 and f"removed {mime}" in removed.out
    assert not mime.exists() and not thumbnailer.exists()
    again = command("desktop", "uninstall")
    assert again.status == 0 and "nothing to remove" in again.out


def test_the_mime_type_says_magic_and_suffix(home: Path) -> None:
    mime = integration.install()[0]
    name = "{http://www.freedesktop.org/standards/shared-mime-info}"
    kind = ElementTree.fromstring(mime.read_bytes()).find(f"{name}mime-type")
    assert kind is not None and kind.get("type") == "image/x-bifocal"
    match, glob = kind.find(f"{name}magic/{name}match"), kind.find(f"{name}glob")
    assert match is not None and glob is not None and glob.get("pattern") == "*.bfc"
    value = (match.get("value") or "").encode().decode("unicode_escape").encode("latin-1")
    assert value == MAGIC and match.get("offset") == "0"


@pytest.mark.skipif(shutil.which("update-mime-database") is None, reason="needs shared-mime-info")
def test_the_database_learns_and_forgets_the_type(home: Path) -> None:
    integration.install()
    assert "image/x-bifocal:*.bfc" in (home / "mime" / "globs2").read_text()
    assert b"image/x-bifocal" in (home / "mime" / "magic").read_bytes()
    integration.uninstall()
    found = [
        path for path in (home / "mime").rglob("*") if path.is_file() and b"x-bifocal" in path.read_bytes()
    ]
    assert found == []


@pytest.mark.parametrize("executable", [sys.executable, '/opt/a "b" $c/100%/python'])
def test_the_thumbnailer_calls_this_python(
    executable: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    entry = configparser.RawConfigParser()
    entry.optionxform = str  # type: ignore[assignment,method-assign]
    entry.read(integration.install()[1])
    section = entry["Thumbnailer Entry"]
    assert section["TryExec"] == executable and section["MimeType"] == "image/x-bifocal;"
    said = subprocess.run(["sh", "-c", f"printf '%s\\n' {section['Exec']}"], capture_output=True, text=True)
    words = [word.replace("%%", "%") for word in said.stdout.splitlines()]
    assert words == [executable, "-m", "bifocal", "desktop", "thumbnail", "%i", "%o", "%s"]


def test_the_data_folder_is_that_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_DATA_HOME", ignored)
        assert integration.install()[0].is_relative_to(tmp_path / ".local" / "share")
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="cannot be written"):
        integration.install()
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(OptionError, match=r"freedesktop\.org"):
        integration.install()


def test_files_of_others_stay(home: Path) -> None:
    other = home / "thumbnailers" / "other.thumbnailer"
    other.parent.mkdir(parents=True)
    other.write_text("[Thumbnailer Entry]\n")
    integration.install()
    integration.uninstall()
    assert other.read_text() == "[Thumbnailer Entry]\n"


@pytest.mark.parametrize("size", [1, 16, 100, 4096])
def test_thumbnails_fit_and_are_png(size: int, tiny_installed: None, tmp_path: Path) -> None:
    picture = bifocal.Picture(made_picture(130, 260), {"icc": b"profile"}, made_alpha(130, 260))
    (tmp_path / "a.bfc").write_bytes(bifocal.encode(picture, model="tiny"))
    write_thumbnail(tmp_path / "a.bfc", tmp_path / "out", size)
    with Image.open(tmp_path / "out") as image:
        assert image.format == "PNG" and image.mode == "RGBA" and image.info["icc_profile"] == b"profile"
        assert image.size == (min(size, 260), max(1, min(size // 2, 130)))


def test_a_thumbnail_looks_like_its_picture(tiny_installed: None, tmp_path: Path) -> None:
    pixels = np.zeros((128, 256, 3), np.uint8)
    pixels[:, 128:] = 220
    data = bifocal.encode(pixels, 90, model="tiny")
    (tmp_path / "a.bfc").write_bytes(data)
    write_thumbnail(tmp_path / "a.bfc", tmp_path / "out", 32)
    shown = np.asarray(Image.open(tmp_path / "out"))
    whole = Image.fromarray(bifocal.decode(data).pixels).resize((32, 16))
    assert shown.shape == (16, 32, 3) and np.abs(shown.astype(int) - np.asarray(whole)).mean() < 12


def test_the_command_makes_a_thumbnail_as_file_managers_call_it(command: Command, tmp_path: Path) -> None:
    assert command("encode", "photo.jpg").status == 0
    assert command("desktop", "thumbnail", "photo.bfc", "thumb", "20") == (0, "", "")
    with Image.open("thumb") as image:
        assert image.size == (20, 13)
    for wrong in (["photo.jpg", "x", "20"], ["photo.bfc", "x", "0"], ["none.bfc", "x", "20"]):
        refused = command("desktop", "thumbnail", *wrong)
        assert refused.status in (1, 2) and refused.err and not Path("x").exists()


def test_wrong_files_and_sizes(tmp_path: Path) -> None:
    (tmp_path / "a.bfc").write_bytes(b"something else")
    with pytest.raises(NotAStream, match=r"a\.bfc"):
        write_thumbnail(tmp_path / "a.bfc", tmp_path / "out", 64)
    for size in (0, -4, 4097):
        with pytest.raises(OptionError, match="Choose 1 to 4096"):
            write_thumbnail(tmp_path / "a.bfc", tmp_path / "out", size)


def test_the_installed_entry_works_from_end_to_end(home: Path, tmp_path: Path) -> None:
    """With the shipped model, in a process of its own, from the line in the file."""
    (tmp_path / "a b.bfc").write_bytes(bifocal.encode(made_picture(64, 96)))
    entry = configparser.RawConfigParser()
    entry.read(integration.install()[1])
    words = {"%i": str(tmp_path / "a b.bfc"), "%o": str(tmp_path / "out"), "%s": "48"}
    line = [words.get(word, word) for word in shlex.split(entry["Thumbnailer Entry"]["exec"])]
    subprocess.run(line, check=True)
    assert Image.open(io.BytesIO((tmp_path / "out").read_bytes())).size == (48, 32)
