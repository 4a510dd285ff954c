"""What each float backend costs and gains: time, memory, cold start, and BD-rate.

    python -m benchmarks.backends --data KODAK [--docs]

Warm times: every backend lives in a process of its own and codes the same picture in turn, round after
round, so that whatever else the machine does falls on all of them; medians, and ratios of medians. Cold times
are whole processes of ``bifocal decode``. The BD-rate cost is real: every picture of KODAK is coded once for
each quality (the bytes are the same for every backend), decoded with each, and the curves are compared.

A second table says what analysis on another engine would change, which is why it is not offered: its time,
and how many latents it would round to another integer. Two minutes on two quiet cores. The exit status is 1
if a backend costs more than it may (``MAY_COST``): then it must not be offered.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors import safe_open

from benchmarks import reporting
from benchmarks.speed import CORES, WORKER, Cold, Warm, time_cold, time_warm
from bifocal.measure.bdrate import bd_rate, curve_of
from bifocal.measure.bench import find_pictures, load_rgb
from bifocal.measure.metrics import psnr
from bifocal.measure.tables import markdown
from bifocal.runtime.analysis import FloatLatents, Transformed, at_quality
from bifocal.runtime.encoding import Encoder
from bifocal.runtime.engines.float_engines import int8_file, open_network
from bifocal.runtime.engines.float_openvino import OpenVinoNetwork, native_bf16, openvino_installed
from bifocal.runtime.engines.onnxruntime import REFERENCE, FloatNetwork
from bifocal.runtime.model import DEFAULT_MODEL, Model
from bifocal.runtime.rendering import synthesise
from bifocal.runtime.windows import cut_padded, padded_size
from bifocal.stream.latents import unpack
from bifocal.stream.limits import TILE_UNIT

QUALITIES = (5, 25, 45, 65, 85, 100)
#: Percent of BD-rate that a precision may cost before it is not offered.
MAY_COST = {"bf16": 0.5, "int8": 2.0}
TILE = 2048


@dataclass(frozen=True)
class Quality:
    """What a backend's pixels cost: BD-rate in percent, mean PSNR in dB at each quality."""

    backend: str
    bd_rate: float
    psnr: tuple[float, ...]


@dataclass(frozen=True)
class Analysis:
    """Analysis on another engine: milliseconds, and how many in a thousand of y and z round differently."""

    engine: str
    milliseconds: float
    changed_y: float
    changed_z: float


def backends(model: Model) -> list[str]:
    """The backends of this machine and ``model``, aliases left out, the reference first."""
    names = [REFERENCE, "onnxruntime-int8"]
    if openvino_installed():
        names += ["openvino-f32", *(["openvino-bf16"] if native_bf16() else []), "openvino-int8"]
    has_int8 = (model.folder / int8_file("synthesis")).exists()
    return [name for name in names if has_int8 or not name.endswith("int8")]


def measure_quality(model: Model, paths: list[Path], names: list[str]) -> list[Quality]:
    """BD-rates of the backends against the reference, each picture's latents decoded with all of them."""
    bpp: dict[int, list[float]] = {q: [] for q in QUALITIES}
    seen: dict[tuple[str, int], list[float]] = {(b, q): [] for b in names for q in QUALITIES}
    for path in paths:
        pixels = load_rgb(path)
        encoder = Encoder(pixels, model, tile=TILE, keep=True)
        for quality in QUALITIES:
            data = encoder.encode(quality).data
            latents = unpack(data, model.entropy, model.engine)
            bpp[quality].append(8 * len(data) / (pixels.shape[0] * pixels.shape[1]))
            for name in names:
                seen[name, quality].append(psnr(pixels, synthesise(model.on(name), latents)))
    curves = {
        name: curve_of(name, [(float(np.mean(bpp[q])), float(np.mean(seen[name, q]))) for q in QUALITIES])
        for name in names
    }
    return [Quality(name, bd_rate(curves[names[0]], curves[name]), curves[name].psnr) for name in names]


def measure_analysis(model: Model, path: Path, quality: int, rounds: int) -> list[Analysis]:
    """The analysis network of one picture on other engines, in turn, beside the reference."""
    graph = model.folder / "analysis.onnx"
    with safe_open(model.folder / "weights.safetensors", framework="np") as file:
        names = [name for name in file.keys() if name.startswith("analysis.")]
        weights = {name: file.get_tensor(name).astype(np.float32) for name in names}
    networks: dict[str, FloatNetwork] = {
        "onnxruntime f32": open_network("analysis", graph, weights, threads=CORES)
    }
    precisions: tuple[Literal["f32", "bf16"], ...] = ("f32", "bf16") if native_bf16() else ("f32",)
    for precision in precisions:
        networks[f"openvino {precision}"] = OpenVinoNetwork(
            graph.read_bytes(), weights, threads=CORES, precision=precision
        )
    pixels = load_rgb(path)
    height, width = (padded_size(side, TILE_UNIT) for side in pixels.shape[:2])
    padded = cut_padded(pixels, slice(0, height), slice(0, width))
    feeds = {"pixels": np.ascontiguousarray(padded.transpose(2, 0, 1)[None], np.float32)}
    results: dict[str, FloatLatents] = {}
    took: dict[str, list[float]] = {name: [] for name in networks}
    for _ in range(rounds + 1):
        for name, half in networks.items():
            start = time.perf_counter()
            y = half.run(["y"], feeds)[0][0]
            took[name].append(time.perf_counter() - start)
            results[name] = at_quality(model, Transformed(y, (0, 0, width, height)), quality)
    first = next(iter(results.values()))
    return [
        Analysis(
            name,
            1e3 * statistics.median(took[name][1:]),
            *(1e3 * float((np.rint(a) != np.rint(b)).mean()) for a, b in zip(first, parts, strict=True)),
        )
        for name, parts in results.items()
    ]


def run_cold(picture: Path, quality: int, model: str, names: list[str], rounds: int) -> list[Cold]:
    """``bifocal decode`` as whole processes, the backends in turn."""
    import bifocal

    with tempfile.TemporaryDirectory() as folder:
        stream, back = Path(folder) / "picture.bfc", str(Path(folder) / "picture.png")
        stream.write_bytes(bifocal.encode(load_rgb(picture), quality, model=model))
        command = [sys.executable, "-m", "bifocal", "decode", str(stream), "-o", back, "--force"]
        command += ["--model", model, "--backend"]
        runs: dict[str, list[Cold]] = {name: [] for name in names}
        for _ in range(rounds):
            for name in names:
                runs[name].append(time_cold(name, [*command, name], 1))
    return [
        Cold(
            name,
            statistics.median(c.seconds for c in taken),
            min(c.fastest for c in taken),
            max(c.peak_mib for c in taken),
        )
        for name, taken in runs.items()
    ]


def report(warm: list[Warm], cold: list[Cold], quality: list[Quality], analysis: list[Analysis]) -> str:
    """The tables as Markdown."""
    rows = []
    for w, c, q in zip(warm, cold, quality, strict=True):
        engine, _, precision = q.backend.partition("-")
        first = w is warm[0]
        rows.append(
            [
                f"`{q.backend}`",
                f"{w.decode * 1e3:.0f} ms",
                "1" if first else f"{w.decode / warm[0].decode:.2f}",
                f"{w.encode * 1e3:.0f} ms",
                "0" if first else f"{q.bd_rate:+.2f} %",
                f"{MAY_COST[precision]} %" if precision in MAY_COST else "",
                f"{w.peak_mib:.0f} MiB",
                f"{c.seconds:.2f} s, {c.peak_mib:.0f} MiB",
            ]
        )
    head = ["backend", "decode", "ratio", "encode", "BD-rate cost", "may cost", "peak memory", "cold decode"]
    parts = [markdown(head, rows)]
    if analysis:
        moved = [
            [a.engine, f"{a.milliseconds:.0f} ms", f"{a.changed_y:.2f} ‰", f"{a.changed_z:.2f} ‰"]
            for a in analysis
        ]
        parts += [
            "\nAnalysis alone, and how many latents would round to another integer:\n",
            markdown(["engine", "analysis", "y changed", "z changed"], moved),
        ]
    return "\n".join(parts)


def run(chosen: argparse.Namespace) -> int:
    """Measure everything, write the results; 1 if a backend costs more than it may."""
    began = time.perf_counter()
    paths = find_pictures([chosen.data])
    few = paths[:: chosen.step]
    picture = next((p for p in paths if p.stem == "kodim05"), paths[0])
    model = Model.load(chosen.model, threads=CORES)
    names = backends(model)
    commands = {
        name: [
            sys.executable,
            str(WORKER),
            f"bifocal:{name}",
            str(picture.resolve()),
            str(chosen.quality),
            chosen.model,
        ]
        for name in names
    }
    warm = time_warm(commands, chosen.rounds)
    cold = run_cold(picture, chosen.quality, chosen.model, names, chosen.cold_rounds)
    analysis = []
    if openvino_installed():
        analysis = measure_analysis(model, picture, chosen.quality, chosen.rounds)
    quality = measure_quality(model, few, names)
    height, width = load_rgb(picture).shape[:2]
    text = report(warm, cold, quality, analysis)
    note = (
        f"{picture.name} ({width}×{height}, quality {chosen.quality}), {CORES} cores, medians of "
        f"{chosen.rounds} alternating rounds (cold: {chosen.cold_rounds}); BD-rate over {len(few)} "
        f"pictures at qualities {', '.join(map(str, QUALITIES))}. Model {model.name} "
        f"{model.entropy.fingerprint.hex()}. Written by `benchmarks/backends.py`."
    )
    result = {
        "picture": picture.name,
        "pictures": len(few),
        "quality": chosen.quality,
        "qualities": QUALITIES,
        "rounds": chosen.rounds,
        "cores": CORES,
        "model": [model.name, model.entropy.fingerprint.hex()],
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "warm": [asdict(w) for w in warm],
        "cold": [asdict(c) for c in cold],
        "bd_rate": [asdict(q) for q in quality],
        "analysis": [asdict(a) for a in analysis],
    }
    reporting.publish(chosen, "backends", f"{text}\n\n{note}", result, file="backends")
    print(f"\n{time.perf_counter() - began:.0f} s")
    dear = [q for q in quality if q.bd_rate > MAY_COST.get(q.backend.partition("-")[2], 0.05)]
    for q in dear:
        print(f"{q.backend} costs {q.bd_rate:.2f} % BD-rate, more than it may. Do not offer it.")
    return int(bool(dear))


def main() -> int:
    parser = reporting.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder of pictures: Kodak, to compare")
    parser.add_argument("--step", type=int, default=1, help="BD-rate on every STEPth picture: a quick look")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--quality", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cold-rounds", type=int, default=5)
    return run(parser.parse_args())


if __name__ == "__main__":
    reporting.run(main)
