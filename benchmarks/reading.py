"""How long reading a stream takes: picture, labels, both, and labels from decoded pixels; pooling of windows.

    python -m benchmarks.reading --data IMAGENETTE/val --kodak KODAK --docs

Times are seconds from the bytes of a file to its answer, on as many processors as the process may use; the
ways take turns and medians count (`bifocal.measure.answers`). Run it on a machine with nothing else to do;
the load average goes into the results. Pooling: pictures enlarged to twice the side no longer fit one window
of the head; the most likely class is compared with their folder for four ways to sum up.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import bifocal
from benchmarks import reporting
from bifocal.measure import MeasureError
from bifocal.measure.answers import AnswerTimes, answer_table, time_answers
from bifocal.measure.bench import load_rgb
from bifocal.measure.tables import markdown
from bifocal.runtime.engines.onnxruntime import available_threads
from bifocal.runtime.heads.classify import answer
from bifocal.runtime.heads.windows import read_latents
from bifocal.runtime.model import DEFAULT_MODEL
from bifocal.runtime.windows import spans

QUALITIES = (10, 30, 60, 90)
#: Ways to sum up the windows of a picture; the last looks at all of it at once.
POOLINGS = ("mean of logits", "mean of probabilities", "surest window", "one window")


def spread(folder: Path, count: int) -> list[Path]:
    """``count`` pictures of a folder of classes, evenly over its sorted files."""
    files = sorted(path for path in folder.glob("*/*") if path.is_file())
    if not files:
        raise MeasureError(f"{folder} holds no folders of pictures. Unpack the validation pictures there.")
    return [files[k * len(files) // count] for k in range(min(count, len(files)))]


def pooled(y: NDArray[np.float32], head: bifocal.Head, window: int) -> tuple[NDArray[np.float64], ...]:
    """Scores of the classes for each of ``POOLINGS``."""
    cut = {"core": window, "halo": 0, "multiple": head.spec.multiple}
    parts = [
        y[:, down.core(1), across.core(1)]
        for down in spans(y.shape[1], **cut)
        for across in spans(y.shape[2], **cut)
    ]
    logits = np.array([answer(head, np.ascontiguousarray(part)).logits for part in parts], np.float64)
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    surest = chances[chances.max(axis=1).argmax()]
    return logits.mean(0), chances.mean(0), surest, answer(head, y).logits.astype(np.float64)


def pooling(
    files: list[Path], head: bifocal.Head, model: bifocal.Model, names: dict[str, str], window: int
) -> dict[str, float]:
    """Share of pictures, enlarged twice, whose most likely class is their folder's."""
    right = dict.fromkeys(POOLINGS, 0)
    for path in files:
        with Image.open(path) as picture:
            rgb = picture.convert("RGB")
            large = rgb.resize((2 * rgb.width, 2 * rgb.height), Image.Resampling.LANCZOS)
        data = bifocal.encode(np.asarray(large), 60, model=model, effort=0)
        latents = read_latents(data, model, head.spec.channels)
        truth = head.spec.classes.index(names.get(path.parent.name, path.parent.name))
        for way, scores in zip(POOLINGS, pooled(latents.y, head, window), strict=True):
            right[way] += int(scores.argmax()) == truth
    return {way: hits / len(files) for way, hits in right.items()}


def timed(
    chosen: argparse.Namespace,
    small: list[Path],
    large: list[Path],
    against: str | None,
    clock: Callable[[], float],
) -> list[AnswerTimes]:
    """Times of the small pictures at every quality and of the large ones at 60; printed, too."""
    with tempfile.TemporaryDirectory() as scratch:
        for number, path in enumerate(small):  # JPEGs of many folders into one
            Image.fromarray(load_rgb(path)).save(Path(scratch) / f"{number:04}.png")
        jobs = [([Path(scratch)], QUALITIES), (large, (60,))]
        groups = [
            time_answers(
                paths,
                head=chosen.head,
                against=against,
                qualities=qualities,
                repeats=chosen.repeats,
                clock=clock,
            )
            for paths, qualities in jobs
            if paths
        ]
    print("\n".join(answer_table(group) for group in groups))
    return [timing for group in groups for timing in group]


def tables(result: dict[str, Any]) -> str:
    """Times of all ways and ways to pool, as Markdown."""
    rows = []
    for key in dict.fromkeys((t["width"] * t["height"], t["quality"]) for t in result["timings"]):
        own, other = (
            [t for t in result[name] if (t["width"] * t["height"], t["quality"]) == key]
            for name in ("timings", "against_timings")
        )
        arms = ("picture", "labels", "both", "classify")
        ms = {arm: 1000 * float(np.mean([t[arm] for t in own])) for arm in arms}
        light = 1000 * float(np.mean([t["classify"] for t in other])) if other else math.nan
        beside = [ms["labels"] / value for value in (ms["picture"], ms["classify"], light)]
        size = "{}×{}".format(*sorted((own[0]["width"], own[0]["height"]), reverse=True))
        rows.append(
            (
                f"{len(own)} of {size}, q {key[1]}",
                *(f"{ms[arm]:.1f}" for arm in arms),
                f"{light:.1f}",
                *(f"{ratio:.2f}" for ratio in beside),
                f"{ms['both'] / (ms['picture'] + ms['labels']):.2f}",
            )
        )
    head = (
        "pictures",
        "picture",
        "labels",
        "both",
        "decode, analysis, head",
        "decode, equal network on pixels",
        "labels ÷ picture",
        "labels ÷ decode, analysis, head",
        "labels ÷ decode, equal network",
        "both ÷ picture + labels",
    )
    lines = [
        f"Milliseconds of {result['clock']} from bytes to answer ({result['machine']}, load "
        f"{result['load']}); head `{result['head']}`.\n",
        markdown(head, rows),
    ]
    pooling = result["pooling"]
    if pooling["top1"]:
        shares = ((way, f"{100 * share:.1f} %") for way, share in pooling["top1"].items())
        lines += [
            f"\n{pooling['pictures']} pictures enlarged to 256×256, 16×16 latents, in windows of at most "
            f"{pooling['window']}:\n",
            markdown(("windows are summed up by", "top-1"), shares),
        ]
    return "\n".join(lines)


def main() -> None:
    parser = reporting.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder per class of 128×128 pictures")
    parser.add_argument("--kodak", type=Path, required=True, help="a folder of larger pictures")
    parser.add_argument("--head", default="imagenette")
    parser.add_argument("--against", help="the .bfh of a classifier that reads pixels")
    parser.add_argument("--names", type=Path, help="folder TAB class, where folders are not named so")
    parser.add_argument("--count", type=int, default=24, help="pictures that are timed")
    parser.add_argument("--large", type=int, default=4, help="of them large ones")
    parser.add_argument("--pool", type=int, default=200, help="pictures for pooling; 0 for none")
    parser.add_argument("--pool-data", type=Path, help="a folder per class for that, if not --data")
    parser.add_argument("--window", type=int, default=8, help="latents a side of a window, for pooling")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cpu", action="store_true", help="count processor time: for a busy machine")
    chosen = parser.parse_args()

    head, model = bifocal.Head.load(chosen.head), bifocal.Model.load(DEFAULT_MODEL)
    small, large = spread(chosen.data, chosen.count), sorted(chosen.kodak.glob("*.png"))[: chosen.large]
    clock = time.process_time if chosen.cpu else time.perf_counter
    timings = timed(chosen, small, large, None, clock)
    others = timed(chosen, small, large, chosen.against, clock) if chosen.against else []
    names = {}
    if chosen.names:
        rows = (line.split("\t") for line in chosen.names.read_text("utf-8").splitlines() if line.strip())
        names = {row[0]: row[1].strip() for row in rows}
    shares = {}
    if chosen.pool:
        files = spread(chosen.pool_data or chosen.data, chosen.pool)
        shares = pooling(files, head, model, names, chosen.window)
    result = {
        "machine": f"{platform.machine()}, {available_threads()} processors",
        "clock": "processor time" if chosen.cpu else "wall time",
        "load": round(os.getloadavg()[0], 1),
        "head": head.name,
        "against": chosen.against and Path(chosen.against).name,
        "timings": [dataclasses.asdict(timing) for timing in timings],
        "against_timings": [dataclasses.asdict(timing) for timing in others],
        "pooling": {"pictures": chosen.pool, "window": chosen.window, "top1": shares},
    }
    reporting.publish(chosen, "reading", tables(result), result, file="reading")


if __name__ == "__main__":
    reporting.run(main)
