"""Time and memory from 0.1 to 50 megapixels: encode, decode, a box, half size and thumb.

    python -m studies.large_pictures.run [--pictures KODAK] [--model FOLDER] [--sizes 0.1 0.4 1.6 6.3 25 50]

Every operation runs in a process of its own, which opens the model, reads the picture or stream from a file
and writes the result to one; its memory is the peak of that whole process (PNG, through Pillow). Pictures are
mosaics of the photographs in --pictures, or made by code. The box is of 512×512 pixels in the middle. Also
writes docs/figures/large.png.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import bifocal
from benchmarks import reporting
from bifocal.measure import MeasureError
from bifocal.measure.bench import find_pictures, load_rgb
from bifocal.measure.metrics import Pixels
from bifocal.measure.tables import markdown
from bifocal.runtime.model import DEFAULT_MODEL, model_folder
from studies.large_pictures.mosaic import made, mosaic

WORKER = Path(__file__).parent / "worker.py"
FIGURE = reporting.ROOT / "docs" / "figures" / "large.png"
SIZES = (0.1, 0.4, 1.6, 6.3, 25.0, 50.0)
ASPECT = 1.5
LIMIT_MIB = 1536
NAMES = {
    "encode": "encode",
    "decode": "decode",
    "box": "decode a 512×512 box",
    "half": "decode at 1/2",
    "thumb": "decode at 1/16",
}
NEEDS = {"half": "half.onnx", "thumb": "thumb.onnx"}


@dataclass(frozen=True)
class Figure:
    """One operation at one size: medians of seconds, the largest peak of memory."""

    what: str
    megapixels: float
    seconds: float
    file_seconds: float
    cpu_seconds: float
    peak_mib: float


def time_one(what: str, megapixels: float, arguments: list[str], rounds: int) -> Figure:
    """Run the worker ``rounds`` times."""
    answers: list[dict[str, float]] = []
    for _ in range(rounds):
        command = [sys.executable, str(WORKER), what, *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise MeasureError(f"{what} of {megapixels} MP failed. What it printed above says why.")
        answers.append(json.loads(done.stdout))
    middle = {key: statistics.median(a[key] for a in answers) for key in ("seconds", "file_seconds", "cpu")}
    peak = max(a["peak_mib"] for a in answers)
    return Figure(what, megapixels, middle["seconds"], middle["file_seconds"], middle["cpu"], peak)


def sides(megapixels: float) -> tuple[int, int]:
    """Height and width of a 3:2 picture, no multiples of anything."""
    height = round(math.sqrt(megapixels * 1e6 / ASPECT))
    return height, round(megapixels * 1e6 / height)


def run_sizes(chosen: argparse.Namespace, photographs: list[Pixels]) -> list[Figure]:
    figures = []
    folder = model_folder(chosen.model)
    wanted = [name for name in NAMES if (folder / NEEDS.get(name, "model.json")).exists()]
    with tempfile.TemporaryDirectory(dir=chosen.scratch) as scratch:
        png, stream, back = (str(Path(scratch) / name) for name in ("a.png", "a.bfc", "b.png"))
        for size in chosen.sizes:
            pixels = mosaic(photographs, *sides(size)) if photographs else made(*sides(size))
            bifocal.write_picture(bifocal.Picture(np.ascontiguousarray(pixels)), png)
            del pixels
            rounds = chosen.rounds if size < 10 else 1
            for what in wanted:
                ends = [png, stream] if what == "encode" else [stream, back]
                figure = time_one(what, size, [str(folder), *ends, str(chosen.quality)], rounds)
                figures.append(figure)
                print(f"{size:5} MP {what:7} {figure.seconds:8.2f} s {figure.peak_mib:6.0f} MiB", flush=True)
    return figures


def table(figures: list[Figure]) -> str:
    """Megapixels down, operations across: seconds and MiB."""
    whats = list(dict.fromkeys(f.what for f in figures))
    rows = []
    for size in dict.fromkeys(f.megapixels for f in figures):
        of = {f.what: f for f in figures if f.megapixels == size}
        height, width = sides(size)
        cells = [f"{of[w].seconds:.2f} s · {of[w].peak_mib:.0f} MiB" for w in whats]
        rows.append([f"{size:g} ({width}×{height})", *cells])
    return markdown(["megapixels", *(NAMES[w] for w in whats)], rows)


def growth(figures: list[Figure]) -> str:
    """How the time of encoding and decoding grows beyond six megapixels: 1 is linear."""
    found = []
    for what in ("encode", "decode"):
        large = [f for f in figures if f.what == what and f.megapixels > 6]
        if len(large) > 1:
            x, y = (np.log([getattr(f, key) for f in large]) for key in ("megapixels", "cpu_seconds"))
            found.append(f"{what} grows with the {np.polyfit(x, y, 1)[0]:.2f}th power")
    return "Processor time beyond six megapixels: " + ", ".join(found) + " of the pixels." if found else ""


def plot(figures: list[Figure], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    drawing, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for what in dict.fromkeys(f.what for f in figures):
        of = [f for f in figures if f.what == what]
        x = [f.megapixels for f in of]
        left.plot(x, [f.seconds for f in of], "o-", label=NAMES[what], markersize=4)
        right.plot(x, [f.peak_mib for f in of], "o-", label=NAMES[what], markersize=4)
    right.axhline(LIMIT_MIB, color="gray", linestyle="--", linewidth=1)
    right.annotate("1.5 GiB", (0.1, LIMIT_MIB), xytext=(0, -12), textcoords="offset points", color="gray")
    left.set(xscale="log", yscale="log", xlabel="megapixels", ylabel="seconds", title="Time in the codec")
    right.set(
        xscale="log", xlabel="megapixels", ylabel="MiB", title="Peak memory of the whole process", ylim=0
    )
    left.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(path, dpi=120, metadata={"Software": None})


def run(chosen: argparse.Namespace) -> None:
    photographs = [load_rgb(p) for p in find_pictures(chosen.pictures)] if chosen.pictures else []
    figures = run_sizes(chosen, photographs)
    result: dict[str, Any] = {
        "pictures": f"mosaics of {len(photographs)} photographs" if photographs else "made by code, seed 0",
        "quality": chosen.quality,
        "model": bifocal.Model.load(chosen.model).entropy.fingerprint.hex(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "figures": [asdict(f) for f in figures],
    }
    note = f"Quality {chosen.quality}, {result['pictures']}, {result['cores']} cores."
    text = "\n\n".join(part for part in (note, table(figures), growth(figures)) if part)
    reporting.publish(chosen, "large-pictures", text, result)
    plot(figures, chosen.figure)


def main() -> None:
    parser = reporting.parser(__doc__, Path(__file__).parent)
    parser.add_argument("--pictures", type=Path, nargs="*", help="photographs, or folders of them")
    parser.add_argument("--sizes", type=float, nargs="+", default=SIZES, help="megapixels")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--quality", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3, help="below ten megapixels; above, one")
    parser.add_argument("--scratch", type=Path, help="folder for large temporary files")
    parser.add_argument("--figure", type=Path, default=FIGURE)
    run(parser.parse_args())


if __name__ == "__main__":
    reporting.run(main)
