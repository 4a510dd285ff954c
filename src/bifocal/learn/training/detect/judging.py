"""How well a detector does, by the field's own tool: COCO's evaluation (pycocotools).

Average precision at IoU 0.5, and the mean over 0.5 to 0.95; for objects that are points, a second one where a
box is right if its centre is near. Intervals come from drawing pictures again (bootstrap). Up to
:data:`MOST_BOXES` boxes of a picture count: there are pictures with hundreds of trees.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bifocal.errors import TrainingError, install_command
from bifocal.learn.data.detection.dataset import DetectionSet, Pixels
from bifocal.runtime.heads.boxes import Found, suppress

MOST_BOXES = 500
#: Scores from here on are judged, and boxes of a class that overlap by more are taken for one.
LEAST_SCORE, MOST_OVERLAP = 0.001, 0.6
#: Pictures to boxes.
Finder = Callable[[Pixels], Found]


@dataclass(frozen=True)
class Judged:
    """Average precision, as shares: ``ap50``, the mean ``ap`` over IoU 0.5 to 0.95, and ``by_class`` at 0.5.

    ``near`` is that at a distance, None if it was not asked for; ``intervals`` are 95 % by name.
    """

    ap50: float
    ap: float
    by_class: Mapping[str, float]
    near: float | None = None
    intervals: Mapping[str, tuple[float, float]] | None = None

    def figures(self) -> dict[str, Any]:
        """All of it as JSON takes it, rounded."""
        shares = {"ap50": self.ap50, "ap": self.ap} | ({} if self.near is None else {"near": self.near})
        made: dict[str, Any] = {name: round(value, 4) for name, value in shares.items()}
        made["by class"] = {name: round(value, 4) for name, value in self.by_class.items()}
        if self.intervals:
            made["95 %"] = {name: [round(v, 4) for v in pair] for name, pair in self.intervals.items()}
        return made


def network_finder(network: torch.nn.Module, unit: int) -> Finder:
    """Boxes by a torch network, ``BoxesOf`` a detector; sides are padded to multiples of ``unit``."""

    @torch.no_grad()
    def find(pixels: Pixels) -> Found:
        h, w = pixels.shape[:2]
        wide = np.pad(pixels, [(0, -h % unit), (0, -w % unit), (0, 0)], mode="edge")
        corners, scores = network(torch.from_numpy(wide.transpose(2, 0, 1)[None].astype(np.float32)))
        return suppress(corners[0].numpy(), scores[0].numpy(), w, h, least=LEAST_SCORE, overlap=MOST_OVERLAP)

    return find


def judge(data: DetectionSet, find: Finder, *, near: float = 0.0, draws: int = 0, seed: int = 0) -> Judged:
    """Judge what ``find`` says of every picture.

    :param near: also the precision where a box is right if its centre is at most so many pixels away.
    :param draws: how often pictures are drawn again for intervals; 0 gives none.
    """
    return judge_boxes(
        data, [find(data.pixels(k)) for k in range(len(data))], near=near, draws=draws, seed=seed
    )


def judge_boxes(
    data: DetectionSet, found: Sequence[Found], *, near: float = 0.0, draws: int = 0, seed: int = 0
) -> Judged:
    """:func:`judge` for boxes that are found already."""
    evaluation = _evaluated(data, found)
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # IoU, recall, class
    shares = _means(precision)
    at_half = {name: _share(precision[0, :, k]) for k, name in enumerate(data.classes)}
    other = _evaluated(data, found, near) if near else None
    intervals: dict[str, tuple[float, float]] = {}
    if draws:
        drawn = [_redrawn(evaluation, rng) for rng in np.random.default_rng(seed).spawn(draws)]
        for k, name in enumerate(("ap50", "ap")):
            intervals[name] = _interval([shares[k] for shares in drawn])
        if other is not None:
            drawn = [_redrawn(other, rng) for rng in np.random.default_rng(seed).spawn(draws)]
            intervals["near"] = _interval([shares[0] for shares in drawn])
    distance = None if other is None else _means(other.eval["precision"][:, :, :, 0, -1])[0]
    return Judged(shares[0], shares[1], at_half, distance, intervals or None)


def _evaluated(data: DetectionSet, found: Sequence[Found], near: float = 0.0) -> Any:
    """COCO's evaluation of all pictures; by distance in place of IoU where ``near`` is given."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise TrainingError(
            f"a detector is judged with pycocotools, which is not installed: {install_command('train')}"
        ) from error

    class ByDistance(COCOeval):
        """Overlap 0.5 is a distance of ``near`` pixels between centres, 1 is none."""

        def computeIoU(self, imgId: int, catId: int) -> Any:
            truth, said = self._gts[imgId, catId], self._dts[imgId, catId]
            if not truth or not said:
                return []
            said = sorted(said, key=lambda row: -row["score"])[: self.params.maxDets[-1]]
            one, two = (_centres([row["bbox"] for row in rows]) for rows in (said, truth))
            return 1 - np.hypot(*(one[:, None] - two).transpose(2, 0, 1)) / (2 * near)

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = _truth(data)
        truth.createIndex()
        rows = _said(found)
        said = truth.loadRes(rows) if rows else COCO()
        if not rows:
            said.dataset = {**truth.dataset, "annotations": []}
            said.createIndex()
        evaluation = (ByDistance if near else COCOeval)(truth, said, "bbox")
        evaluation.params.maxDets = [MOST_BOXES]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        if near:
            evaluation.params.iouThrs = np.array([0.5])
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _truth(data: DetectionSet) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for number, picture in enumerate(data.pictures):
        marked = [(box, label, 0) for box, label in zip(picture.boxes, picture.labels, strict=True)]
        marked += [(box, kind, 1) for box in picture.ignored for kind in range(len(data.classes))]
        for (left, top, right, bottom), label, crowd in marked:
            box = [float(left), float(top), float(right - left), float(bottom - top)]
            row = {"id": len(rows) + 1, "image_id": number, "category_id": int(label), "bbox": box}
            rows.append(row | {"area": box[2] * box[3], "iscrowd": crowd})
    return {
        "info": {},
        "images": [{"id": k, "width": p.width, "height": p.height} for k, p in enumerate(data.pictures)],
        "categories": [{"id": k, "name": name} for k, name in enumerate(data.classes)],
        "annotations": rows,
    }


def _said(found: Sequence[Found]) -> list[dict[str, Any]]:
    rows = []
    for number, one in enumerate(found):
        for (left, top, right, bottom), label, score in zip(*one, strict=True):
            box = [float(left), float(top), float(right - left), float(bottom - top)]
            row = {"image_id": number, "category_id": int(label), "bbox": box, "score": float(score)}
            rows.append(row)
    return rows


def _centres(boxes: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    rows = np.array(boxes)
    centres: NDArray[np.float64] = rows[:, :2] + rows[:, 2:] / 2
    return centres


def _means(precision: NDArray[np.float64]) -> tuple[float, float]:
    """At the first threshold, and over all; classes without objects are left out."""
    return _share(precision[0]), _share(precision)


def _share(precision: NDArray[np.float64]) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else 0.0


def _redrawn(evaluation: Any, rng: np.random.Generator) -> tuple[float, float]:
    """The precision over as many pictures, drawn with replacement."""
    count = len(evaluation.params.imgIds)
    chosen = rng.integers(count, size=count)
    kept, ids = evaluation.evalImgs, evaluation._paramsEval.imgIds
    each = [kept[start : start + count] for start in range(0, len(kept), count)]
    try:
        evaluation.evalImgs = [rows[k] for rows in each for k in chosen]
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.accumulate()
        return _means(evaluation.eval["precision"][:, :, :, 0, -1])
    finally:
        evaluation.evalImgs, evaluation._paramsEval.imgIds = kept, ids


def _interval(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
