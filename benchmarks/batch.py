"""Many pictures: files a second for one and two jobs, and what kill -9 leaves behind.

``python benchmarks/batch.py speed DIR``   encode a folder with each number of jobs, decode it back, resume
``python benchmarks/batch.py kills``       kill -9 a run of 200 small pictures at fifty random moments; resume
``python benchmarks/batch.py tiles``       does one call of a float network for several equal tiles pay?

``kills`` makes its own pictures. Half of its kills hit every process of the run, half only the one that gives
out the work. After each, every stream that is there must be whole, and ``--resume`` must end with the same
bytes as a run that nobody disturbed, with nothing left over.
"""

from __future__ import annotations

import argparse
import hashlib
import json
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
from typing import Any

import numpy as np
from readme import RESULTS, ROOT

import bifocal
from bifocal.apps import batch
from bifocal.measure.report import markdown


@dataclass(frozen=True)
class Kill:
    """One kill: when, of whom, how many streams were there already, and how many the resumed run made."""

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
    """Kill a run, look at what is there, resume. RuntimeError if anything is lost or half.

    The kill comes ``after`` seconds, or as soon as ``there`` files have been told of.
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
    found = digests(out)  # orphans may still be at work: what they rename into place is whole, too
    if any(expected.get(name) != digest for name, digest in found.items()):
        raise RuntimeError(f"killed after {after:.3f} s: a stream was there that is not whole.")
    resumed = subprocess.run(
        command(pictures, out, model, "--resume"), capture_output=True, text=True, check=False
    )
    if resumed.returncode:
        raise RuntimeError(f"killed after {after:.3f} s: the resumed run failed:\n{resumed.stderr}")
    if digests(out) != expected:
        raise RuntimeError(f"killed after {after:.3f} s: the resumed run ended with other bytes.")
    if left := [str(path) for path in out.rglob("*") if path.name.endswith(".part")]:
        raise RuntimeError(f"killed after {after:.3f} s: left over: {left}.")
    again = subprocess.run(
        command(pictures, out, model, "--resume"), capture_output=True, text=True, check=False
    )
    if again.returncode or again.stdout:
        raise RuntimeError(f"killed after {after:.3f} s: a third run did not find all files finished.")
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
                f"{number + 1:3} killed {kind} after {after:6.3f} s: {rows[-1].there:3} whole, "
                f"{rows[-1].made:3} made"
            )
    middle = sum(0 < row.there < len(expected) for row in rows)
    line = (
        f"{len(rows)} kills, {middle} of them in the middle of the files: nothing lost, nothing half, "
        f"nothing left over; seed {arguments.seed}"
    )
    print(line)
    _write(
        "kills",
        {
            "summary": line,
            "pictures": len(expected),
            "undisturbed": seconds,
            "kills": list(map(asdict, rows)),
        },
    )


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
    _write("batch", {"machine": machine, "folder": Path(arguments.folder).name, "rows": rows})


def tiles(arguments: argparse.Namespace) -> None:
    """Free the batch dimension of both float networks and time calls for 1, 2, 4 and 8 tiles, in turn."""
    import onnx

    from bifocal.runtime.engines.sessions import open_session
    from bifocal.runtime.registry import model_folder

    folder = model_folder(arguments.model)
    rng = np.random.default_rng(0)
    rows = []
    for name, channels, stride in (("analysis", 3, 1), ("synthesis", 256, 16)):
        graph = onnx.load(str(folder / f"{name}.onnx"), load_external_data=False)
        for value in (*graph.graph.input, *graph.graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch, f"{name}.onnx")
            path.write_bytes(graph.SerializeToString())
            weights = _float_weights(folder, name)
            sessions = {threads: open_session(path, weights, threads=threads) for threads in (1, 2)}
        (feed,), (out,) = ([v.name for v in values] for values in (graph.graph.input, graph.graph.output))
        for side in arguments.sides:
            shape = (8, channels, side // stride, side // stride)
            data = rng.uniform(0, 255, shape) if stride == 1 else rng.normal(0, 3, shape)
            data = np.ascontiguousarray(data, np.float32)
            for threads, session in sessions.items():
                single = np.concatenate([session.run([out], {feed: data[k : k + 1]})[0] for k in range(8)])
                times: dict[int, list[float]] = {}
                equal = True
                for _ in range(arguments.rounds):
                    for batch_size in (1, 2, 4, 8):
                        begun = time.process_time()
                        parts = [
                            session.run([out], {feed: data[k : k + batch_size]})[0]
                            for k in range(0, 8, batch_size)
                        ]
                        times.setdefault(batch_size, []).append(time.process_time() - begun)
                        equal &= np.array_equal(np.concatenate(parts), single)
                row = {"network": name, "side": side, "threads": threads, "same bits": equal}
                row |= {f"ms/tile, {size} a call": round(125 * min(t), 2) for size, t in times.items()}
                rows.append(row)
                print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    _write("tiles", {"clock": "processor time, best of rounds", "rows": rows})


def _float_weights(folder: Path, name: str) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    tensors = load_file(folder / "weights.safetensors")
    return {key: value.astype(np.float32) for key, value in tensors.items() if key.startswith(f"{name}.")}


def _write(name: str, content: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if rows := content.get("rows"):
        page = markdown(list(rows[0]), [list(map(str, row.values())) for row in rows])
        path.with_suffix(".md").write_text(page + "\n", encoding="utf-8")
    print(f"written to {path.relative_to(ROOT)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
    two.add_argument("--model", default="lowfirst")
    two.set_defaults(call=kills)
    three = commands.add_parser("tiles")
    three.add_argument("--sides", type=int, nargs="+", default=[64, 128, 256, 512])
    three.add_argument("--rounds", type=int, default=5)
    three.add_argument("--model", default="lowfirst")
    three.set_defaults(call=tiles)
    arguments = parser.parse_args()
    arguments.call(arguments)


if __name__ == "__main__":
    main()
