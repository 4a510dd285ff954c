"""Smaller decoding: how much faster than the full decode, and how good.

    python benchmarks/reduced.py --pictures KODAK [--model FOLDER] [--rounds 5]

Decodes every picture at full size and at 1/2, 1/4, 1/8 and 1/16, turn by turn in one process, so that
whatever else the machine does falls on all. Quality is PSNR against averages of the original (2×2 for 1/2,
and so on), beside what the same averages of the full decode reach. Writes results/reduced.json and
results/reduced.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from readme import RESULTS

import bifocal
from bifocal.errors import BifocalError
from bifocal.measure.bench import find_pictures, load_rgb
from bifocal.measure.metrics import Pixels, psnr
from bifocal.measure.report import markdown
from bifocal.runtime.registry import DEFAULT_MODEL

REDUCTIONS = (1, 2, 4, 8, 16)


def averages(pixels: Pixels, side: int) -> Pixels:
    """Means of ``side × side`` blocks, rounded; what does not fill a block is left out."""
    h, w = (size // side for size in pixels.shape[:2])
    blocks = pixels[: h * side, : w * side].reshape(h, side, w, side, 3)
    means: NDArray[np.uint8] = np.rint(blocks.mean((1, 3))).astype(np.uint8)
    return means


def measure(pixels: Pixels, quality: int, model: bifocal.Model, rounds: int) -> list[dict[str, Any]]:
    """Seconds and PSNR of one picture at every size."""
    data = bifocal.encode(pixels, quality, model=model)
    times: dict[int, list[float]] = {reduction: [] for reduction in REDUCTIONS}
    backs: dict[int, Pixels] = {}
    for turn in range(-1, rounds):
        for reduction in REDUCTIONS:
            start = time.perf_counter()
            backs[reduction] = bifocal.decode(data, model=model, scale=1 / reduction).pixels
            if turn >= 0:
                times[reduction].append(time.perf_counter() - start)
    rows = []
    for reduction in REDUCTIONS:
        original, full = averages(pixels, reduction), averages(backs[1], reduction)
        small = backs[reduction][: original.shape[0], : original.shape[1]]
        rows.append(
            {
                "reduction": reduction,
                "quality": quality,
                "seconds": median(times[reduction]),
                "psnr": psnr(original, small),
                "psnr_of_full": psnr(original, full),
            }
        )
    return rows


def run(chosen: argparse.Namespace) -> None:
    model = bifocal.Model.load(chosen.model)
    rows = []
    for path in find_pictures(chosen.pictures):
        for quality in chosen.qualities:
            rows += measure(load_rgb(path), quality, model, chosen.rounds)
        print(path.name, flush=True)
    lines = []
    for quality in chosen.qualities:
        full = mean(r["seconds"] for r in rows if (r["quality"], r["reduction"]) == (quality, 1))
        for reduction in REDUCTIONS:
            of = [r for r in rows if (r["quality"], r["reduction"]) == (quality, reduction)]
            seconds = mean(r["seconds"] for r in of)
            ratios = [f"{mean(r[key] for r in of):.2f} dB" for key in ("psnr", "psnr_of_full")]
            size = "1" if reduction == 1 else f"1/{reduction}"
            lines.append([str(quality), size, f"{1000 * seconds:.1f} ms", f"{full / seconds:.2f}", *ratios])
    pictures = len(rows) // len(REDUCTIONS) // len(chosen.qualities)
    text = f"""# Smaller decoding

Means over {pictures} pictures; PSNR against averages of the original, for the small decode and for the full
decode averaged afterwards. Model {model.entropy.fingerprint.hex()}. Written by `benchmarks/reduced.py`.

{markdown(["quality", "scale", "decode", "times faster", "PSNR", "full decode, averaged"], lines)}
"""
    chosen.out.mkdir(parents=True, exist_ok=True)
    record = {"model": model.entropy.fingerprint.hex(), "rows": rows}
    (chosen.out / "reduced.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (chosen.out / "reduced.md").write_text(text, encoding="utf-8")
    print(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--pictures", type=Path, nargs="+", required=True, help="pictures, or folders of them"
    )
    parser.add_argument("--qualities", type=int, nargs="+", default=[30, 60, 90])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--out", type=Path, default=RESULTS)
    try:
        run(parser.parse_args())
    except (BifocalError, OSError, ValueError) as fault:
        print(f"reduced.py: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
