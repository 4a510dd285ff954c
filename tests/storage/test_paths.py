"""Which file becomes which."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bifocal.apps.batch.kinds import PICTURES
from bifocal.errors import OptionError
from bifocal.storage.paths import pair_paths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("in/a.jpg", "in/sub/b.PNG", "in/notes.txt", "c.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def pairs(inputs: list[Path], output: Path | str | None = None, *, replace: bool = False) -> dict[str, Path]:
    found = pair_paths(inputs, output, kind=PICTURES, suffix=".bfc", replace=replace)
    assert len(found) == len(list(found))
    return {Path(pair.source).name: Path(pair.target) for pair in found}


def test_one_file_to_a_file_or_a_folder_or_beside_itself(folder: Path) -> None:
    source = folder / "c.png"
    assert pairs([source], folder / "x.bfc") == {"c.png": folder / "x.bfc"}
    assert pairs([source], folder / "in") == {"c.png": folder / "in" / "c.bfc"}
    assert pairs([source]) == {"c.png": folder / "c.bfc"}


def test_folders_are_searched_and_their_shape_is_kept(folder: Path) -> None:
    out = folder / "out"
    expected = {"a.jpg": out / "a.bfc", "b.PNG": out / "sub" / "b.bfc", "c.png": out / "c.bfc"}
    assert pairs([folder / "in", folder / "c.png"], out) == expected
    assert pairs([folder / "in"])["b.PNG"] == folder / "in" / "sub" / "b.bfc"


def test_an_input_is_never_an_output(folder: Path) -> None:
    for output in (folder / "c.png", folder / "in" / ".." / "c.png"):
        with pytest.raises(OptionError, match="would be overwritten"):
            pairs([folder / "c.png"], output, replace=True)
    (folder / "link.bfc").symlink_to(folder / "c.png")
    (folder / "hard.bfc").hardlink_to(folder / "c.png")
    for name in ("link.bfc", "hard.bfc"):
        with pytest.raises(OptionError, match="would be overwritten"):
            pairs([folder / "c.png"], folder / name)


def test_two_results_may_not_share_a_name(folder: Path) -> None:
    (folder / "in" / "a.png").touch()
    with pytest.raises(OptionError, match="would both become.*--keep-suffix"):
        pairs([folder / "in"], folder / "out")
    kept = pair_paths([folder / "in"], None, kind=PICTURES, suffix=".bfc", keep_suffix=True)
    assert [Path(pair.target).name for pair in kept] == ["a.jpg.bfc", "a.png.bfc", "b.PNG.bfc"]


def test_no_name_replaces_a_file_unasked(folder: Path) -> None:
    (folder / "c.bfc").touch()
    for output in (None, folder / "c.bfc"):
        with pytest.raises(OptionError, match="exists already"):
            pairs([folder / "c.png"], output)
        assert pairs([folder / "c.png"], output, replace=True) == {"c.png": folder / "c.bfc"}


def test_a_name_without_a_suffix_is_a_folder_for_one_input_as_for_many(folder: Path) -> None:
    one, two = folder / "c.png", folder / "in" / "a.jpg"
    out = folder / "streams"
    assert pairs([one], out) == {"c.png": out / "c.bfc"}
    assert pairs([one, two], out) == {"c.png": out / "c.bfc", "a.jpg": out / "a.bfc"}
    assert pairs([one], f"{folder}/v1.2/") == {"c.png": folder / "v1.2" / "c.bfc"}
    assert pairs([one], folder / "v1.2") == {"c.png": folder / "v1.2"}
    out.touch()
    assert pairs([one], out, replace=True) == {"c.png": out}
    with pytest.raises(OptionError, match="named like a file"):
        pairs([one, two], folder / "x.bfc")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX files")
def test_pipes_and_links_to_nothing_hold_nothing_that_could_be_lost(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("nowhere")
    for name in ("pipe", "link"):
        assert pairs([folder / "c.png"], folder / name) == {"c.png": folder / name}


def test_a_file_that_is_named_twice_is_refused(folder: Path) -> None:
    assert len(pairs([folder / "c.png", folder / "c.png"])) == 1
    with pytest.raises(OptionError, match="named twice"):
        pairs([folder / "in", folder / "in" / "a.jpg"])


@pytest.mark.parametrize(
    ("inputs", "output"), [(["nothing.png"], None), (["empty"], None), (["in", "c.png"], "c.png")]
)
def test_what_cannot_be_done_is_said_before_work_begins(
    folder: Path, inputs: list[str], output: str | None
) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(OptionError):
        pairs([folder / name for name in inputs], folder / output if output else None)
