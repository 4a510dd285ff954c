"""Many pictures: files a second for one and two jobs, and what kill -9 leaves behind.

    python -m benchmarks.batch speed DIR   encode a folder with each number of jobs, decode it back, resume
    python -m benchmarks.batch kills       kill -9 a run of 200 small pictures at fifty random moments; resume

``kills`` makes its own pictures. Half of its kills hit every process of the run, half only the one that gives
out the work. After each, every stream that exists must be complete, and ``--resume`` must end with the same
bytes as an undisturbed run, with nothing left over.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import bifocal
from benchmarks import reporting
from bifocal._version import DEFAULT_MODEL
from bifocal.apps import batch
from bifocal.measure import MeasureError
from bifocal.measure.tables import markdown


@dataclass(frozen=True)
class Kill:
    """One kill: when, of which processes, how many streams existed, and how many the resumed run made."""

    seconds: float
    whole_group: bool
    there: int
    made: int


def make_pictures(folder: Path, count: int) -> None:
    """Small pictures in a few subfolders, different all."""
    for number in range(count):
        rng = np.random.default_rng(number)
        rows, columns = np.mgrid[:48, :64] / 9
        waves = np.sin(rows * rng.uniform(0, 2) + columns * rng.uniform(0, 2))[:, :, None]
        pixels = np.clip(128 + 90 * waves + rng.normal(0, 8, (48, 64, 3)), 0, 255).astype(np.uint8)
        path = folder / str(number % 4) / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        bifocal.write_picture(bifocal.Picture(pixels), path)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every stream under a folder, by name."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.bfc"))
    }


def command(pictures: Path, out: Path, model: str, *more: str) -> list[str]:
    arguments = ["encode", str(pictures), "--out", str(out), "--jobs", "2", "--model", model]
    return [sys.executable, "-m", "bifocal", *arguments, *more]


def undisturbed(pictures: Path, out: Path, model: str) -> tuple[dict[str, str], float]:
    """What a run makes that nobody kills, and how long it takes."""
    begun = time.perf_counter()
    subprocess.run(
        command(pictures, out, model), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return digests(out), time.perf_counter() - begun


def kill_and_resume(
    pictures: Path,
    out: Path,
    model: str,
    expected: dict[str, str],
    *,
    after: float = 0.0,
    there: int = 0,
    whole_group: bool,
) -> Kill:
    """Kill a run, look at its files, resume. MeasureError if anything is lost or incomplete.

    The kill comes ``after`` seconds, or as soon as ``there`` files have been reported.
    """
    process = subprocess.Popen(
        command(pictures, out, model),
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    begun = time.perf_counter()
    assert process.stdout is not None
    for _ in range(there):
        process.stdout.readline()
    time.sleep(after)
    after = time.perf_counter() - begun
    if whole_group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.stdout.close()
    process.wait()
    found = digests(out)  # orphans may still be at work: what they rename is complete, too
    if any(expected.get(name) != digest for name, digest in found.items()):
        raise MeasureError(f"killed after {after:.3f} s: a stream is not complete.")
    resumed = subprocess.run(
        command(pictures, out, model, "--resume"), capture_output=True, text=True, check=False
    )
    if resumed.returncode:
        raise MeasureError(f"killed after {after:.3f} s: the resumed run failed:\n{resumed.stderr}")
    if digests(out) != expected:
        raise MeasureError(f"killed after {after:.3f} s: the resumed run ended with other bytes.")
    if left := [str(path) for path in out.rglob("*") if path.name.endswith(".part")]:
        raise MeasureError(f"killed after {after:.3f} s: left over: {left}.")
    again = subprocess.run(
        command(pictures, out, model, "--resume"), capture_output=True, text=True, check=False
    )
    if again.returncode or again.stdout:
        raise MeasureError(f"killed after {after:.3f} s: a third run did not find all files finished.")
    return Kill(after, whole_group, len(found), len(resumed.stdout.splitlines()))


def kills(arguments: argparse.Namespace) -> None:
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        pictures, out = Path(folder, "in"), Path(folder, "out")
        make_pictures(pictures, arguments.pictures)
        expected, seconds = undisturbed(pictures, out, arguments.model)
        print(
            f"{len(expected)} pictures, undisturbed {seconds:.1f} s, {sum(map(len, expected.values()))} bytes"
        )
        rows = []
        for number in range(arguments.count):
            out = Path(folder, f"out{number}")
            # counted in files, so that most kills come in the middle, however busy the machine is just now
            there = rng.randrange(len(expected))
            after = rng.uniform(0, 4 * seconds / len(expected))
            rows.append(
                kill_and_resume(
                    pictures,
                    out,
                    arguments.model,
                    expected,
                    after=after,
                    there=there,
                    whole_group=number % 2 == 0,
                )
            )
            kind = "all processes" if rows[-1].whole_group else "only the first"
            print(
                f"{number + 1:3} killed {kind} after {after:6.3f} s: {rows[-1].there:3} complete, "
                f"{rows[-1].made:3} made"
            )
    middle = sum(0 < row.there < len(expected) for row in rows)
    line = (
        f"{len(rows)} kills, {middle} of them in the middle of the files: nothing lost, nothing incomplete, "
        f"nothing left over; seed {arguments.seed}"
    )
    print(line)
    result = {"summary": line, "pictures": len(expected), "undisturbed": seconds}
    reporting.write_json(arguments.out / "kills.json", result | {"kills": list(map(asdict, rows))})


def speed(arguments: argparse.Namespace) -> None:
    rows = []
    for jobs in arguments.jobs:
        with tempfile.TemporaryDirectory() as folder:
            streams, pictures = Path(folder, "streams"), Path(folder, "pictures")
            encoder = batch.Worker("encode", {"quality": arguments.quality}, model=arguments.model)
            decoder = batch.Worker("decode", model=arguments.model)
            made = batch.run(encoder, [arguments.folder], streams, jobs=jobs)
            again = batch.run(encoder, [arguments.folder], streams, jobs=jobs, resume=True)
            shown = batch.run(decoder, [streams], pictures, jobs=jobs)
            rows.append(
                {
                    "jobs": jobs,
                    "files": made.done,
                    "failed": len(made.failed),
                    "encode files/s": round(made.done / made.seconds, 3),
                    "decode files/s": round(shown.done / shown.seconds, 3),
                    "resume files/s": round(again.kept / again.seconds, 1),
                    "bytes": made.bytes_out,
                }
            )
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load": load}
    result = {"machine": machine, "folder": Path(arguments.folder).name, "rows": rows}
    text = markdown(list(rows[0]), [list(map(str, row.values())) for row in rows])
    reporting.publish(arguments, "batch-speed", text, result, file="batch")


def main() -> None:
    parser = reporting.parser(__doc__)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("speed")
    one.add_argument("folder")
    one.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    one.add_argument("--quality", type=int, default=60)
    one.add_argument("--model", default=None)
    one.set_defaults(call=speed)
    two = commands.add_parser("kills")
    two.add_argument("--count", type=int, default=50)
    two.add_argument("--pictures", type=int, default=200)
    two.add_argument("--seed", type=int, default=1)
    two.add_argument("--model", default=DEFAULT_MODEL)
    two.set_defaults(call=kills)
    arguments = parser.parse_args()
    arguments.call(arguments)


if __name__ == "__main__":
    reporting.run(main)
