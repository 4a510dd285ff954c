"""What training a head leaves for people: its curve, and which class it takes for which."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from bifocal.learn.training.classify.judging import Judged, describe

matplotlib.use("Agg")
from matplotlib import pyplot

#: Names and counts are written into the confusion matrix for up to so many classes.
NAMED, COUNTED = 60, 25
CURVE = ("minutes", "step", "loss", "accuracy")


def write_head_report(
    folder: Path,
    curve: Sequence[Mapping[str, float]],
    judged: Judged,
    classes: Sequence[str],
    figures: Mapping[str, Any],
) -> None:
    """Write ``curve.csv``, ``curve.png``, ``report.json`` and, for classes, ``confusion.csv`` and ``.png``.

    ``curve`` has the columns ``CURVE``. The confusion matrix counts streams: what was answered (column) for
    each true class (row), each held-out picture at all qualities.
    """
    confusion = judged.confusion
    with (folder / "curve.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, CURVE)
        writer.writeheader()
        writer.writerows({key: round(row[key], 5) for key in CURVE} for row in curve)
    (folder / "report.json").write_text(
        json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    _draw_curve(curve, folder / "curve.png", "validation accuracy, %" if classes else "mean cosine × 100")
    if not classes:
        return
    with (folder / "confusion.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["true class, counted in streams", *classes])
        rows.writerows([name, *counts] for name, counts in zip(classes, confusion.tolist(), strict=True))
    _draw_confusion(confusion, classes, folder / "confusion.png", _counted(judged))


def _counted(judged: Judged) -> str:
    """What the confusion matrix counts.

    >>> one = np.zeros(3, np.int64)
    >>> names = {"q10": one, "q60": one}
    >>> _counted(Judged(2, names, {}, names, np.zeros((0, 2)), one))
    '3 held-out pictures as real streams, quality 10, quality 60: 6 streams'
    """
    pictures = {len(truth) for truth in judged.truth.values()}
    total = sum(len(truth) for truth in judged.truth.values())
    count = f"{pictures.pop():,} held-out" if len(pictures) == 1 else "held-out"
    return f"{count} pictures as real streams, {', '.join(map(describe, judged.truth))}: {total:,} streams"


def _draw_curve(curve: Sequence[Mapping[str, float]], target: Path, title: str) -> None:
    minutes = [row["minutes"] for row in curve]
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    axes[0].plot(minutes, [row["loss"] for row in curve], marker=".")
    axes[0].set(xlabel="minutes", title="training loss")
    axes[1].plot(minutes, [100 * row["accuracy"] for row in curve], marker=".")
    axes[1].set(xlabel="minutes", title=title, ylim=(0, 100))
    axes[1].grid(alpha=0.3)
    figure.savefig(target, dpi=100)
    pyplot.close(figure)


def _draw_confusion(confusion: NDArray[np.int64], classes: Sequence[str], target: Path, counted: str) -> None:
    count = len(classes)
    side = min(3.5 + 0.42 * count, 20)
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    figure, axis = pyplot.subplots(figsize=(side, side), layout="constrained")
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    right = f"{np.trace(shares) / count:.1%} right, mean of the classes"
    axis.set(xlabel="answered", ylabel="true", title=f"{right}\n{counted}")
    axis.title.set_fontsize(8)
    if count <= NAMED:
        axis.set_xticks(range(count), [_plain(name) for name in classes], rotation=90)
        axis.set_yticks(range(count), [_plain(name) for name in classes])
    if count <= COUNTED:
        for row, column in np.argwhere(confusion):
            colour = "white" if shares[row, column] > 0.5 else "black"
            text = str(confusion[row, column])
            axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    figure.savefig(target, dpi=100)
    pyplot.close(figure)


def _plain(name: str) -> str:
    """A class's name as text: matplotlib would take dollar signs for formulas."""
    return name.replace("$", r"\$")[:40]
