"""The same latents everywhere: decode the same streams with every engine, and compare bit for bit.

    python -m benchmarks.exactness --data KODAK [--qualities 10 30 50 70 90] [--docs]

Streams: every picture at five qualities; a 256x256 crop at all 100 qualities; 128x128 crops at five qualities
for the int64 reference. Engines: NumPy float32 with 1 and 2 threads, two OpenBLAS kernels and a shuffled
order of summation; ONNX Runtime with 1 and 2 threads, in float32 and, where the model has graphs for it, in
8-bit products; torch with 1 and 2 threads and on CUDA, if installed; NumPy int64. Each runs in a process of
its own and must have executed every exact layer itself. Crops are also packed again, to the same bytes.

Status 1 when an engine differs. How often networks of the same weights in float would have differed is the
question of studies/float_counterpart.
"""

from __future__ import annotations

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

import bifocal
from benchmarks import reporting
from benchmarks.exactness_worker import Setup, digest
from bifocal.measure import MeasureError
from bifocal.measure.bench import find_pictures, load_rgb
from bifocal.measure.metrics import Pixels
from bifocal.measure.tables import markdown
from bifocal.runtime.engines.exact_int8 import Int8Engine
from bifocal.runtime.model import DEFAULT_MODEL
from bifocal.stream.latents import unpack

WORKER = "benchmarks.exactness_worker"
SEED = 20
#: Core types that OpenBLAS reports under another name, because they share its kernels.
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
        digests[file] = digest(unpack(data, model.entropy, model.engine))
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


def setups(*, int8: bool) -> list[Setup]:
    """The engines of this machine, the int64 reference first; ``int8`` says that the model runs on that."""
    sets = ("whole", "crop256", "crop128")
    plan = [Setup("numpy-int64", 1, ("crop128",))]
    plan += [Setup("numpy-float32", n, sets) for n in (1, 2)]
    plan += [Setup("numpy-float32", 2, sets, core=core) for core in cores()]
    plan += [Setup("numpy-float32", 1, sets, seed=SEED)]
    for engine in ("onnxruntime", *(["onnxruntime-int8"] if int8 else [])):
        plan += [Setup(engine, n, sets) for n in (1, 2)]
    if find_spec("torch") is not None:
        import torch

        plan += [Setup("torch-cpu", n, sets) for n in (1, 2)]
        plan += [Setup("torch-cuda", 1, sets)] if torch.cuda.is_available() else []
    return plan


def run_worker(module: str, setup: Setup, streams: Path, folder: Path, *rest: str) -> dict[str, Any]:
    """The answer of a worker module in a process of its own. Raises MeasureError when it fails."""
    names = (f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "MKL"))
    variables = {name: str(setup.threads) for name in names}
    if setup.core:
        variables["OPENBLAS_CORETYPE"] = setup.core
    command = [sys.executable, "-m", module, str(streams.resolve()), str(folder.resolve())]
    command += [json.dumps(asdict(setup)), *rest]
    done = subprocess.run(
        command, env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True, cwd=reporting.ROOT
    )
    if done.returncode:
        raise MeasureError(f"{setup} failed. What it printed above says why.")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    answer["blas_core"] = SAME_KERNELS.get(answer["blas_core"], answer["blas_core"])
    if setup.core and answer["blas_core"] not in (setup.core, "unknown"):
        raise MeasureError(f"{setup} asked for {setup.core} kernels and got {answer['blas_core']}.")
    return answer


def describe(setup: Setup, answer: dict[str, Any]) -> list[str]:
    """Engine, threads and what is special about its setting."""
    special = []
    if "numpy" in setup.engine:
        special.append(f"{answer['blas_core']} kernels")
    if setup.seed is not None:
        special.append("shuffled sums")
    return [setup.engine, str(setup.threads), ", ".join(special) or "-"]


def report(sizes: dict[str, int], exact: list[tuple[Setup, dict[str, Any]]]) -> str:
    """The table as Markdown."""
    lines = [
        [
            *describe(setup, answer),
            f"{answer['identical']} of {answer['streams']}",
            f"{answer['packed_identical']} of {answer['packed']}",
            f"{answer['layers_run']:,}",
        ]
        for setup, answer in exact
    ]
    header = ["engine", "threads", "setting", "streams decoded alike", "packed alike", "exact layers run"]
    return (
        f"Streams: {sizes['whole']} of whole pictures, {sizes['crop256']} of a 256×256 crop, "
        f"{sizes['crop128']} of 128×128 crops. Every engine ran each exact layer itself.\n\n"
        + markdown(header, lines)
    )


def main() -> int:
    parser = reporting.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of pictures of 256x256 or more")
    parser.add_argument("--qualities", type=int, nargs="+", default=[10, 30, 50, 70, 90])
    parser.add_argument("--step", type=int, default=1, help="on the 256x256 crop take every STEP-th quality")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    chosen = parser.parse_args()
    model = bifocal.Model.load(chosen.model)
    with tempfile.TemporaryDirectory() as name:
        streams = Path(name)
        sizes = make_streams(streams, model, chosen.data, chosen.qualities, chosen.step)
        print(f"streams: {sizes}", flush=True)
        exact = []
        for setup in setups(int8=isinstance(model.engine, Int8Engine)):
            exact.append((setup, run_worker(WORKER, setup, streams, model.folder)))
            print(*exact[-1], flush=True)
    result = {
        "model": model.entropy.fingerprint.hex(),
        "machine": platform.processor() or platform.machine(),
        "qualities": chosen.qualities,
        "streams": sizes,
        "exact": [{**asdict(setup), **answer} for setup, answer in exact],
    }
    reporting.publish(chosen, "exactness", report(sizes, exact), result, file="exactness")
    answers = [answer for _, answer in exact]
    alike = all(a["identical"] == a["streams"] and a["packed_identical"] == a["packed"] for a in answers)
    return int(not alike)


if __name__ == "__main__":
    reporting.run(main)
