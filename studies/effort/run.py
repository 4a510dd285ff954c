"""What effort buys: BD-rate against effort 0 and processor seconds, on whole files that are decoded.

    python -m studies.effort.run --data KODAK [--minutes 8] [--pictures 24] [--efforts 0 1 2 3 5 7 9] [--docs]
    python -m studies.effort.run --data KODAK --steps

Efforts 0 and 1 are measured on all pictures. The minutes that remain are shared among the others, each of
which takes pictures evenly spread over the set until its share is spent, two at least; the table says how
many. An effort is always compared with effort 0 on the same pictures. ``cost`` is bits plus the price of the
squared error at the quality asked for, what the search minimises; ``worse`` counts files whose cost is above
that of the next lower effort measured on them.

With ``--steps`` nothing is coded: it measures what a squared step of each latent channel is worth in bits,
which bifocal/stream/drivers.py takes to be 6/ln 2 = 8.66 for all.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bifocal
from benchmarks import reporting
from bifocal.measure.bdrate import bd_rate, curve_of
from bifocal.measure.bench import find_pictures, load_rgb
from bifocal.measure.metrics import psnr
from bifocal.measure.tables import markdown
from bifocal.runtime.analysis import float_latents
from bifocal.runtime.encoding import ROUNDS
from bifocal.runtime.model import DEFAULT_MODEL
from bifocal.runtime.search import adjoint

Array = NDArray[Any]
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


def make(name: str, pixels: Array, quality: int, effort: int, model: bifocal.Model) -> Made:
    """Encode, decode and compare. The cost is in bits per pixel."""
    start = time.process_time()
    data = bifocal.encode(pixels, quality, model=model, effort=effort)
    seconds = time.process_time() - start
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
    efforts, qualities = (sorted({getattr(r, key) for r in rows}) for key in ("effort", "quality"))
    lines = []
    for number, effort in enumerate(efforts):
        names = [r.picture for r in rows if r.effort == effort and r.quality == qualities[0]]
        groups = [[[known[name, q, e] for name in names] for q in qualities] for e in (efforts[0], effort)]
        curves = [
            curve_of("", [(_mean(r.bpp for r in at), _mean(r.psnr for r in at)) for at in group])
            for group in groups
        ]
        base, flat = ([r for at in group for r in at] for group in groups)
        seconds, of_base = _mean(r.seconds for r in flat), _mean(r.seconds for r in base)
        worse = sum(_costs_more(r, efforts[:number], known) for r in flat)
        lines.append(
            [
                str(effort),
                str(ROUNDS[effort]),
                str(len(names)),
                f"{bd_rate(*curves):+.2f} %" if effort != efforts[0] else "0",
                f"{100 * (_mean(r.cost for r in flat) / _mean(r.cost for r in base) - 1):+.2f} %",
                f"{seconds:.2f}",
                f"{seconds / of_base:.1f}",
                f"{worse} of {len(flat)}",
            ]
        )
    return lines


def _costs_more(row: Made, lower: Sequence[int], known: Mapping[tuple[str, int, int], Made]) -> bool:
    """Whether a file costs more than that of the next lower effort that was measured."""
    before = [known[key].cost for e in lower if (key := (row.picture, row.quality, e)) in known]
    return bool(before) and row.cost > before[-1]


HEADER = ["effort", "rounds", "pictures", "BD-rate", "cost", "processor seconds", "times effort 0", "worse"]


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def steps(pixels: Array, quality: int, model: bifocal.Model) -> Array:
    """Bits that a squared step of each channel is worth: its energy in decoded pixels times the price.

    All latents of one channel at a time move by half a step up or down, at random (seed 0).
    """
    pixels, plan = pixels[:256, :256], model.entropy.plan
    rng, size = np.random.default_rng(0), pixels.shape[:2]
    y = np.rint(float_latents(model, pixels, quality).y).astype(np.int32) << plan.fraction
    target = np.zeros((3, *(16 * side for side in y.shape[1:])), np.float32)
    weight = np.zeros(target.shape[1:], np.float32)
    before = adjoint(model, y, target, weight, quality)[0]
    worth = []
    for channel in range(plan.y_channels):
        moved = y.copy()
        moved[channel] += rng.choice([-1, 1], y.shape[1:]).astype(np.int32) << (plan.fraction - 1)
        after = adjoint(model, moved, target, weight, quality)[0]
        energy = np.square(after - before)[:, : size[0], : size[1]].sum() / (0.25 * y[0].size)
        worth.append(float(energy) / 3 * model.price(quality))
    return np.array(worth)


def step_table(path: Path, qualities: Sequence[int], model: bifocal.Model) -> str:
    """Percentiles over channels of what a squared step is worth, on one picture."""
    lines = []
    for quality in qualities:
        worth = np.percentile(steps(load_rgb(path), quality, model), [5, 25, 50, 75, 95])
        lines.append([str(quality), *(f"{value:.2f}" for value in worth)])
    return markdown(["quality", "5 % of channels below", "25 %", "median", "75 %", "95 %"], lines)


def main() -> None:
    parser = reporting.parser(__doc__, Path(__file__).parent)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--efforts", type=int, nargs="+", default=list(EFFORTS))
    parser.add_argument("--qualities", type=int, nargs="+", default=list(QUALITIES))
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--pictures", type=int, default=24, help="at most so many, evenly spread")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--steps", action="store_true", help="measure what steps are worth, and nothing else")
    chosen = parser.parse_args()
    model = bifocal.Model.load(chosen.model)
    paths = find_pictures(chosen.data)
    paths = [paths[k] for k in sorted(spread(len(paths))[: chosen.pictures])]
    if chosen.steps:
        print(step_table(paths[0], chosen.qualities, model))
        return
    rows = measure(paths, sorted({0, *chosen.efforts}), chosen.qualities, chosen.minutes, model)
    qualities = ", ".join(map(str, chosen.qualities))
    note = f"Qualities {qualities}; model {model.name} {model.entropy.fingerprint.hex()}."
    text = f"{markdown(HEADER, summary(rows))}\n\n{note}"
    reporting.publish(chosen, "effort", text, {"rows": [asdict(row) for row in rows]})


if __name__ == "__main__":
    reporting.run(main)
