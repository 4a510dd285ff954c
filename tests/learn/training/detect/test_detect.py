"""Training a detector: assignment, losses, judging, and a run from a data set to a packed file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import bifocal
from bifocal._version import DEFAULT_MODEL
from bifocal.errors import HeadError, OptionError, OutputError, TrainingError
from bifocal.learn.data.detection.dataset import find_detection
from bifocal.learn.data.detection.views import batches
from bifocal.learn.nets.heads.detector import SLIM, BoxesOf, Detector, DetectorConfig
from bifocal.learn.nets.heads.super_resolution import SuperResolution
from bifocal.learn.packing.detectors import pack_detector
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.detect.judging import judge_boxes
from bifocal.learn.training.detect.losses import assign, complete_iou, detection_loss, enlarging_loss
from bifocal.learn.training.detect.recipe import DetectRecipe, detect_recipe, fitted_anchors
from bifocal.learn.training.detect.run import DetectorRun, opened
from bifocal.learn.training.detect.train import train_detector
from bifocal.learn.training.tasks.detect import detect_job
from bifocal.runtime.heads.boxes import Found
from bifocal.runtime.heads.detect import Threshold, detect_pixels

TINY = DetectorConfig(classes=1, width=8, depth=1)
RECIPE = DetectRecipe(replace(TINY, classes=2), side=64, batch=2, blocks=1, warmup=2)


@pytest.fixture
def squares(tmp_path: Path) -> Path:
    """Four pairs of 96×64 pixels with bright squares, in a folder with annotations.json."""
    rng = np.random.default_rng(0)
    images, rows = [], []
    for k in range(4):
        pixels, infrared = np.full((64, 96, 3), 40, np.uint8), np.full((64, 96), 60, np.uint8)
        for x, y in rng.integers(0, (84, 52), (4, 2)).tolist():
            pixels[y : y + 12, x : x + 12] = 220
            infrared[y : y + 12, x : x + 12] = 200
            rows.append({"id": len(rows), "image_id": k, "category_id": 1, "bbox": [x, y, 12, 12]})
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
        Image.fromarray(infrared).save(tmp_path / f"{k}_ir.png")
        images.append({"id": k, "file_name": f"{k}.png", "ir_file_name": f"{k}_ir.png"})
    content = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "square"}]}
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    return tmp_path


def test_an_anchor_answers_for_objects_within_a_factor_of_four() -> None:
    anchors = torch.tensor([[8.0, 8.0], [40.0, 40.0]])
    found = assign(torch.tensor([[0, 0, 20.0, 20.0, 8.0, 8.0], [0, 0, 20, 20, 1.9, 8]]), anchors, 8, 8)
    assert set(found.anchor.tolist()) == {0} and set(found.target.tolist()) == {0}


def test_cells_outside_of_the_grid_answer_for_nothing() -> None:
    found = assign(torch.tensor([[0, 0, 0.5, 0.5, 8.0, 8.0]]), torch.tensor([[8.0, 8.0]]), 4, 4)
    assert list(zip(found.row.tolist(), found.column.tolist(), strict=True)) == [(0, 0)]


def test_complete_iou_is_one_for_the_same_box_and_negative_for_one_far_away() -> None:
    boxes = torch.tensor([[8.0, 8, 4, 4], [8, 8, 4, 4]])
    iou, complete = complete_iou(torch.tensor([[8.0, 8], [40, 40]]), boxes[:, 2:], boxes)
    assert iou.tolist() == pytest.approx([1, 0], abs=1e-5)
    assert complete[0] == pytest.approx(1, abs=1e-5) and complete[1] < 0


def test_the_loss_falls_as_answers_come_near_their_targets() -> None:
    anchors, targets = torch.tensor([[8.0, 8.0]]), torch.tensor([[0, 1, 10.0, 10.0, 8, 8]])
    recipe, none = replace(RECIPE, config=SLIM), torch.zeros(0, 5)
    answers = torch.full((1, 1, 7, 4, 4), -6.0)
    answers[:, :, :4] = 0
    poor = detection_loss(answers, targets, none, anchors, recipe)
    found = assign(targets, anchors, 4, 4)
    answers[0, 0, 4, found.row, found.column] = 6
    answers[0, 0, 6, found.row, found.column] = 6
    good = detection_loss(answers, targets, none, anchors, recipe)
    assert poor.shape == (3,) and good[1] < poor[1] and good[2] < poor[2] and good[0] == poor[0]


def test_nothing_is_learned_in_ignored_regions() -> None:
    anchors, none = torch.tensor([[8.0, 8.0]]), torch.zeros(0, 6)
    answers = torch.full((1, 1, 6, 4, 4), -9.0)
    answers[0, 0, 4, :2, :2] = 9.0
    region = torch.tensor([[0, 0.0, 0, 8, 8]])
    with_region = detection_loss(answers, none, region, anchors, RECIPE)
    assert with_region[1] < 1e-2 < detection_loss(answers, none, torch.zeros(0, 5), anchors, RECIPE)[1]


def test_infrared_counts_beside_colour_in_what_is_enlarged() -> None:
    pixels = torch.zeros(1, 4, 4, 4)
    assert enlarging_loss(pixels, pixels + torch.tensor([0, 0, 0, 1.0]).reshape(1, 4, 1, 1)) == 1.0
    assert enlarging_loss(pixels[:, :3], pixels[:, :3] + 1) == 1.0
    assert enlarging_loss(pixels[:, :1], pixels[:, :1] + 1) == 1.0


def test_anchors_are_fitted_only_where_boxes_are_far_from_them(squares: Path) -> None:
    data = find_detection(squares)
    assert fitted_anchors(data, 1) == SLIM.anchors
    assert fitted_anchors(data, 1, ((100.0, 100.0), (200.0, 200.0)))[0] == (12.0, 12.0)


def test_the_paper_recipe_has_the_numbers_of_the_paper() -> None:
    recipe = detect_recipe("paper", ("rgb", "ir"), "mf", sr=True, side=1024, shrink=2, seed=0)
    assert (recipe.batch * recipe.accumulate, recipe.lr, recipe.momentum, recipe.floor) == (
        64,
        0.01,
        0.937,
        0.2,
    )
    for wrong in ({"sr": True, "shrink": 1}, {"side": 100}, {"fusion": "late"}, {"size": "huge"}):
        options: dict[str, Any] = {
            "size": "slim",
            "fusion": "mf",
            "sr": False,
            "side": 256,
            "shrink": 2,
        } | wrong
        with pytest.raises(OptionError):
            detect_recipe(options.pop("size"), ("rgb",), options.pop("fusion"), seed=0, **options)


def test_perfect_boxes_have_full_precision_and_none_have_none(squares: Path) -> None:
    data = find_detection(squares)
    perfect = [Found(p.boxes, p.labels, np.ones(len(p.boxes), np.float32)) for p in data.pictures]
    judged = judge_boxes(data, perfect, near=6, draws=3)
    assert judged.ap50 == judged.ap == judged.near == pytest.approx(1)
    assert judged.intervals is not None and judged.intervals["ap50"] == pytest.approx((1, 1))
    moved = [one._replace(corners=one.corners + [5, 0, 5, 0]) for one in perfect]
    judged = judge_boxes(data, moved, near=6)
    assert judged.ap50 < 0.5 and judged.near == pytest.approx(1)
    far = judge_boxes(data, [one._replace(corners=one.corners + [7, 0, 7, 0]) for one in perfect], near=6)
    assert far.near is not None and far.near < 0.5
    nothing = [Found(one.corners[:0], one.labels[:0], one.scores[:0]) for one in perfect]
    assert judge_boxes(data, nothing).ap50 == 0


@pytest.mark.parametrize("sgd", [False, True])
def test_a_step_trains_the_detector_and_the_branch_beside_it(squares: Path, sgd: bool) -> None:
    data = find_detection(squares, ("rgb", "ir"))
    recipe = replace(RECIPE, config=TINY, sr=True, sgd=sgd)
    job = detect_job(recipe, Detector(TINY), batches(data, 2, 64, 0))
    loss = job.loss(next(job.batches), 0.0)
    loss.value.backward()
    assert job.beside is not None and all(p.grad is not None for p in job.beside.parameters())
    assert loss.figures[0] == pytest.approx(
        2 * float(loss.figures[1:4].sum()) + float(loss.figures[4]), rel=1e-4
    )


def test_super_resolution_changes_no_box_and_is_in_no_packed_detector() -> None:
    torch.manual_seed(0)
    network = Detector(TINY).eval()
    pixels = torch.randint(0, 256, (1, 4, 64, 64)).float()
    with torch.no_grad():
        without = BoxesOf(network, TINY.anchors, 2)(pixels)
        features = network.features(torch.nn.functional.avg_pool2d(pixels / 255, 2))
        branch = SuperResolution(TINY, 2).eval()
        assert branch(features.low, features.high).shape == pixels.shape
        network.add_module("branch", branch)  # loaded beside the rest, it is not run
        beside = BoxesOf(network, TINY.anchors, 2)(pixels)
    assert all(torch.equal(one, two) for one, two in zip(beside, without, strict=True))
    packed = pack_detector(network, name="tiny", classes=("square",), shrink=2)
    assert not any("branch" in name for name in packed.weights)
    seen = pixels[0].permute(1, 2, 0).numpy().astype(np.uint8)
    found = detect_pixels(opened(packed), seen, Threshold(0.0))
    corners, scores = without[0][0].clamp(0, 64), without[1].flatten()
    for corner, score in zip(found.corners[:5], found.scores, strict=False):
        nearest = (corners - torch.from_numpy(corner)).abs().amax(1)
        assert nearest.min() < 1 and score == pytest.approx(float(scores[nearest.argmin()]), rel=0.05)


def test_a_run_leaves_a_detector_that_finds_its_squares(squares: Path, tmp_path: Path) -> None:
    out, lines = tmp_path / "made" / "squares.bfd", list[str]()
    recipe = replace(RECIPE, config=replace(TINY, width=8), sr=True, lr=5e-3, matrix_lr=0.02, ema=0.9)
    other = replace(recipe, shrink=1, sr=False)
    options: dict[str, Any] = {"recipe": recipe, "val": squares, "near": 6, "log": lines.append}
    made = train_detector(squares, out, Budget(steps=40), **options)
    assert made.path.is_file() and made.judged.near is not None and made.judged.near > 0.2, lines
    assert {"report.json", "precision.png", "boxes.png", "validation.jsonl"} <= {
        p.name for p in made.report.iterdir()
    }
    kept = made.report / "checkpoint.safetensors"
    with pytest.raises(TrainingError, match="not the checkpoint"):
        train_detector(squares, out, Budget(steps=1), **options | {"recipe": other}, resume=kept)
    with pytest.raises(OutputError):
        train_detector(squares, tmp_path / "x.bfh", Budget(steps=1), recipe=recipe)


def test_a_detector_of_latents_is_trained_on_streams_and_finds_boxes_in_them(
    squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DetectorRun, "rehearse", lambda run: None)  # it takes as long as the rest
    out = tmp_path / "streams.bfd"
    recipe = replace(RECIPE, config=replace(TINY, width=8), ema=0.5)
    made = train_detector(
        squares,
        out,
        Budget(steps=2),
        recipe=recipe,
        val=squares,
        base=DEFAULT_MODEL,
        views=1,
        log=lambda _: None,
    )
    assert made.path.is_file()
    pixels = find_detection(squares, ("rgb", "ir")).pixels(0)
    picture = bifocal.Picture(pixels[..., :3].copy(), plane=pixels[..., 3].copy())
    boxes = bifocal.detect(bifocal.encode(picture), detector=out, at_least=0.0)
    assert (boxes.width, boxes.height) == (96, 64) and len(boxes) > 0
    with pytest.raises(HeadError, match="no plane"):
        bifocal.detect(bifocal.encode(picture.pixels), detector=out)
    with pytest.raises(OptionError, match="reads streams"):
        bifocal.detect(picture, detector=out)
