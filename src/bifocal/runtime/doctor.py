"""The exactness check of `bifocal doctor`: every engine must code made-up latents to the same bytes.

The latents are made from integers, so they, and the bytes that any machine codes them to, are the same
everywhere. An :class:`EngineCheck` is one engine in a process of its own, since BLAS libraries choose their
threads and kernels when they are loaded. A check counts the exact layers that its engine executed, so that a
check of nothing cannot pass.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from bifocal._version import __version__
from bifocal.errors import BifocalError, ModelError, OptionError
from bifocal.runtime.analysis import float_latents
from bifocal.runtime.engines.exact_int8 import Int8Engine
from bifocal.runtime.engines.float_engines import BACKENDS
from bifocal.runtime.engines.float_openvino import native_bf16
from bifocal.runtime.engines.onnxruntime import REFERENCE, OnnxEngine, available_threads
from bifocal.runtime.model import Model, read_spec
from bifocal.runtime.rendering import synthesise
from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.exact import ExactEngine, Kind, NumpyEngine
from bifocal.stream.latents import encode_latents, pack, unpack

#: Picture sizes (width, height) of made latents; int64 is slow and sees only the first.
SMALL, LARGE = (128, 128), (768, 512)
QUALITIES = (1, 50, 100)
#: Kernels of OpenBLAS that every 64-bit x86 of the last ten years runs, to stand for other machines.
CORE_TYPES = ("Prescott", "Haswell")
TIMEOUT_SECONDS = 300


@dataclass(frozen=True)
class EngineCheck:
    """One engine in one surrounding. ``core`` is an OpenBLAS core type, empty for the machine's own."""

    engine: str
    threads: int
    core: str = ""
    large: bool = True


@dataclass(frozen=True)
class CheckResult:
    """What a check gave: SHA-256 over the streams of each size, and how many exact layers ran.

    ``error`` says why it gave nothing, and is empty otherwise.
    """

    small: str = ""
    large: str = ""
    layers: int = 0
    error: str = ""


@dataclass(frozen=True)
class BackendReport:
    """How far a float backend's pixels lie from the reference's, in levels of 255: ``mean`` and ``largest``.

    ``precision`` says what it computes in. ``error`` says why it cannot be used, and is empty otherwise.
    """

    backend: str
    precision: str
    mean: float = 0.0
    largest: int = 0
    error: str = ""


def plan_checks(others: Sequence[str] = (), *, int8: bool = False) -> list[EngineCheck]:
    """The checks for this machine: the int64 reference, then every fast engine with one and two threads.

    ``others`` are engines beside NumPy's and ONNX Runtime's: ``torch-cpu``, ``torch-cuda``. ``int8`` says
    that the model has graphs of 8-bit products.
    """
    fast = ["numpy-float32", "onnxruntime", *(["onnxruntime-int8"] if int8 else []), *others]
    checks = [EngineCheck("numpy-int64", 1, large=False), EngineCheck("numpy-float64", 1)]
    checks += [EngineCheck(engine, threads) for engine in fast for threads in (1, 2)]
    if platform.machine().lower() in ("x86_64", "amd64"):
        checks += [EngineCheck("numpy-float32", 2, core) for core in CORE_TYPES]
    return checks


def run_check(check: EngineCheck, folder: Path) -> CheckResult:
    """Run a check in a process of its own; what goes wrong there is the result's ``error``."""
    threads = {f"{library}_NUM_THREADS": str(check.threads) for library in ("OMP", "OPENBLAS", "MKL")}
    core = {"OPENBLAS_CORETYPE": check.core} if check.core else {}
    command = [
        sys.executable,
        "-m",
        "bifocal",
        "doctor",
        "--model",
        str(folder),
        "--check",
        json.dumps(asdict(check)),
    ]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **threads, **core},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return CheckResult(error=f"no answer within {TIMEOUT_SECONDS} s")
    try:
        return CheckResult(**json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, TypeError, ValueError):
        return CheckResult(error=(done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])


def examine(check: EngineCheck, model: EntropyModel, engine: ExactEngine) -> CheckResult:
    """Code and decode made latents at several qualities with ``engine``; the work of a check's process.

    :raises ModelError: if the engine did not execute every exact layer as often as it should.
    """
    before = Counter(engine.layers_run)
    small = _hash_streams(model, engine, SMALL)
    large = _hash_streams(model, engine, LARGE) if check.large else ""
    ran = engine.layers_run - before
    passes = 3 * len(QUALITIES) * (1 + check.large)  # encode, unpack and pack again
    for net in (model.hyper, *model.predictors):
        for number in range(len(net.layers)):
            if ran[f"{net.name}.{number}"] != passes:
                raise ModelError(
                    f"{engine.name} ran {net.name}.{number} {ran[f'{net.name}.{number}']} times, not "
                    f"{passes}: something else computed for it. Report this."
                )
    return CheckResult(small, large, sum(ran.values()))


def expected(folder: Path) -> CheckResult | None:
    """The hashes that the card of a packed model says, made where it was packed; None if it says none."""
    card = read_spec(folder).get("card", {})
    said = card.get("doctor") if isinstance(card, dict) else None
    return CheckResult(str(said.get("small")), str(said.get("large"))) if isinstance(said, dict) else None


def agree(checks: Mapping[EngineCheck, CheckResult], expected: CheckResult | None = None) -> bool:
    """Whether every check gave an answer, all the same, and the ``expected`` one if there is one."""
    results = [*checks.values(), *([expected] if expected else [])]
    small = {result.small for result in results}
    large = {result.large for result in results if result.large}
    return not any(o.error for o in results) and len(small) == 1 and len(large) <= 1


def compare_backends(model: Model) -> list[BackendReport]:
    """Every backend that decoding may be asked to take, on one small picture."""
    rows, columns = np.mgrid[:128, :160]
    waves = [128 + 100 * np.sin(rows / a) * np.cos(columns / b) for a, b in ((9, 14), (30, 11), (6, 25))]
    pixels = np.stack(waves, axis=2).astype(np.uint8)
    y, z = float_latents(model, pixels, QUALITIES[1])
    _, latents = encode_latents(
        y,
        z,
        width=pixels.shape[1],
        height=pixels.shape[0],
        gray=False,
        quality=QUALITIES[1],
        tile=2048,
        model=model.entropy,
        engine=model.engine,
    )
    reference = synthesise(model.on(REFERENCE), latents).astype(int)
    reports = []
    for name, precision in BACKENDS.items():
        try:
            off = np.abs(synthesise(model.on(name), latents) - reference)
            if name == "openvino":
                precision = (
                    "bf16, which this processor has"
                    if native_bf16()
                    else "float32: this processor has no bf16"
                )
        except BifocalError as error:
            reports.append(BackendReport(name, precision, error=str(error)))
        else:
            reports.append(BackendReport(name, precision, float(off.mean()), int(off.max())))
    return reports


def versions() -> list[str]:
    """One line for each thing that could matter: releases, Python, the machine, the engines."""
    names = ("numpy", "onnxruntime", "openvino", "constriction", "torch")
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    machine = f"{platform.system()} {platform.machine()}, {available_threads()} processors"
    return [
        f"bifocal {__version__}, python {platform.python_version()} on {machine}",
        *(f"{name} {_version(name)}" for name in names),
        f"BLAS of numpy: {blas.get('name')} {blas.get('version')}",
    ]


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def named_engine(name: str, folder: Path, threads: int) -> ExactEngine:
    """The engine that a :class:`EngineCheck` names, except torch's, which lives above this room.

    :raises OptionError: if there is none.
    """
    if name == OnnxEngine.name:
        return OnnxEngine(folder, threads=threads)
    if name == Int8Engine.name:
        return Int8Engine(folder, threads=threads)
    for kind in get_args(Kind):
        if name == f"numpy-{kind}":
            return NumpyEngine(kind)
    raise OptionError(
        f"there is no exact engine '{name}'. Choose onnxruntime, onnxruntime-int8 or a numpy kind."
    )


def _hash_streams(model: EntropyModel, engine: ExactEngine, size: tuple[int, int]) -> str:
    digest = hashlib.sha256()
    y, z = made_latents(model, *size)
    for quality in QUALITIES:
        data, latents = encode_latents(
            y,
            z,
            width=size[0],
            height=size[1],
            gray=False,
            quality=quality,
            tile=2048,
            model=model,
            engine=engine,
        )
        decoded = unpack(data, model, engine)
        if decoded != latents or pack(decoded, model, engine) != data:
            raise BifocalError(
                f"{engine.name} decodes its own stream to something else at quality {quality}. Report this."
            )
        digest.update(data)
        digest.update(latents.y.astype("<i4").tobytes())
    return digest.hexdigest()


def made_latents(
    model: EntropyModel, width: int, height: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Latents made by integer arithmetic for a picture of a size: the same on every machine.

    Peaked at zero like real ones, from quiet channels to loud ones, y in steps of 1/16.
    """
    plan = model.plan
    h, w = (-(-side // plan.z_stride) * plan.z_stride for side in (height, width))
    y = _noise((plan.y_channels, h // plan.y_stride, w // plan.y_stride), seed=1)
    loudness = 1 << (np.arange(plan.y_channels) % 6)
    z = _noise((plan.z_channels, h // plan.z_stride, w // plan.z_stride), seed=2)
    return (y * loudness[:, None, None] / 256).astype(np.float32), (z >> 4).astype(np.float32)


def _noise(shape: tuple[int, int, int], seed: int) -> NDArray[np.int64]:
    """Integers within ±126, bell-shaped, from a linear congruential generator written out here."""
    count = int(np.prod(shape))
    state = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    state ^= state >> np.uint64(30)  # the mixing of SplitMix64 (Steele, Lea and Flood, 2014)
    state *= np.uint64(0xBF58476D1CE4E5B9)
    state ^= state >> np.uint64(27)
    state *= np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    parts = [(state >> np.uint64(8 * k) & np.uint64(63)).astype(np.int64) for k in range(4)]
    return (sum(parts[1:], parts[0]) - 126).reshape(shape)
