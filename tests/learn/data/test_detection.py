"""Data sets with boxes: three ways to write them down, what is wrong with them, and views of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bifocal.errors import OptionError, TrainingError
from bifocal.learn.data.detection.dataset import find_detection, parse_modalities
from bifocal.learn.data.detection.views import Augmentation, batches, view

BOTH = ("rgb", "ir")


def coco(folder: Path, change: Callable[[dict[str, Any]], None] = lambda content: None) -> Path:
    """A COCO data set of two pairs of 64×48 pixels with three objects; ``change`` spoils it."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8)).save(folder / f"{name}.png")
        Image.fromarray(rng.integers(0, 256, (48, 64), np.uint8)).save(folder / f"{name}_ir.png")
    content: dict[str, Any] = {
        "categories": [{"id": 1, "name": "car"}, {"id": 7, "name": "boat"}],
        "images": [
            {"id": k, "file_name": f"{n}.png", "ir_file_name": f"{n}_ir.png", "width": 64, "height": 48}
            for k, n in enumerate("ab")
        ],
        "annotations": [
            {"id": 0, "image_id": 0, "category_id": 1, "bbox": [4, 4, 12, 12]},
            {"id": 1, "image_id": 0, "category_id": 7, "bbox": [40, 20, 10, 8]},
            {"id": 2, "image_id": 1, "category_id": 1, "bbox": [10, 10, 12, 12]},
        ],
    }
    change(content)
    path = folder / "annotations.json"
    path.write_text(json.dumps(content))
    return path


def test_a_coco_file_gives_boxes_classes_and_both_kinds_of_pixels(tmp_path: Path) -> None:
    data = find_detection(coco(tmp_path), BOTH)
    assert data.classes == ("car", "boat") and data.objects == 3
    assert data.pixels(0).shape == (48, 64, 4)
    np.testing.assert_array_equal(data.pictures[0].boxes, [[4, 4, 16, 16], [40, 20, 50, 28]])
    assert data.pictures[0].labels.tolist() == [0, 1]
    assert find_detection(tmp_path, ("ir",)).pixels(1).shape == (48, 64, 1)
    assert any("not square" in warning for warning in data.warnings)


@pytest.mark.parametrize(
    "change, says",
    [
        (lambda c: c["images"][1].update(id=0), "more than once"),
        (lambda c: c["images"][1].update(file_name="a.png"), "more than once"),
        (lambda c: c["categories"][1].update(id=1), "more than once"),
        (lambda c: c["annotations"][0].update(category_id=3), "class 3"),
        (lambda c: c["annotations"][0].update(image_id=9), "picture 9"),
        (lambda c: c["annotations"][0].update(image_id=[9]), "not listed"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 3]), "4 numbers"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, "3", 4]), "4 numbers"),
        (lambda c: c.update(annotations=[]), "no objects"),
        (lambda c: c.update(images=[], annotations=[]), "no objects"),
        (lambda c: c.pop("images"), "no list 'images'"),
        (lambda c: c["images"][0].update(width=63), "another size"),
        (lambda c: c["images"][0].update(file_name="c.png"), "are not there"),
        (lambda c: c["images"][0].pop("ir_file_name"), "no infrared"),
        (lambda c: c["images"][0].update(ir_file_name="c.png"), "are not there"),
    ],
)
def test_a_coco_file_that_contradicts_itself_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    with pytest.raises(TrainingError, match=says):
        find_detection(coco(tmp_path, change), BOTH)


@pytest.mark.parametrize(
    "box, left, warning",
    [
        ([60, 40, 12, 12], 3, "cut at its edge"),
        ([70, 4, 12, 12], 2, "outside"),
        ([4, 4, 0, 12], 2, "empty"),
        ([4, 4, -3, 12], 2, "empty"),
        ([float("nan"), 4, 12, 12], 2, "empty"),
        ([4, 4, 1e308, 12], 3, "cut at its edge"),
    ],
)
def test_boxes_that_cannot_be_used_are_counted(
    tmp_path: Path, box: list[float], left: int, warning: str
) -> None:
    data = find_detection(coco(tmp_path, lambda c: c["annotations"][0].update(bbox=box)))
    assert data.objects == left and sum(text.startswith("1 boxes") for text in data.warnings) == 1
    assert any(warning in text for text in data.warnings)


def test_crowds_and_ignored_classes_become_regions(tmp_path: Path) -> None:
    data = find_detection(coco(tmp_path, lambda c: c["annotations"][0].update(iscrowd=1)), ignore=["boat"])
    assert data.classes == ("car",) and data.objects == 1 and len(data.pictures[0].ignored) == 2
    with pytest.raises(TrainingError, match="no class 'plane'"):
        find_detection(tmp_path, ignore=["plane"])


def test_a_set_to_judge_on_may_have_no_other_classes(tmp_path: Path) -> None:
    assert find_detection(coco(tmp_path), classes=("boat", "car")).pictures[0].labels.tolist() == [1, 0]
    with pytest.raises(TrainingError, match="unknown class"):
        find_detection(tmp_path, classes=("car",))


def test_infrared_of_another_size_or_depth_is_refused(tmp_path: Path) -> None:
    path = coco(tmp_path)
    Image.fromarray(np.zeros((48, 32), np.uint8)).save(tmp_path / "b_ir.png")
    with pytest.raises(TrainingError, match="64×48 pixels and its infrared 32×48"):
        find_detection(path, BOTH)
    Image.fromarray(np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)).save(tmp_path / "b_ir.png")
    with pytest.raises(TrainingError, match="1 pictures cannot be used"):
        find_detection(path, BOTH)
    assert find_detection(path).objects == 3  # colour alone is fine


def test_repeated_numbers_of_annotations_are_a_warning(tmp_path: Path) -> None:
    data = find_detection(coco(tmp_path, lambda c: c["annotations"][0].update(id=1)))
    assert data.objects == 3 and "1 annotations have the number" in data.warnings[0]


def test_a_yolo_folder_is_read(tmp_path: Path) -> None:
    coco(tmp_path)
    for name in ("images", "labels", "infrared"):
        (tmp_path / name).mkdir()
    (tmp_path / "a.png").rename(tmp_path / "images" / "a.png")
    (tmp_path / "a_ir.png").rename(tmp_path / "infrared" / "a.png")
    (tmp_path / "annotations.json").unlink()
    label = tmp_path / "labels" / "a.txt"
    label.write_text("1 0.5 0.5 0.25 0.25\n")
    (tmp_path / "data.yaml").write_text("nc: 2\nnames:\n  0: car\n  1: boat\n")
    data = find_detection(tmp_path, BOTH)
    assert data.classes == ("car", "boat") and data.pictures[0].labels.tolist() == [1]
    np.testing.assert_array_equal(data.pictures[0].boxes, [[24, 18, 40, 30]])
    (tmp_path / "data.yaml").write_text("names: [car]\n")
    with pytest.raises(TrainingError, match="class 1"):
        find_detection(tmp_path, BOTH)
    label.write_text("1 0.5 0.5\n")
    with pytest.raises(TrainingError, match="line 1"):
        find_detection(tmp_path)


def test_a_vedai_folder_is_read(tmp_path: Path) -> None:
    coco(tmp_path)
    for old, new in (("a", "00000003_co"), ("a_ir", "00000003_ir")):
        (tmp_path / f"{old}.png").rename(tmp_path / f"{new}.png")
    (tmp_path / "annotations.json").unlink()
    corners = "10 22 20 8 10 12 24 22"
    lines = f"00000003 15 17 0.1 {corners} 011 1 0\n00000003 15 17 0.1 {corners} 031 1 0\n"
    (tmp_path / "annotation512.txt").write_text(lines)
    (tmp_path / "fold01.txt").write_text("00000003\n")
    data = find_detection(tmp_path, BOTH, fold="fold01")
    assert [data.classes[k] for k in data.pictures[0].labels] == ["pickup"]
    np.testing.assert_array_equal(data.pictures[0].boxes, [[8, 10, 22, 24]])
    with pytest.raises(TrainingError, match="no list fold02"):
        find_detection(tmp_path, BOTH, fold="fold02")


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(TrainingError):
            find_detection(path)
    (tmp_path / "x.json").write_text("[" * 100_000)
    with pytest.raises(TrainingError, match="JSON"):
        find_detection(tmp_path / "x.json")
    with pytest.raises(OptionError):
        parse_modalities("rgb,depth")


def test_boxes_follow_what_they_frame_through_mosaics_and_mirrors(tmp_path: Path) -> None:
    """A white square on black: wherever it is shown, its box frames it."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[20:32, 30:42] = 255

    def only_squares(content: dict[str, Any]) -> None:
        content["annotations"] = [
            {"id": k, "image_id": k, "category_id": 1, "bbox": [30, 20, 12, 12]} for k in range(2)
        ]

    path = coco(tmp_path, only_squares)
    for name in "ab":
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    data, rng = find_detection(path), np.random.default_rng(1)
    how = Augmentation(hue=0, saturation=0, value=0)
    boxes = 0
    for _ in range(40):
        one = view(data, 0, 96, rng, how)
        for left, top, right, bottom in one.boxes:
            inside = one.pixels[round(top) + 1 : round(bottom) - 1, round(left) + 1 : round(right) - 1]
            assert inside.size == 0 or inside.mean() > 200
            boxes += 1
    assert boxes > 20


def test_batches_hold_all_boxes_of_their_views(tmp_path: Path) -> None:
    batch = next(batches(find_detection(coco(tmp_path), BOTH), 3, 64, seed=0))
    assert batch.pixels.shape == (3, 4, 64, 64)
    assert batch.targets.shape[1] == 6 and (batch.targets[:, 4:] > 0).all()
    again = next(batches(find_detection(tmp_path, BOTH), 3, 64, seed=0))
    assert (again.pixels == batch.pixels).all() and (again.targets == batch.targets).all()
