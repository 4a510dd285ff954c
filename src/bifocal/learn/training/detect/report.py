"""What training a detector leaves for people: figures, the curve of its precision, a sheet with its boxes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from bifocal.learn.data.detection.dataset import DetectionSet, Pixels
from bifocal.pictures.writing import write_picture
from bifocal.types import Boxes, Picture

matplotlib.use("Agg")
from matplotlib import pyplot

#: Side in pixels of a picture on the sheet.
_SIDE = 384


def write_report(folder: Path, curve: Sequence[Mapping[str, float]], figures: Mapping[str, Any]) -> None:
    """Write ``report.json`` and ``precision.png``."""
    text = json.dumps(figures, indent=1, ensure_ascii=False) + "\n"
    (folder / "report.json").write_text(text, encoding="utf-8")
    figure, axes = pyplot.subplots(figsize=(6, 3.6))
    steps = [row["step"] for row in curve]
    for name, text in (("ap50", "at IoU 0.5"), ("ap", "mean of 0.5 to 0.95")):
        axes.plot(steps, [100 * row[name] for row in curve], marker=".", label=text)
    axes.set(xlabel="steps", ylabel="average precision, %")
    axes.legend()
    figure.tight_layout()
    figure.savefig(folder / "precision.png", dpi=110)
    pyplot.close(figure)


def write_sheet(path: Path, data: DetectionSet, found: Sequence[tuple[int, Boxes]]) -> None:
    """Write pictures side by side: above as they are annotated, below as the detector sees them."""
    columns = []
    for number, boxes in found:
        picture = data.pictures[number]
        shown = Picture(_visible(data.pixels(number)))
        names = tuple(data.classes[label] for label in picture.labels)
        ones = np.ones(len(names), np.float32)
        truth = Boxes(names, picture.boxes, ones, picture.width, picture.height, "annotations")
        pair = [_square(one.draw(shown).pixels) for one in (truth, boxes)]
        columns.append(np.concatenate(pair, axis=0))
    write_picture(Picture(np.concatenate(columns, axis=1)), path)


def _visible(pixels: Pixels) -> Pixels:
    """Colour if there is any, or infrared as gray."""
    return np.ascontiguousarray(pixels[..., :3]) if pixels.shape[2] >= 3 else pixels[..., 0]


def _square(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The upper left corner, filled up with black."""
    part = pixels[:_SIDE, :_SIDE]
    room = [(0, _SIDE - part.shape[0]), (0, _SIDE - part.shape[1]), (0, 0)]
    return np.pad(part, room)
