"""What would a billion pictures cost on a cluster? Measured seconds and bytes a picture, scaled up: modelled.

    python -m benchmarks.billion --pictures DIR --name "Kodak, 768×512" --docs

Some pictures are encoded by a run into a folder, one process, one thread: processor seconds, bytes, and the
bytes of the manifest are measured. All else is an assumption that the table shows, with where it is from, and
that an option changes. Nothing was run on such a cluster.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import reporting
from bifocal.apps import batch
from bifocal.measure import MeasureError
from bifocal.measure.tables import markdown
from bifocal.pictures.reading import is_picture_file

#: Assumptions: option, value, unit, and where it is from. Prices are round figures, not offers.
ASSUMED = (
    ("count", 1e9, "pictures", "the question"),
    ("nodes", 64, "nodes", "the cluster, called c64"),
    ("cores", 32, "cores a node", "the cluster; physical cores, one job each"),
    ("core-hour", 0.05, "$ a core and hour", "round figure; put in your own"),
    ("used", 0.85, "of the cores' time", "guess: starts, waits, failures"),
    ("gb-month", 0.023, "$ a GB and month", "round figure of object stores; put in your own"),
    ("put", 0.005, "$ for 1,000 objects written", "the same"),
    ("get", 0.0004, "$ for 1,000 objects read", "the same"),
    ("store", 1.0, "GB/s a node from the store", "guess of a 10 Gbit/s network"),
    ("driver", 1000, "files a second of one driver", "guess; docs say: some millions of files at most"),
    ("name-bytes", 400, "bytes of a driver's memory a file", "docs: a few hundred megabytes for a million"),
    ("shard", 1000, "pictures a shard", "default of pack-dataset"),
)


def measure(folder: Path, count: int, quality: int) -> dict[str, float]:
    """Processor seconds and bytes a picture, by a run like any other."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and is_picture_file(path))
    files = files[:: max(1, len(files) // count)][:count]
    if not files:
        raise MeasureError(f"{folder} has no pictures.")
    with tempfile.TemporaryDirectory() as scratch:
        source, out = Path(scratch, "in"), Path(scratch, "out")
        source.mkdir()
        for number, path in enumerate(files):
            shutil.copy(path, source / f"{number:09}{path.suffix}")
        worker = batch.Worker("encode", {"quality": quality}, threads=1)
        first = min(source.iterdir())
        batch.run(worker, [first], Path(scratch, "warm"))  # the model is loaded once on each core
        begun = time.process_time()
        made = batch.run(worker, [source], out)
        seconds = time.process_time() - begun
        manifest = os.path.getsize(out / "bifocal-encode.jsonl")
    if made.failed:
        raise MeasureError(f"{len(made.failed)} pictures failed: {made.failed[0].error}")
    each = len(files)
    return {
        "pictures": each,
        "seconds": round(seconds / each, 4),
        "bytes_in": round(made.bytes_in / each),
        "bytes_out": round(made.bytes_out / each),
        "manifest": round(manifest / each),
    }


def model(found: dict[str, float], given: dict[str, float]) -> list[tuple[str, str]]:
    """What follows for the whole: pairs of what and how much."""
    n, cores = given["count"], given["nodes"] * given["cores"]
    core_hours = n * found["seconds"] / given["used"] / 3600
    hours = core_hours / cores
    bytes_in, bytes_out = n * found["bytes_in"], n * found["bytes_out"]
    network = (bytes_in + bytes_out) / (given["nodes"] * given["store"] * 1e9) / 3600
    drivers = max(1.0, n / given["driver"] / 3600 / hours)
    shards = n / given["shard"]
    month = given["gb-month"] / 1e9
    return [
        ("core hours", f"{core_hours:,.0f}"),
        ("hours on the cluster", f"{hours:,.1f}"),
        ("cost of computing", f"${core_hours * given['core-hour']:,.0f}"),
        ("store, sources", f"{bytes_in / 1e12:,.1f} TB, ${bytes_in * month:,.0f} a month"),
        ("store, streams", f"{bytes_out / 1e12:,.1f} TB, ${bytes_out * month:,.0f} a month"),
        ("requests, one object a picture", f"${n * (given['put'] + given['get']) / 1000:,.0f}"),
        ("requests, shards", f"${shards * (given['put'] + given['get']) / 1000:,.2f}"),
        ("chokes? network", f"{network:,.1f} hours, {network / hours:.1%} of the run"),
        ("chokes? files opened a second", f"{n / hours / 3600:,.0f}; as shards {shards / hours / 3600:,.1f}"),
        ("chokes? names in one driver", f"{n * given['name-bytes'] / 1e9:,.0f} GB"),
        ("chokes? drivers to keep up", f"{drivers:,.1f}"),
        ("chokes? manifests", f"{n * found['manifest'] / 1e9:,.0f} GB of lines"),
    ]


def table(about: dict[str, Any]) -> str:
    """Measured, assumed and modelled rows."""
    found = about["measured"]
    kind = f"measured, {found['pictures']:.0f} pictures"
    rows = [
        ["processor seconds a picture", f"{found['seconds']:.3f}", kind],
        ["bytes a picture, source and stream", f"{found['bytes_in']:,.0f}, {found['bytes_out']:,.0f}", kind],
        ["bytes of the manifest a picture", f"{found['manifest']:,.0f}", kind],
    ]
    rows += [[unit, _plain(about["assumed"][name]), f"assumed: {why}"] for name, _, unit, why in ASSUMED]
    rows += [[what, value, "modelled"] for what, value in model(found, about["assumed"])]
    return markdown([f"{about['name']}, quality {about['quality']}", "", "from"], rows)


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def main() -> None:
    parser = reporting.parser(__doc__)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--name", required=True, help="what the pictures are, for the table")
    parser.add_argument("--sample", type=int, default=24, help="so many pictures are measured")
    parser.add_argument("--quality", type=int, default=60)
    for name, value, unit, _ in ASSUMED:
        parser.add_argument(f"--{name}", type=_positive, default=float(value), help=f"{unit}: {value:g}")
    chosen = parser.parse_args()
    given = {name: getattr(chosen, name.replace("-", "_")) for name, *_ in ASSUMED}
    found = measure(chosen.pictures, chosen.sample, chosen.quality)
    about = {"name": chosen.name, "quality": chosen.quality, "measured": found, "assumed": given}
    about["machine"] = reporting.machine()
    reporting.publish(chosen, "billion", table(about), about, file="billion")


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no number above 0")
    return value


if __name__ == "__main__":
    reporting.run(main)
