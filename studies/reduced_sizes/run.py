"""Smaller decoding: how much faster than the full decode, and how good.

    python -m studies.reduced_sizes.run --pictures KODAK [--model FOLDER] [--rounds 5]

Decodes every picture at full size and at 1/2, 1/4, 1/8 and 1/16, turn by turn in one process, so that
whatever else the machine does falls on all. Quality is PSNR against averages of the original (2×2 for 1/2,
and so on), beside what the same averages of the full decode reach.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bifocal
from benchmarks import reporting
from bifocal.measure.bench import find_pictures, load_rgb
from bifocal.measure.metrics import Pixels, psnr
from bifocal.measure.tables import markdown
from bifocal.runtime.model import DEFAULT_MODEL

REDUCTIONS = (1, 2, 4, 8, 16)


def averages(pixels: Pixels, side: int) -> Pixels:
    """Means of ``side × side`` blocks, rounded; what does not fill a block is left out."""
    h, w = (size // side for size in pixels.shape[:2])
    blocks = pixels[: h * side, : w * side].reshape(h, side, w, side, 3)
    means: NDArray[np.uint8] = np.rint(blocks.mean((1, 3))).astype(np.uint8)
    return means


def measure(pixels: Pixels, quality: int, model: bifocal.Model, rounds: int) -> list[dict[str, Any]]:
    """Processor seconds and PSNR of one picture at every size."""
    data = bifocal.encode(pixels, quality, model=model)
    times: dict[int, list[float]] = {reduction: [] for reduction in REDUCTIONS}
    backs: dict[int, Pixels] = {}
    for turn in range(-1, rounds):
        for reduction in REDUCTIONS:
            start = time.process_time()
            backs[reduction] = bifocal.decode(data, model=model, scale=1 / reduction).pixels
            if turn >= 0:
                times[reduction].append(time.process_time() - start)
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


def table(rows: list[dict[str, Any]]) -> str:
    """Means over pictures, a row for each quality and size."""
    lines = []
    for quality in dict.fromkeys(row["quality"] for row in rows):
        full = mean(r["seconds"] for r in rows if (r["quality"], r["reduction"]) == (quality, 1))
        for reduction in REDUCTIONS:
            of = [r for r in rows if (r["quality"], r["reduction"]) == (quality, reduction)]
            seconds = mean(r["seconds"] for r in of)
            ratios = [f"{mean(r[key] for r in of):.2f} dB" for key in ("psnr", "psnr_of_full")]
            size = "1" if reduction == 1 else f"1/{reduction}"
            lines.append([str(quality), size, f"{1000 * seconds:.1f} ms", f"{full / seconds:.2f}", *ratios])
    return markdown(
        ["quality", "scale", "decode, processor", "times faster", "PSNR", "full decode, averaged"], lines
    )


def main() -> None:
    parser = reporting.parser(__doc__, Path(__file__).parent)
    parser.add_argument(
        "--pictures", type=Path, nargs="+", required=True, help="pictures, or folders of them"
    )
    parser.add_argument("--qualities", type=int, nargs="+", default=[30, 60, 90])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    chosen = parser.parse_args()
    model, rows = bifocal.Model.load(chosen.model), list[dict[str, Any]]()
    for path in find_pictures(chosen.pictures):
        for quality in chosen.qualities:
            rows += measure(load_rgb(path), quality, model, chosen.rounds)
        print(path.name, flush=True)
    pictures = len(rows) // len(REDUCTIONS) // len(chosen.qualities)
    note = f"Means over {pictures} pictures. Model {model.entropy.fingerprint.hex()}."
    record = {"model": model.entropy.fingerprint.hex(), "rows": rows}
    reporting.publish(chosen, "reduced-sizes", f"{note}\n\n{table(rows)}", record)


if __name__ == "__main__":
    reporting.run(main)
