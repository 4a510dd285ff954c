"""Detectors at run time: windows of large pictures, boxes at seams, what is read, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from safetensors.numpy import save

import bifocal
from bifocal.errors import HeadError, OptionError, PictureError
from bifocal.runtime.heads.boxes import Found, distinct
from bifocal.runtime.heads.detect import Part, Threshold, merged
from bifocal.runtime.heads.file import read_spec

CELL = 16


def spec_of(**changes: Any) -> dict[str, Any]:
    spec = {
        "format": 1,
        "kind": "detect",
        "name": "bright",
        "codec": "pixels",
        "fingerprint": "0" * 16,
        "classes": ["square"],
        "reads": "pixels",
        "modalities": ["ir"],
        "channels": 1,
        "window": 8,
        "token": CELL,
        "stride": CELL,
    }
    return {key: value for key, value in {**spec, **changes}.items() if value is not None}


def bright_detector(path: Path, channels: int = 1, **changes: Any) -> Path:
    """A detector of bright cells of 16×16 pixels: their score is the mean of the last channel, over 255."""
    cells = [
        helper.make_node("Constant", [], ["which"], value_ints=[channels - 1]),
        helper.make_node("Gather", ["pixels", "which"], ["last"], axis=1),
        helper.make_node("AveragePool", ["last"], ["mean"], kernel_shape=[CELL] * 2, strides=[CELL] * 2),
        helper.make_node("Constant", [], ["scale"], value_float=1 / 255),
        helper.make_node("Mul", ["mean", "scale"], ["score"]),
    ]
    grid = [
        helper.make_node("Constant", [], ["nil"], value_float=0.0),
        helper.make_node("Constant", [], ["side"], value_float=float(CELL)),
        helper.make_node("Mul", ["score", "nil"], ["zeros"]),
        helper.make_node("Add", ["zeros", "side"], ["sides"]),
        helper.make_node("Constant", [], ["two"], value_int=2),
        helper.make_node("Constant", [], ["three"], value_int=3),
        helper.make_node("CumSum", ["sides", "three"], ["right"]),
        helper.make_node("CumSum", ["sides", "two"], ["bottom"]),
        helper.make_node("Sub", ["right", "side"], ["left"]),
        helper.make_node("Sub", ["bottom", "side"], ["top"]),
        helper.make_node("Concat", ["left", "top", "right", "bottom"], ["corners"], axis=1),
    ]
    flat = [
        helper.make_node("Constant", [], ["row"], value_ints=[0, 0, -1]),
        *(helper.make_node("Reshape", [name, "row"], [f"{name}_row"]) for name in ("corners", "score")),
        helper.make_node("Transpose", ["corners_row"], ["boxes"], perm=[0, 2, 1]),
        helper.make_node("Transpose", ["score_row"], ["scores"], perm=[0, 2, 1]),
    ]
    ends = [
        [helper.make_tensor_value_info("pixels", 1, [1, channels, "h", "w"])],
        [helper.make_tensor_value_info(name, 1, [1, "k", n]) for name, n in (("boxes", 4), ("scores", 1))],
    ]
    graph = helper.make_graph([*cells, *grid, *flat], "detector", *ends)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    data = {"graph.0": np.frombuffer(model.SerializeToString(), np.uint8)}
    path.write_bytes(save(data, {"bifocal": json.dumps(spec_of(channels=channels, **changes))}))
    return path


def squares(height: int, width: int, count: int = 9) -> tuple[np.ndarray, set[tuple[int, int]]]:
    """Gray pixels with bright cells, and the corners of these."""
    rng = np.random.default_rng(3)
    pixels = np.full((height, width), 10, np.uint8)
    corners = {(int(x), int(y)) for x, y in rng.integers(0, (width // 16, height // 16), (count, 2)) * 16}
    for x, y in corners:
        pixels[y : y + 16, x : x + 16] = 240
    return pixels, corners


@pytest.mark.parametrize("size", [(64, 96), (300, 500), (129, 1000)])
def test_objects_are_found_once_whatever_window_they_are_in(tmp_path: Path, size: tuple[int, int]) -> None:
    pixels, corners = squares(*size, count=40)
    boxes = bifocal.detect(pixels, detector=bright_detector(tmp_path / "a.bfd"), at_least=0.5)
    assert {(int(x), int(y)) for x, y in boxes.corners[:, :2]} == corners and len(boxes) == len(corners)
    assert (boxes.width, boxes.height) == size[::-1] and set(boxes.names) == {"square"}
    assert (np.diff(boxes.scores) <= 0).all()


def test_boxes_end_at_the_edge_of_a_picture_that_is_no_multiple(tmp_path: Path) -> None:
    pixels = np.full((40, 40), 240, np.uint8)
    boxes = bifocal.detect(pixels, detector=bright_detector(tmp_path / "a.bfd"))
    assert boxes.corners.max() == 40 and len(boxes) == 9


def test_a_detector_of_colour_and_infrared_reads_both(tmp_path: Path) -> None:
    detector = bright_detector(tmp_path / "a.bfd", 4, modalities=["rgb", "ir"])
    infrared, corners = squares(64, 64)
    colour = np.zeros((64, 64, 3), np.uint8)
    for given in (
        {"picture": colour, "ir": infrared},
        {"picture": bifocal.Picture(colour, plane=infrared)},
        {"picture": bifocal.encode(bifocal.Picture(colour, plane=infrared), lossless=True)},
    ):
        assert len(bifocal.detect(**given, detector=detector, at_least=0.5)) == len(corners)
    with pytest.raises(HeadError, match="no infrared"):
        bifocal.detect(colour, detector=detector)
    with pytest.raises(OptionError, match="64×64 pixels and its infrared 32×64"):
        bifocal.detect(colour, ir=infrared[:, :32], detector=detector)
    with pytest.raises(PictureError):
        bifocal.detect(colour, ir=infrared.astype(np.uint16) * 256, detector=detector)


def test_a_detector_for_another_modality_is_an_error(tmp_path: Path) -> None:
    infrared = bright_detector(tmp_path / "ir.bfd")
    colours = np.zeros((64, 64, 3), np.uint8)
    colours[:, :, 0] = 200
    with pytest.raises(HeadError, match="in colour"):
        bifocal.detect(colours, detector=infrared)
    assert len(bifocal.detect(np.full((32, 32, 3), 250, np.uint8), detector=infrared)) == 4
    colour = bright_detector(tmp_path / "rgb.bfd", 3, modalities=["rgb"])
    with pytest.raises(HeadError, match="colour alone"):
        bifocal.detect(colours, ir=colours[..., 0], detector=colour)


def test_a_head_that_labels_is_no_detector_and_the_other_way_round(tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="gives no boxes"):
        bifocal.detect(np.zeros((64, 64, 3), np.uint8), detector="imagenette")
    with pytest.raises(HeadError):
        bifocal.analyse(
            bifocal.encode(np.zeros((64, 64), np.uint8)), head=bright_detector(tmp_path / "a.bfd")
        )
    with pytest.raises(OptionError):
        bifocal.detect(np.zeros((64, 64), np.uint8), detector=tmp_path / "a.bfd", at_least=2)


@pytest.mark.parametrize(
    "changes",
    [
        {"modalities": None},
        {"modalities": []},
        {"modalities": ["ir", "rgb"]},
        {"modalities": [["ir"]]},
        {"classes": []},
        {"stages": [{"package": True}]},
        {"grid": 4, "reads": "latents"},
    ],
)
def test_a_description_that_contradicts_itself_is_refused(changes: dict[str, Any]) -> None:
    assert read_spec(json.dumps(spec_of())).inputs == 1
    with pytest.raises(HeadError):
        read_spec(json.dumps(spec_of(**changes)))


def test_a_damaged_detector_is_refused(tmp_path: Path) -> None:
    path = bright_detector(tmp_path / "a.bfd")
    data = path.read_bytes()
    for cut in (data[:-1], data[: len(data) // 2], b"", b"\0" * 64):
        path.write_bytes(cut)
        with pytest.raises(HeadError):
            bifocal.detect(np.zeros((64, 64), np.uint8), detector=path)
    bright_detector(path, 3)  # three channels, while the description says one
    with pytest.raises(HeadError):
        bifocal.detect(np.zeros((64, 64), np.uint8), detector=path)


def boxes(*rows: tuple[float, float, float, float]) -> Found:
    count = len(rows)
    return Found(
        np.array(rows, np.float32), np.zeros(count, np.int64), np.linspace(0.9, 0.5, count, dtype=np.float32)
    )


def test_of_overlapping_boxes_of_a_class_the_likeliest_is_kept() -> None:
    two = boxes((0, 0, 10, 10), (1, 0, 11, 10))
    assert len(distinct(two, 0.6).scores) == 1
    other = two._replace(labels=np.array([0, 1]))
    assert len(distinct(other, 0.6).scores) == 2
    assert len(distinct(boxes((0, 0, 10, 10), (2, 2, 6, 6)), 0.6).scores) == 2
    assert len(distinct(boxes((0, 0, 10, 10), (2, 2, 6, 6)), 0.6, contained=True).scores) == 1


def test_an_object_that_two_windows_see_is_one_box() -> None:
    left = Part.of(boxes((55, 10, 67, 22)), 0, 0, (0, 0, 64, 64))
    right = Part.of(boxes((0, 10, 9, 22)), 58, 0, (64, 0, 128, 64))
    assert len(left.found.scores) == 1 and len(right.found.scores) == 0  # its centre is in one core
    right = Part.of(boxes((3, 10, 10, 22)), 58, 0, (64, 0, 128, 64))
    found = merged([left, right], 128, 64, Threshold().overlap, contained=True)
    assert len(found.scores) == 1


def test_boxes_are_drawn_on_their_picture_alone(tmp_path: Path) -> None:
    pixels, corners = squares(64, 64, 2)
    found = bifocal.detect(pixels, detector=bright_detector(tmp_path / "a.bfd"), at_least=0.5)
    drawn = found.draw(bifocal.Picture(pixels))
    x, y = sorted(corners)[0]
    assert drawn.pixels.shape == (64, 64, 3) and len(set(drawn.pixels[y, x].tolist())) > 1
    with pytest.raises(PictureError):
        found.draw(bifocal.Picture(np.zeros((3, 3), np.uint8)))
