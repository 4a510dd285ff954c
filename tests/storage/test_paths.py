"""Which file becomes which."""

from __future__ import annotations

from pathlib import Path

import pytest

from bifocal.errors import OptionError
from bifocal.pictures.files import is_picture_name
from bifocal.storage.paths import pair_paths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("in/a.jpg", "in/sub/b.PNG", "in/notes.txt", "c.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def pairs(inputs: list[Path], output: Path | None = None, *, replace: bool = False) -> dict[str, Path]:
    found = pair_paths(inputs, output, wanted=is_picture_name, suffix=".bfc", replace=replace)
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
    with pytest.raises(OptionError, match="would be overwritten"):
        pairs([folder / "c.png"], folder / "link.bfc")


def test_two_results_may_not_share_a_name(folder: Path) -> None:
    (folder / "in" / "a.png").touch()
    with pytest.raises(OptionError, match="would both become.*--keep-suffix"):
        pairs([folder / "in"], folder / "out")
    kept = pair_paths([folder / "in"], None, wanted=is_picture_name, suffix=".bfc", keep_suffix=True)
    assert [Path(pair.target).name for pair in kept] == ["a.jpg.bfc", "a.png.bfc", "b.PNG.bfc"]


def test_a_derived_name_does_not_replace_a_file_unless_told_to(folder: Path) -> None:
    (folder / "c.bfc").touch()
    with pytest.raises(OptionError, match="exists already"):
        pairs([folder / "c.png"])
    assert pairs([folder / "c.png"], replace=True) == {"c.png": folder / "c.bfc"}
    assert pairs([folder / "c.png"], folder / "c.bfc") == {"c.png": folder / "c.bfc"}


@pytest.mark.parametrize(
    ("inputs", "output"), [(["nothing.png"], None), (["empty"], None), (["in", "c.png"], "c.png")]
)
def test_what_cannot_be_done_is_said_before_work_begins(
    folder: Path, inputs: list[str], output: str | None
) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(OptionError):
        pairs([folder / name for name in inputs], folder / output if output else None)
