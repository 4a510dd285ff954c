"""The same latents everywhere: decode the same streams with every engine, and compare bit for bit.

    python benchmarks/exactness.py --data KODAK [--qualities 10 30 50 70 90]

Streams: every picture at five qualities; a 256x256 crop at all 100 qualities; 128x128 crops at five qualities
for the int64 referee. Engines: NumPy float32 with 1 and 2 threads, two OpenBLAS kernels and a shuffled order
of summation; ONNX Runtime with 1 and 2 threads; torch with 1 and 2 threads and on CUDA, where they are there;
NumPy int64. Each runs in a process of its own and must have executed every exact layer itself. Crops are also
packed again, to the same bytes.

Beside it the float twin: the same weights with real activations, run by several engines on the inputs of the
exact decoder; two engines that round one table index differently would have lost the rest of the stream.

Status 1 when an exact engine differs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from exactness_worker import Trial, digest
from readme import RESULTS, ROOT, replace_block

import bifocal
from bifocal.errors import BifocalError
from bifocal.measure.bench import find_pictures, load_rgb
from bifocal.measure.metrics import Pixels
from bifocal.measure.report import markdown
from bifocal.runtime.registry import DEFAULT_MODEL
from bifocal.stream.latents import unpack

WORKER = Path(__file__).parent / "exactness_worker.py"
SEED = 20
#: What OpenBLAS says for a core type, where it says something else: its first names share Prescott's kernels.
SAME_KERNELS = {"Katmai": "Prescott"}


def cores() -> tuple[str, ...]:
    """Two OpenBLAS kernels to stand for other machines: one with SSE3 only, and the widest that runs here."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return ()
    wide = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    return (
        "Prescott",
        "SkylakeX" if any(name.startswith(("AVX512", "X86_V4")) for name in wide) else "Haswell",
    )


def make_set(folder: Path, model: bifocal.Model, items: Sequence[tuple[str, Pixels, int]], pack: bool) -> int:
    """Encode (name, pixels, quality) items into a folder with an index of what they decode to."""
    folder.mkdir()
    digests = {}
    for name, pixels, quality in items:
        data = bifocal.encode(pixels, quality=quality, model=model)
        file = f"{name}-{quality}.bfc"
        (folder / file).write_bytes(data)
        digests[file] = digest(unpack(data, model.entropy, model.backend))
    (folder / "index.json").write_text(json.dumps({"pack": pack, "digests": digests}), "utf-8")
    return len(digests)


def crop(pixels: Pixels, side: int) -> Pixels:
    """The middle of a picture."""
    h, w = pixels.shape[:2]
    return pixels[(h - side) // 2 :][:side, (w - side) // 2 :][:, :side]


def make_streams(
    streams: Path, model: bifocal.Model, data: Path, qualities: Sequence[int], step: int
) -> dict[str, int]:
    """All sets; returns how many streams each holds."""
    pictures = [(path.stem, load_rgb(path)) for path in find_pictures([data])]
    whole = [(name, pixels, q) for name, pixels in pictures for q in qualities]
    first = pictures[0]
    every = [(first[0], crop(first[1], 256), q) for q in range(1, 101, step)]
    small = [(name, crop(pixels, 128), q) for name, pixels in pictures for q in qualities]
    return {
        "whole": make_set(streams / "whole", model, whole, pack=False),
        "crop256": make_set(streams / "crop256", model, every, pack=True),
        "crop128": make_set(streams / "crop128", model, small, pack=True),
    }


def trials() -> list[Trial]:
    """The engines of this machine, the referee first."""
    sets = ("whole", "crop256", "crop128")
    plan = [Trial("numpy-int64", 1, ("crop128",))]
    plan += [Trial("numpy-float32", n, sets) for n in (1, 2)]
    plan += [Trial("numpy-float32", 2, sets, core=core) for core in cores()]
    plan += [Trial("numpy-float32", 1, sets, seed=SEED)]
    plan += [Trial("onnxruntime", n, sets) for n in (1, 2)]
    if find_spec("torch") is not None:
        import torch

        plan += [Trial("torch-cpu", n, sets) for n in (1, 2)]
        plan += [Trial("torch-cuda", 1, sets)] if torch.cuda.is_available() else []
    return plan


def twins() -> list[Trial]:
    """Engines of the float twin, the one to compare with first."""
    sets = ("whole",)
    plan = [Trial("twin-numpy", 1, sets)]
    plan += [Trial("twin-numpy", 1, sets, core=core) for core in cores()]
    plan += [Trial("twin-numpy", 1, sets, seed=SEED)]
    if find_spec("torch") is not None:
        plan += [Trial("twin-torch", 1, sets)]
    return plan


def run_trial(trial: Trial, streams: Path, folder: Path, *rest: str) -> dict[str, Any]:
    """A worker's answer. Raises RuntimeError when it fails."""
    names = (f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "MKL"))
    surrounding = {name: str(trial.threads) for name in names}
    if trial.core:
        surrounding["OPENBLAS_CORETYPE"] = trial.core
    command = [sys.executable, str(WORKER), str(streams), str(folder), json.dumps(asdict(trial)), *rest]
    done = subprocess.run(command, env={**os.environ, **surrounding}, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"{trial} failed; what it printed stands above.")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    answer["blas_core"] = SAME_KERNELS.get(answer["blas_core"], answer["blas_core"])
    if trial.core and answer["blas_core"] not in (trial.core, "unknown"):
        raise RuntimeError(f"asked for {trial.core} kernels, got {answer['blas_core']}")
    return answer


def describe(trial: Trial, answer: dict[str, Any]) -> list[str]:
    """Engine, threads and what is special about it."""
    special = []
    if "numpy" in trial.engine:
        special.append(f"{answer['blas_core']} kernels")
    if trial.seed is not None:
        special.append("shuffled sums")
    return [trial.engine, str(trial.threads), ", ".join(special) or "-"]


def compare_twins(folders: Sequence[Path]) -> list[dict[str, int]]:
    """For every engine but the first: symbols, differing table indexes, differing means, streams hit."""
    reference, *others = folders
    results = []
    for other in others:
        totals = {"symbols": 0, "indexes": 0, "means": 0, "streams": 0, "streams_lost": 0}
        for path in sorted(reference.glob("*.npy")):
            a, b = np.load(path), np.load(other / path.name)
            index, mean = a != b
            totals["symbols"] += index.size
            totals["indexes"] += int(index.sum())
            totals["means"] += int(mean.sum())
            totals["streams"] += 1
            totals["streams_lost"] += bool(index.any())
        results.append(totals)
    return results


def report(
    sizes: dict[str, int],
    exact: list[tuple[Trial, dict[str, Any]]],
    float_twins: list[tuple[Trial, dict[str, Any]]],
    counts: list[dict[str, int]],
) -> str:
    """Both tables as Markdown."""
    lines = [
        [
            *describe(trial, answer),
            f"{answer['identical']} of {answer['streams']}",
            f"{answer['packed_identical']} of {answer['packed']}",
            f"{answer['layers_run']:,}",
        ]
        for trial, answer in exact
    ]
    header = ["engine", "threads", "surrounding", "streams decoded alike", "packed alike", "exact layers run"]
    parts = [
        f"Streams: {sizes['whole']} of whole pictures, {sizes['crop256']} of a 256×256 crop, "
        f"{sizes['crop128']} of 128×128 crops. Every engine ran each exact layer itself.\n",
        markdown(header, lines),
    ]
    if counts:
        rows = [
            [
                *describe(trial, answer),
                f"{c['indexes']:,} of {c['symbols']:,}",
                f"{c['means']:,}",
                f"{c['streams_lost']} of {c['streams']}",
            ]
            for (trial, answer), c in zip(float_twins[1:], counts, strict=True)
        ]
        first = " ".join(describe(*float_twins[0])[::2])
        parts += [
            f"\nThe float twin (same weights, real activations), against {first}, one thread:\n",
            markdown(
                ["engine", "threads", "surrounding", "other table", "other mean", "streams lost"],
                rows,
            ),
        ]
    return "\n".join(parts)


def run(chosen: argparse.Namespace) -> bool:
    model = bifocal.Model.load(chosen.model)
    with tempfile.TemporaryDirectory() as name:
        streams = Path(name)
        sizes = make_streams(streams, model, chosen.data, chosen.qualities, chosen.step)
        print(f"streams: {sizes}", flush=True)
        exact = []
        for trial in trials():
            answer = run_trial(trial, streams, model.folder)
            exact.append((trial, answer))
            print(trial, answer, flush=True)
        float_twins, folders = [], []
        for n, trial in enumerate(twins() if chosen.twin else []):
            folders.append(streams / f"twin{n}")
            float_twins.append((trial, run_trial(trial, streams, model.folder, str(folders[-1]))))
            print(trial, flush=True)
        counts = compare_twins(folders) if folders else []
    text = report(sizes, exact, float_twins, counts)
    result = {
        "model": model.entropy.fingerprint.hex(),
        "machine": platform.processor() or platform.machine(),
        "qualities": chosen.qualities,
        "streams": sizes,
        "exact": [{**asdict(t), **a} for t, a in exact],
        "twins": [{**asdict(t), **c} for (t, _), c in zip(float_twins[1:], counts, strict=True)],
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "exactness.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    page = f"# Exactness\n\nWritten by `benchmarks/exactness.py`. {text}\n"
    (chosen.out / "exactness.md").write_text(page, encoding="utf-8")
    if chosen.docs:
        replace_block("exactness", text, ROOT / "docs" / "exactness.md")
    print(text)
    return all(a["identical"] == a["streams"] and a["packed_identical"] == a["packed"] for _, a in exact)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of pictures of 256x256 or more")
    parser.add_argument("--qualities", type=int, nargs="+", default=[10, 30, 50, 70, 90])
    parser.add_argument("--step", type=int, default=1, help="on the 256x256 crop take every STEP-th quality")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--no-twin", dest="twin", action="store_false", help="leave out the float twin")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--docs", action="store_true", help="put the tables into docs/exactness.md")
    try:
        return 0 if run(parser.parse_args()) else 1
    except (BifocalError, OSError, RuntimeError, ValueError) as fault:
        print(f"exactness.py: {fault}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
