"""What effort buys: BD-rate against effort 0 and seconds, for every effort, on whole files that are decoded.

    python benchmarks/effort.py --data KODAK [--minutes 8] [--pictures 24] [--efforts 0 1 2 3 5 7 9] [--docs]
    python benchmarks/effort.py --data KODAK --steps

Efforts 0 and 1 are measured on all pictures. The minutes that remain are shared among the others, each of
which takes pictures evenly spread over the set until its share is spent, two at least; the table says how
many. An effort is always compared with effort 0 on the same pictures. ``cost`` is bits plus the price of the
squared error at the quality asked for, what the search minimises; ``worse`` counts files whose cost is above
that of the next lower effort measured on them.

With ``--steps`` nothing is coded: it measures what a squared step of each latent channel is worth in bits,
which bifocal/stream/rdo.py takes to be 6/ln 2 = 8.66 for all.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from readme import RESULTS, ROOT, replace_block

import bifocal
from bifocal.errors import BifocalError
from bifocal.measure.bdrate import bd_rate, curve_of
from bifocal.measure.bench import find_pictures, load_rgb
from bifocal.measure.metrics import psnr
from bifocal.measure.report import markdown
from bifocal.runtime.registry import DEFAULT_MODEL
from bifocal.runtime.search import LEVELS

QUALITIES = (15, 50, 85)
EFFORTS = (0, 1, 2, 3, 5, 7, 9)
#: Efforts cheap enough for every picture; the least number of pictures of the others.
CHEAP, LEAST = 1, 2


@dataclass(frozen=True)
class Made:
    """One file: a picture at a quality and an effort."""

    picture: str
    quality: int
    effort: int
    bpp: float
    psnr: float
    cost: float
    seconds: float


def make(name: str, pixels: np.ndarray, quality: int, effort: int, model: bifocal.Model) -> Made:
    """Encode, decode and compare. The cost is in bits per pixel."""
    start = time.perf_counter()
    data = bifocal.encode(pixels, quality, model=model, effort=effort)
    seconds = time.perf_counter() - start
    reached = psnr(pixels, bifocal.decode(data, model=model).pixels)
    bpp = 8 * len(data) / (pixels.shape[0] * pixels.shape[1])
    cost = bpp + model.price(quality) * 255**2 / 10 ** (reached / 10)
    return Made(name, quality, effort, bpp, reached, cost, seconds)


def spread(count: int) -> list[int]:
    """``0 .. count-1`` so that every beginning of the list is spread over all.

    >>> spread(6)
    [0, 3, 1, 4, 2, 5]
    """
    step = max(1, count // 2)
    order: list[int] = []
    while len(order) < count:
        order += [k for k in range(0, count, step) if k not in order]
        step = max(1, step // 2)
    return order


def measure(
    paths: Sequence[Path],
    efforts: Sequence[int],
    qualities: Sequence[int],
    minutes: float,
    model: bifocal.Model,
) -> list[Made]:
    """All files of the cheap efforts, then as many of the others as time allows."""
    begun, rows = time.monotonic(), []
    pictures = {path.name: load_rgb(path) for path in paths}
    names = [list(pictures)[k] for k in spread(len(pictures))]
    make("", next(iter(pictures.values()))[:128, :128], 50, max(efforts), model)  # sessions are opened once
    slow = [effort for effort in efforts if effort > CHEAP]
    for effort in efforts:
        left = minutes * 60 - (time.monotonic() - begun)
        until = time.monotonic() + left / max(1, sum(other >= effort for other in slow))
        done = 0
        for name in names:
            if effort > CHEAP and done >= LEAST and time.monotonic() > until:
                break
            done += 1
            for quality in qualities:
                rows.append(make(name, pictures[name], quality, effort, model))
        print(f"effort {effort}: {done} pictures, {time.monotonic() - begun:.0f} s", file=sys.stderr)
    return rows


def summary(rows: Sequence[Made]) -> list[list[str]]:
    """One line for each effort: pictures, BD-rate, cost, seconds, and files that cost more than before."""
    known = {(r.picture, r.quality, r.effort): r for r in rows}
    efforts = sorted({r.effort for r in rows})
    qualities = sorted({r.quality for r in rows})
    lines = []
    for place, effort in enumerate(efforts):
        names = [r.picture for r in rows if r.effort == effort and r.quality == qualities[0]]
        mine, plain = (
            [[known[name, q, e] for name in names] for q in qualities] for e in (effort, efforts[0])
        )
        curves = [
            curve_of(label, [(_mean(r.bpp for r in at), _mean(r.psnr for r in at)) for at in group])
            for label, group in (("plain", plain), ("searched", mine))
        ]
        flat = [r for at in mine for r in at]
        base = [r for at in plain for r in at]
        seconds, of_plain = _mean(r.seconds for r in flat), _mean(r.seconds for r in base)
        worse = 0
        for r in flat:
            lower = [known.get((r.picture, r.quality, e)) for e in efforts[:place]]
            before = [other.cost for other in lower if other is not None]
            worse += bool(before) and r.cost > before[-1]
        lines.append(
            [
                str(effort),
                str(LEVELS[effort].rounds),
                str(len(names)),
                f"{bd_rate(*curves):+.2f} %" if effort != efforts[0] else "0",
                f"{100 * (_mean(r.cost for r in flat) / _mean(r.cost for r in base) - 1):+.2f} %",
                f"{seconds:.2f}",
                f"{seconds / of_plain:.1f}",
                f"{worse} of {len(flat)}",
            ]
        )
    return lines


HEADER = ["effort", "rounds", "pictures", "BD-rate", "cost", "seconds", "times effort 0", "worse"]


def _mean(values: object) -> float:
    return float(np.mean(list(values)))  # type: ignore[call-overload]


def steps(pixels: np.ndarray, quality: int, model: bifocal.Model) -> np.ndarray:
    """Bits that a squared step of each channel is worth: its energy in decoded pixels times the price.

    Every place of one channel at a time moves by half a step up or down, at random (seed 0).
    """
    pixels, plan = pixels[:256, :256], model.entropy.plan
    rng, size = np.random.default_rng(0), pixels.shape[:2]
    y = np.rint(model.analyse(pixels, quality).y).astype(np.int32) << plan.fraction
    target = np.zeros((3, *(16 * side for side in y.shape[1:])), np.float32)
    weight = np.zeros(target.shape[1:], np.float32)
    before = model.adjoint(y, target, weight, quality)[0]
    worth = []
    for channel in range(plan.y_channels):
        moved = y.copy()
        moved[channel] += rng.choice([-1, 1], y.shape[1:]).astype(np.int32) << (plan.fraction - 1)
        after = model.adjoint(moved, target, weight, quality)[0]
        energy = np.square(after - before)[:, : size[0], : size[1]].sum() / (0.25 * y[0].size)
        worth.append(float(energy) / 3 * model.price(quality))
    return np.array(worth)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--efforts", type=int, nargs="+", default=list(EFFORTS))
    parser.add_argument("--qualities", type=int, nargs="+", default=list(QUALITIES))
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--pictures", type=int, default=24, help="at most so many, evenly spread")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--steps", action="store_true", help="measure what steps are worth, and nothing else")
    parser.add_argument("--docs", action="store_true", help="put the table into docs/effort.md")
    chosen = parser.parse_args()
    try:
        model = bifocal.Model.load(chosen.model)
        paths = find_pictures(chosen.data)
        paths = [paths[k] for k in sorted(spread(len(paths))[: chosen.pictures])]
        if chosen.steps:
            lines = []
            for quality in chosen.qualities:
                worth = np.percentile(steps(load_rgb(paths[0]), quality, model), [5, 25, 50, 75, 95])
                lines.append([str(quality), *(f"{value:.2f}" for value in worth)])
            print(markdown(["quality", "5 % of channels below", "25 %", "median", "75 %", "95 %"], lines))
            return 0
        efforts = sorted({0, *chosen.efforts})
        rows = measure(paths, efforts, chosen.qualities, chosen.minutes, model)
    except (BifocalError, OSError, ValueError) as fault:
        print(f"effort.py: {fault}", file=sys.stderr)
        return 1
    text = markdown(HEADER, summary(rows))
    qualities = ", ".join(map(str, chosen.qualities))
    note = f"\n\nQualities {qualities}; model {model.name} {model.entropy.fingerprint.hex()}."
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "effort.md").write_text(
        f"# Effort\n\nWritten by `benchmarks/effort.py`, which says what each column is.\n\n{text}{note}\n",
        encoding="utf-8",
    )
    entries = [asdict(row) for row in rows]
    (chosen.out / "effort.json").write_text(json.dumps({"rows": entries}, indent=1) + "\n", "utf-8")
    if chosen.docs:
        replace_block("effort", text + note, ROOT / "docs" / "effort.md")
    print(text + note)
    return 0


if __name__ == "__main__":
    sys.exit(main())
