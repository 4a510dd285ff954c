"""How long Bifocal takes and how much memory, beside CompressAI's networks and the classical codecs.

    python -m benchmarks.speed --picture KODAK/kodim05.png --peer-python PEER/bin/python [--docs]

Warm times: every codec lives in a process of its own on the same two cores and codes the same picture in
turn, round after round, so that whatever else the machine does falls on all of them; medians are reported,
and ratios of medians. Cold times are whole processes of the command line. PEER is an environment with
CompressAI, which does not share its pinned packages with ours: benchmarks/README.md says how to make it.
Without --peer-python only Bifocal and the classical codecs are timed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import reporting
from bifocal.measure import MeasureError
from bifocal.measure.bench import Measurement, load_rgb, measure
from bifocal.measure.peers import available_peers, encode_near
from bifocal.measure.tables import markdown
from bifocal.runtime.model import DEFAULT_MODEL

WORKER = Path(__file__).parent / "speed_worker.py"
PEERS = ("bmshj2018-hyperprior", "mbt2018-mean")
#: CompressAI's quality 4: N=128 channels, M=192 in the latent; its smallest networks.
PEER_QUALITY = 4
CORES = 2


@dataclass(frozen=True)
class Warm:
    """Medians over rounds of one codec in one process; seconds, bytes of the file, MiB."""

    codec: str
    encode: float
    decode: float
    fastest_encode: float
    fastest_decode: float
    bytes: int
    peak_mib: float


@dataclass(frozen=True)
class Cold:
    """Medians of whole processes: seconds and MiB."""

    what: str
    seconds: float
    fastest: float
    peak_mib: float


def environment() -> dict[str, str]:
    threads = {name: str(CORES) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    return {**os.environ, **threads}


def time_warm(commands: dict[str, list[str]], rounds: int) -> list[Warm]:
    """Start a process for each codec, warm each up twice, then let them take turns."""
    workers = {
        name: subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
        )
        for name, command in commands.items()
    }
    answers: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    try:
        for turn in range(-2, rounds):
            for name, worker in workers.items():
                assert worker.stdin is not None and worker.stdout is not None
                worker.stdin.write("\n")
                worker.stdin.flush()
                line = worker.stdout.readline()
                if not line:
                    raise MeasureError(f"The process of {name} ended early. What it printed above says why.")
                if turn >= 0:
                    answers[name].append(json.loads(line))
    finally:
        for worker in workers.values():
            worker.communicate()
    return [
        Warm(
            codec=name,
            encode=statistics.median(a["encode"] for a in runs),
            decode=statistics.median(a["decode"] for a in runs),
            fastest_encode=min(a["encode"] for a in runs),
            fastest_decode=min(a["decode"] for a in runs),
            bytes=int(runs[-1]["bytes"]),
            peak_mib=max(a["peak_mib"] for a in runs),
        )
        for name, runs in answers.items()
    ]


def time_cold(what: str, command: list[str], rounds: int) -> Cold:
    """Whole processes, one after the other."""
    seconds, peaks = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment())
        _, status, usage = os.wait4(process.pid, 0)
        seconds.append(time.perf_counter() - start)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise MeasureError(f"{' '.join(command)} failed. What it printed above says why.")
        peaks.append(usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))
    return Cold(what, statistics.median(seconds), min(seconds), max(peaks))


def run_cold(picture: Path, quality: int, model: str, rounds: int) -> list[Cold]:
    """The command line from nothing: encode, decode, and Python by itself for comparison."""
    with tempfile.TemporaryDirectory() as folder:
        stream, back = str(Path(folder) / "picture.bfc"), str(Path(folder) / "picture.png")
        bifocal, named = [sys.executable, "-m", "bifocal"], ["--model", model]
        encode = [*bifocal, "encode", str(picture), "-q", str(quality), "-o", stream, "--force", *named]
        decode = [*bifocal, "decode", stream, "-o", back, "--force", *named]
        return [
            time_cold("python -c pass", [sys.executable, "-c", "pass"], rounds),
            time_cold("python -c 'import bifocal'", [sys.executable, "-c", "import bifocal"], rounds),
            time_cold("bifocal encode", encode, rounds),
            time_cold("bifocal decode", decode, rounds),
        ]


def time_classical(picture: Path, size: int) -> list[Measurement]:
    """The classical codecs, one thread, at the quality whose file is nearest to ``size`` bytes."""
    pixels = load_rgb(picture)
    peers, _ = available_peers()
    return [measure(p, pixels, encode_near(p, pixels, size).quality, repeats=3) for p in peers]


def report(
    result: dict[str, object], warm: list[Warm], cold: list[Cold], classical: list[Measurement]
) -> str:
    """The figures as Markdown."""
    ours = warm[0]
    lines = [
        [
            w.codec if w is ours else f"{w.codec} (CompressAI)",
            f"{w.encode:.3f} s",
            f"{w.decode:.3f} s",
            "1" if w is ours else f"{ours.encode / w.encode:.2f} / {ours.decode / w.decode:.2f}",
            f"{w.peak_mib:.0f} MiB",
        ]
        for w in warm
    ]
    parts = [
        f"One {result['size']} picture, warm, {CORES} cores, median of {result['rounds']} alternating "
        "rounds; "
        "the ratio is Bifocal's time over the other's (encode / decode):\n",
        markdown(["codec", "encode", "decode", "Bifocal / it", "peak memory"], lines),
    ]
    if classical:
        parts += [
            "\nClassical codecs on the same picture near the same size, one thread, fastest of three:\n",
            markdown(
                ["codec", "bytes", "encode", "decode"],
                [
                    [r.codec, str(r.bytes), f"{r.encode_seconds:.3f} s", f"{r.decode_seconds:.3f} s"]
                    for r in classical
                ],
            ),
        ]
    if cold:
        parts += [
            "\nCold: whole processes, median (fastest):\n",
            markdown(
                ["command", "seconds", "peak memory"],
                [[c.what, f"{c.seconds:.2f} ({c.fastest:.2f})", f"{c.peak_mib:.0f} MiB"] for c in cold],
            ),
        ]
    return "\n".join(parts)


def run(chosen: argparse.Namespace) -> None:
    pixels = load_rgb(chosen.picture)
    picture = str(chosen.picture.resolve())
    commands = {
        "bifocal": [sys.executable, str(WORKER), "bifocal", picture, str(chosen.quality), chosen.model]
    }
    for peer in PEERS if chosen.peer_python else ():
        commands[peer] = [str(chosen.peer_python), str(WORKER), peer, picture, str(PEER_QUALITY)]
    warm = time_warm(commands, chosen.rounds)
    cold = run_cold(chosen.picture, chosen.quality, chosen.model, chosen.rounds)
    classical = time_classical(chosen.picture, warm[0].bytes)
    result: dict[str, object] = {
        "picture": chosen.picture.name,
        "size": f"{pixels.shape[1]}×{pixels.shape[0]}",
        "quality": chosen.quality,
        "rounds": chosen.rounds,
        "cores": CORES,
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "warm": [asdict(w) for w in warm],
        "cold": [asdict(c) for c in cold],
        "classical": [asdict(r) for r in classical],
    }
    text = report(result, warm, cold, classical)
    note = f"{chosen.picture.name}, quality {chosen.quality}. Written by `benchmarks/speed.py`."
    reporting.write_text(chosen.out / "speed.md", f"# Speed and memory\n\n{note}\n\n{text}")
    reporting.publish(chosen, "speed", text, result, file="speed")


def main() -> None:
    parser = reporting.parser(__doc__)
    parser.add_argument("--picture", type=Path, required=True, help="the picture to code, 768x512 to compare")
    parser.add_argument("--peer-python", type=Path, help="the Python of an environment with CompressAI")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--quality", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=9)
    run(parser.parse_args())


if __name__ == "__main__":
    reporting.run(main)
