"""Tables and plot of run.py, from the figures that its arms have left."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from benchmarks import reporting
from benchmarks.reporting import spread
from bifocal.measure.tables import markdown

matplotlib.use("Agg")
from matplotlib import pyplot

MIDDLE = 50
Figures = Sequence[Mapping[str, Any]]


def of_arm(figures: Figures, arm: str) -> list[Mapping[str, Any]]:
    return sorted((f for f in figures if f["arm"] == arm), key=lambda f: f["seed"])


def at(figure: Mapping[str, Any], quality: int = MIDDLE) -> Mapping[str, Any]:
    """The row of one quality."""
    return next(row for row in figure["rows"] if row["quality"] == quality)


def at_equal(rows: Sequence[Mapping[str, Any]], given: float, value: str, key: str) -> float | None:
    """``value`` where ``key`` is ``given``, interpolated (bytes by logarithm); None beyond its ends."""
    rows = sorted(rows, key=lambda row: row[key])
    x, y = (np.array([row[name] for row in rows], float) for name in (key, value))
    if not x[0] <= given <= x[-1]:
        return None
    if key.endswith("bytes"):
        x, given = np.log(x), float(np.log(given))
    found = np.interp(given, x, np.log(y) if value == "bytes" else y)
    return float(np.exp(found) if value == "bytes" else found)


def _pairs(figures: Figures, first: str, second: str) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Figures of two arms with the same seed."""
    seeds = {f["seed"]: f for f in of_arm(figures, second)}
    return [(f, seeds[f["seed"]]) for f in of_arm(figures, first) if f["seed"] in seeds]


def reading_table(figures: Figures, cost: Mapping[str, float]) -> str:
    """Ways to a label at quality 50: accuracy, what is lost against original pixels, and multiply-adds."""
    seeds = {f["seed"] for f in of_arm(figures, "pixels")}
    joint = [f for f in of_arm(figures, "joint") if f["seed"] in seeds]
    sizes = {f["seed"]: at(f)["bytes"] for f in joint}
    original = {f["seed"]: f["original"] for f in of_arm(figures, "pixels")}

    def row(name: str, accuracy: Mapping[int, float | None], mega: float, size: str = "") -> list[str]:
        known = {s: a for s, a in accuracy.items() if a is not None}
        lost = spread(100 * (original[s] - a) for s, a in known.items() if s in original)
        size = size or spread((sizes[s] for s in known if s in sizes), 0)
        return [name, size, spread(100 * a for a in known.values()), lost, f"{mega:.1f}", str(len(known))]

    jpeg = {f["seed"]: f["jpeg"] for f in of_arm(figures, "pixels") if f["seed"] in sizes}
    pixels_cost, label = cost["label from original pixels"], cost["label"]
    rows = [
        row("original pixels", original, pixels_cost, "(12,288)"),
        row("stream, no picture rebuilt", {f["seed"]: at(f)["accuracy"] for f in joint}, label),
        row(
            "decoded pixels, classifier of original ones",
            {f["seed"]: f["decoded"][str(MIDDLE)] for f in of_arm(figures, "pixels")},
            cost["picture, then label"],
        ),
        row(
            "decoded pixels, classifier trained on decoded ones",
            {f["seed"]: f["decoded"][str(MIDDLE)] for f in of_arm(figures, "decoded")},
            cost["picture, then label"],
        ),
        row(
            "JPEG of these bytes",
            {s: at_equal(j, sizes[s], "accuracy", "bytes") for s, j in jpeg.items()},
            pixels_cost,
        ),
        row(
            "JPEG of these bytes without its tables",
            {s: at_equal(j, sizes[s], "accuracy", "bare_bytes") for s, j in jpeg.items()},
            pixels_cost,
        ),
    ]
    header = ["label from", "bytes", "accuracy, %", "points lost", "multiply–adds, M", "seeds"]
    return markdown(header, rows)


def ablation_table(figures: Figures) -> str:
    """Aggregation and two steps, at the bytes and at the PSNR of ``joint`` at quality 50 of the same seed."""
    rows = []
    for arm, name in (("plain", "without aggregation (F0 alone)"), ("one-step", "in one step")):
        cells = [name]
        pairs = _pairs(figures, "joint", arm)
        for key, value, unit, digits in (
            ("bytes", "psnr", 1.0, 2),
            ("bytes", "accuracy", 100.0, 1),
            ("psnr", "bytes", 0.0, 0),
            ("psnr", "accuracy", 100.0, 1),
        ):
            found = [(at(f)[value], at_equal(g["rows"], at(f)[key], value, key)) for f, g in pairs]
            both = [(own, other) for own, other in found if other is not None]
            # bytes as a share of joint's, others as differences
            apart = [unit * (other - own) if unit else 100 * (other / own - 1) for own, other in both]
            cells.append(
                spread(apart, digits) if apart else "curves do not meet" if pairs else "not measured"
            )
        rows.append([*cells, str(len(pairs))])
    header = [
        "against joint",
        "PSNR at equal bytes, dB",
        "accuracy at equal bytes, points",
        "bytes at equal PSNR, %",
        "accuracy at equal PSNR, points",
        "seeds",
    ]
    return markdown(header, rows)


def curve_table(figures: Figures) -> str:
    """All qualities of the joint codecs: bytes of files, PSNR and accuracy, mean over seeds."""
    rows = []
    for arm in ("joint", "plain", "one-step"):
        found = of_arm(figures, arm)
        for quality in [row["quality"] for row in found[0]["rows"]] if found else []:
            points = [at(f, quality) for f in found]
            rows.append(
                [
                    f"{arm}, quality {quality}",
                    spread((p["bytes"] for p in points), 0),
                    spread((p["bytes"] * 8 / 4096 for p in points), 2),
                    spread((p["psnr"] for p in points), 2),
                    spread(100 * p["accuracy"] for p in points),
                    str(len(points)),
                ]
            )
    return markdown(["codec", "bytes", "bit/pixel", "PSNR, dB", "accuracy, %", "seeds"], rows)


def draw(figures: Figures, cost: Mapping[str, float], path: Path) -> None:
    """Accuracy and PSNR over bytes, and points lost over multiply-adds, as an SVG."""
    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for arm, colour in (("joint", "C0"), ("plain", "C1"), ("one-step", "C2")):
        for f in of_arm(figures, arm):
            label = arm if f["seed"] == 0 else None
            x = [row["bytes"] for row in f["rows"]]
            axes[0].plot(x, [100 * row["accuracy"] for row in f["rows"]], "o-", color=colour, label=label)
            axes[1].plot(x, [row["psnr"] for row in f["rows"]], "o-", color=colour, label=label)
    lost: dict[str, tuple[list[float], float]] = {}

    def add(name: str, value: float | None, mega: float) -> None:
        if value is not None:
            lost.setdefault(name, ([], mega))[0].append(100 * value)

    for f, g in _pairs(figures, "pixels", "joint"):
        label = "JPEG, classifier of pixels" if f["seed"] == 0 else None
        x, y = [row["bytes"] for row in f["jpeg"]], [100 * row["accuracy"] for row in f["jpeg"]]
        axes[0].plot(x, y, "s--", color="C3", label=label)
        axes[0].axhline(100 * f["original"], color="0.6", label="original pixels" if f["seed"] == 0 else None)
        axes[1].plot(
            x, [row["psnr"] for row in f["jpeg"]], "s--", color="C3", label="JPEG" if label else None
        )
        saved = 100 * (1 - cost["label"] / cost["picture, then label"])
        add(f"stream: {saved:.0f} % less work", f["original"] - at(g)["accuracy"], cost["label"])
        add("decoded pixels", f["original"] - f["decoded"][str(MIDDLE)], cost["picture, then label"])
    for f, g in _pairs(figures, "pixels", "decoded"):
        value = f["original"] - g["decoded"][str(MIDDLE)]
        add("decoded pixels, trained on them", value, cost["picture, then label"])
    for i, (name, (values, mega)) in enumerate(lost.items()):
        mean = float(np.mean(values))
        reach = [[mean - min(values)], [max(values) - mean]]
        axes[2].errorbar([mega], [mean], reach, fmt="o", color=f"C{i}", capsize=4, label=name)
    axes[2].axhline(0, color="0.6", label="original pixels, sent unpacked")
    axes[2].set(xlabel="million multiply–adds from stream to label", ylabel="points of accuracy lost")
    axes[2].set_xlim(left=0)
    axes[0].set(xlabel="bytes of a 64×64 picture", ylabel="accuracy, %", xscale="log")
    axes[1].set(xlabel="bytes of a 64×64 picture", ylabel="PSNR, dB", xscale="log")
    for axis in axes:
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def write_results(
    chosen: argparse.Namespace, figures: Figures, cost: Mapping[str, float], machine: str
) -> None:
    """Write results.json and figure.svg into ``--out``; with ``--docs`` the tables go into pages too."""
    parts = ", ".join(f"{name} {mega:.1f}" for name, mega in cost.items())
    steps = sorted({f["steps"] for f in figures})
    pictures = sorted({f["pictures"] for f in figures})
    batches, tested = (" or ".join(map(str, numbers)) for numbers in (steps, pictures))
    note = (
        f"Quality {MIDDLE}; {batches} batches of 64 an arm; {tested} test pictures; of seeds the mean "
        f"± half the range. {machine}. Million multiply–adds at 64×64: {parts}."
    )
    text = "\n\n".join([reading_table(figures, cost), ablation_table(figures), curve_table(figures), note])
    result = {"machine": machine, "cost": cost, "figures": list(figures)}
    reporting.publish(chosen, "joint", text, result)
    draw(figures, cost, chosen.out / "figure.svg")
