"""Labelled pictures: what can be left out is counted, what cannot be trained on is refused at once."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bifocal.errors import TrainingError
from bifocal.learn.data.labelled import find_labelled, load_squares, split


def _picture(path: Path, seed: int, size: tuple[int, int] = (20, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def _two_classes(folder: Path) -> Path:
    for number in range(3):
        _picture(folder / "cat" / f"{number}.png", number)
        _picture(folder / "dog" / "young" / f"{number}.jpg", 10 + number)
    return folder


def test_classes_are_subfolders_in_the_order_of_their_names(tmp_path: Path) -> None:
    found = find_labelled(_two_classes(tmp_path))
    assert found.classes == ("cat", "dog")
    assert [file.name for file in found.files] == ["0.png", "1.png", "2.png", "0.jpg", "1.jpg", "2.jpg"]
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1] and found.warnings == ()


def test_names_replace_those_of_folders(tmp_path: Path) -> None:
    names = tmp_path / "names.tsv"
    names.write_text("dog\tGolden retriever\n")
    assert find_labelled(_two_classes(tmp_path), names=names).classes == ("cat", "Golden retriever")
    for text, said in (("dog\tcat\n", "its own name"), ("dog cat\n", "FOLDER<TAB>NAME"), ("dog\t \n", "own")):
        names.write_text(text)
        with pytest.raises(TrainingError, match=said):
            find_labelled(tmp_path, names=names)


def test_duplicates_and_empty_folders_are_counted_and_left_out(tmp_path: Path) -> None:
    _two_classes(tmp_path)
    (tmp_path / "bird").mkdir()
    (tmp_path / "cat" / "notes.txt").write_text("not a picture")
    shutil.copy(tmp_path / "cat" / "0.png", tmp_path / "cat" / "copy.png")
    both = _picture(tmp_path / "cat" / "pet.png", 50)
    shutil.copy(both, tmp_path / "dog" / "pet.png")
    found = find_labelled(tmp_path)
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert not any(file.name in ("copy.png", "pet.png") for file in found.files)
    empty, same, contradicting = found.warnings
    assert "bird" in empty and same.startswith("1 left out") and contradicting.startswith("2 left out")


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_classes_are_refused(tmp_path: Path, count: int) -> None:
    _picture(tmp_path / "loose.png", 1)
    for number in range(3 * count):
        _picture(tmp_path / "cat" / f"{number}.png", number)
    with pytest.raises(TrainingError, match="at least two"):
        find_labelled(tmp_path)


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="not a folder"):
        find_labelled(tmp_path / "missing")


def test_a_class_with_one_picture_is_refused_and_named(tmp_path: Path) -> None:
    _two_classes(tmp_path)
    _picture(tmp_path / "emu" / "only.png", 70)
    shutil.copy(tmp_path / "emu" / "only.png", tmp_path / "emu" / "again.png")
    with pytest.raises(TrainingError, match="'emu' has 1 usable"):
        find_labelled(tmp_path)


def test_streams_count_only_where_they_are_asked_for(tmp_path: Path) -> None:
    _two_classes(tmp_path)
    (tmp_path / "cat" / "a.bfc").write_bytes(b"stream")
    assert len(find_labelled(tmp_path).files) == 6
    assert len(find_labelled(tmp_path, streams=True).files) == 7


def test_squares_are_the_middle_and_unreadable_pictures_are_counted(tmp_path: Path) -> None:
    _two_classes(tmp_path)
    (tmp_path / "dog" / "broken.png").write_bytes(b"no picture")
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 20:60] = 200
    Image.fromarray(pixels).save(tmp_path / "cat" / "9.png")
    labelled, squares = load_squares(find_labelled(tmp_path), 16)
    assert squares.shape == (7, 16, 16, 3) and len(labelled.files) == 7
    assert (squares[3] == 200).all()
    assert labelled.warnings[0].startswith("1 left out, unreadable")


def test_a_split_is_stratified_seeded_and_never_empties_a_class() -> None:
    labels = np.repeat(np.arange(3), [2, 20, 100])
    train, held = split(labels, 0.1, seed=4)
    assert np.bincount(labels[held]).tolist() == [1, 2, 10]
    assert sorted([*train, *held]) == list(range(122))
    again = split(labels, 0.1, seed=4)
    assert (again[0] == train).all() and not np.array_equal(split(labels, 0.1, seed=5)[1], held)
