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

matplotlib.use("Agg")
from matplotlib import pyplot

#: Names and counts are written into the confusion matrix for up to so many classes.
NAMED, COUNTED = 60, 25
CURVE = ("minutes", "step", "loss", "accuracy")


def write_head_report(
    folder: Path,
    curve: Sequence[Mapping[str, float]],
    confusion: NDArray[np.int64],
    classes: Sequence[str],
    figures: Mapping[str, Any],
) -> None:
    """Write ``curve.csv``, ``curve.png``, ``confusion.csv``, ``confusion.png`` and ``report.json``.

    ``curve`` has the columns ``CURVE``; ``confusion`` int64 ``[classes, classes]`` counts what was
    answered (column) for each true class (row).
    """
    with (folder / "curve.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, CURVE)
        writer.writeheader()
        writer.writerows({key: round(row[key], 5) for key in CURVE} for row in curve)
    with (folder / "confusion.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["true class", *classes])
        rows.writerows([name, *counts] for name, counts in zip(classes, confusion.tolist(), strict=True))
    (folder / "report.json").write_text(
        json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    _draw_curve(curve, folder / "curve.png")
    _draw_confusion(confusion, classes, folder / "confusion.png")


def _draw_curve(curve: Sequence[Mapping[str, float]], target: Path) -> None:
    minutes = [row["minutes"] for row in curve]
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    axes[0].plot(minutes, [row["loss"] for row in curve], marker=".")
    axes[0].set(xlabel="minutes", title="training loss")
    axes[1].plot(minutes, [100 * row["accuracy"] for row in curve], marker=".")
    axes[1].set(xlabel="minutes", title="validation accuracy, %", ylim=(0, 100))
    axes[1].grid(alpha=0.3)
    figure.savefig(target, dpi=100)
    pyplot.close(figure)


def _draw_confusion(confusion: NDArray[np.int64], classes: Sequence[str], target: Path) -> None:
    count = len(classes)
    side = min(3.5 + 0.42 * count, 20)
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    figure, axis = pyplot.subplots(figsize=(side, side), layout="constrained")
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axis.set(
        xlabel="answered", ylabel="true", title=f"{np.trace(shares) / count:.1%} right, mean of the classes"
    )
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
