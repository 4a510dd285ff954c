"""How often a float codec would have lost its stream on another engine.

    python -m studies.float_counterpart.run --data KODAK [--qualities 10 30 50 70 90] [--docs]

The float counterpart of the exact networks has the same weights and real activations. Several engines run it
on the inputs of the exact decoder. Two engines that round one table index differently would have lost the
rest of that stream; a mean that is rounded differently would have changed a symbol.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import bifocal
from benchmarks import reporting
from benchmarks.exactness import SEED, cores, describe, make_set, run_worker
from benchmarks.exactness_worker import Setup
from bifocal.measure.bench import find_pictures, load_rgb
from bifocal.measure.tables import markdown
from bifocal.runtime.model import DEFAULT_MODEL

WORKER = "studies.float_counterpart.worker"


def setups() -> list[Setup]:
    """Engines that run the counterpart; the others are compared with the first."""
    sets = ("whole",)
    plan = [Setup("numpy", 1, sets)]
    plan += [Setup("numpy", 1, sets, core=core) for core in cores()]
    plan += [Setup("numpy", 1, sets, seed=SEED)]
    if find_spec("torch") is not None:
        plan += [Setup("torch", 1, sets)]
    return plan


def compare(folders: Sequence[Path]) -> list[dict[str, int]]:
    """For every engine but the first: symbols, differing table indexes, differing means, streams lost."""
    reference, *others = folders
    results = []
    for other in others:
        totals = {"symbols": 0, "indexes": 0, "means": 0, "streams": 0, "streams_lost": 0}
        for path in sorted(reference.glob("*.npy")):
            a, b = (np.load(folder / path.name, allow_pickle=False) for folder in (reference, other))
            index, mean = a != b
            totals["symbols"] += index.size
            totals["indexes"] += int(index.sum())
            totals["means"] += int(mean.sum())
            totals["streams"] += 1
            totals["streams_lost"] += bool(index.any())
        results.append(totals)
    return results


def report(ran: list[tuple[Setup, dict[str, Any]]], counts: list[dict[str, int]]) -> str:
    """The table as Markdown."""
    rows = [
        [
            *describe(setup, answer),
            f"{c['indexes']:,} of {c['symbols']:,}",
            f"{c['means']:,}",
            f"{c['streams_lost']} of {c['streams']}",
        ]
        for (setup, answer), c in zip(ran[1:], counts, strict=True)
    ]
    first = " ".join(describe(*ran[0])[::2])
    header = ["engine", "threads", "setting", "other table", "other mean", "streams lost"]
    return f"Against {first}, one thread:\n\n{markdown(header, rows)}"


def main() -> None:
    parser = reporting.parser(__doc__, Path(__file__).parent)
    parser.add_argument("--data", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--qualities", type=int, nargs="+", default=[10, 30, 50, 70, 90])
    parser.add_argument("--model", default=DEFAULT_MODEL)
    chosen = parser.parse_args()
    model = bifocal.Model.load(chosen.model)
    with tempfile.TemporaryDirectory() as name:
        streams = Path(name)
        pictures = [(path.stem, load_rgb(path)) for path in find_pictures([chosen.data])]
        items = [(stem, pixels, q) for stem, pixels in pictures for q in chosen.qualities]
        make_set(streams / "whole", model, items, pack=False)
        ran, folders = [], []
        for number, setup in enumerate(setups()):
            folders.append(streams / f"engine{number}")
            ran.append((setup, run_worker(WORKER, setup, streams, model.folder, str(folders[-1]))))
            print(setup, flush=True)
        counts = compare(folders)
    result = {
        "model": model.entropy.fingerprint.hex(),
        "qualities": chosen.qualities,
        "engines": [{**asdict(setup), **c} for (setup, _), c in zip(ran[1:], counts, strict=True)],
    }
    reporting.publish(chosen, "float-counterpart", report(ran, counts), result)


if __name__ == "__main__":
    reporting.run(main)
