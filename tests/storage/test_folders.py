"""What a folder holds: names that say so are taken unopened, content decides about the others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from bifocal.apps.batch.kinds import PICTURES, STREAMS
from bifocal.storage.filesystem import part_prefix
from bifocal.storage.folders import LeftOut, Names, search

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX files")


def searched(folder: Path, kind: object = PICTURES) -> tuple[list[str], LeftOut]:
    left_out = LeftOut()
    return search(os.fspath(folder), kind, left_out), left_out  # type: ignore[arg-type]


def test_content_decides_where_a_name_does_not(tmp_path: Path) -> None:
    picture = Image.new("RGB", (8, 8))
    for name, form in (
        ("none", "PNG"),
        ("a.dat", "JPEG"),
        ("b.jfif", "JPEG"),
        ("c.ico", "ICO"),
        (".hidden.png", "PNG"),
        ("d.", "BMP"),
        ("plain.dng", "TIFF"),
    ):
        picture.save(tmp_path / name, form)
    (tmp_path / "text.txt").write_text("P1 is how a picture would begin" * 9)
    (tmp_path / "empty").touch()
    (tmp_path / "._photo.jpg").write_bytes(b"\0\5\x16\7" * 20)  # as macOS leaves on other systems' disks
    (tmp_path / "bad.png").write_text("no picture, but its name says so")
    (tmp_path / "stream.bfc").write_bytes(b"\x89BFC")
    (tmp_path / "bifocal-encode.jsonl").touch()
    (tmp_path / f"{part_prefix('a.bfc')}1f.part").touch()
    names, left_out = searched(tmp_path)
    assert names == [".hidden.png", "a.dat", "b.jfif", "bad.png", "c.ico", "d.", "none"]
    assert left_out.skipped.count == 4 and left_out.unreadable.count == 0
    assert [Path(name).name for name in left_out.skipped.first] == [
        "._photo.jpg",
        "empty",
        "plain.dng",
        "text.txt",
    ]


def test_streams_are_known_by_their_first_bytes(tmp_path: Path) -> None:
    for name in ("a.bfc", "b", "c.dat"):
        (tmp_path / name).write_bytes(b"\x89BFC and more")
    (tmp_path / "d.dat").write_bytes(b"\x89PNG")
    (tmp_path / "e.png").touch()  # decoding beside sources: they are expected to be there
    names, left_out = searched(tmp_path, STREAMS)
    assert names == ["a.bfc", "b", "c.dat"]
    assert left_out.skipped.first == [str(tmp_path / "d.dat")]


@posix
def test_links_are_not_followed_into_folders_and_pipes_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.png").touch()
    (tmp_path / "sub" / "up").symlink_to("..")
    (tmp_path / "circle.png").symlink_to("circle.png")
    (tmp_path / "lost.png").symlink_to("nowhere")
    (tmp_path / "link.png").symlink_to("sub/a.png")
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe")
    names, left_out = searched(tmp_path)
    assert names == ["link.png", "sub/a.png"]
    skipped = [os.path.relpath(name, tmp_path) for name in left_out.skipped.first]
    assert skipped == ["circle.png", "lost.png", "pipe", "pipe.png", "sub/up"]
    (tmp_path / "door").symlink_to("sub")
    assert searched(tmp_path / "door")[0] == ["a.png"]  # named by the user, it is searched


def test_what_cannot_be_read_is_counted_and_the_search_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/1.png", "locked/2.png", "z/3.png", "z/secret"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    real_scan, real_open = os.scandir, open

    def scan(path: str) -> object:
        if path.endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return real_scan(path)

    def opened(path: object, *rest: object, **options: object) -> object:
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", path)
        return real_open(path, *rest, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", scan)
    monkeypatch.setattr("builtins.open", opened)
    names, left_out = searched(tmp_path)
    assert names == ["a/1.png", "z/3.png"] and left_out.unreadable.count == 2
    assert f"{tmp_path / 'locked'} (Permission denied)" in left_out.unreadable.first


def test_known_names_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        (tmp_path / f"{number}.jpg").touch()

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr("builtins.open", opened)
    assert len(searched(tmp_path)[0]) == 50


def test_a_deep_tree_is_searched(tmp_path: Path) -> None:
    deepest = tmp_path.joinpath(*"d" * 300)
    deepest.mkdir(parents=True)
    (deepest / "a.png").touch()
    assert searched(tmp_path)[0] == ["d/" * 300 + "a.png"]


def test_ten_names_are_shown() -> None:
    names = Names()
    for number in range(12):
        names.add(str(number))
    assert str(names) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more" and names.count == 12
