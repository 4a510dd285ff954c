"""One engine in one process, for exactness.py: decode streams and count those with the same latents.

Started as ``python -m benchmarks.exactness_worker STREAMS MODEL SETUP``. STREAMS is the folder that
exactness.py filled, SETUP a JSON object with the fields of :class:`Setup`. The last line of output is a JSON
object.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import bifocal
from bifocal.measure import MeasureError
from bifocal.runtime.engines.exact_int8 import Int8Engine
from bifocal.runtime.engines.onnxruntime import OnnxEngine
from bifocal.stream import container
from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.exact import ExactEngine, NumpyEngine
from bifocal.stream.latents import pack, unpack
from bifocal.types import Latents


@dataclass(frozen=True)
class Setup:
    """One engine with its threads and kernels, and the sets of streams that it decodes.

    ``engine`` is ``numpy-float32``, ``numpy-int64``, ``onnxruntime``, ``onnxruntime-int8``, ``torch-cpu`` or
    ``torch-cuda``; ``core`` an OpenBLAS core type, empty for the machine's own; ``seed`` permutes the order
    of summation. ``sets`` names folders of streams.
    """

    engine: str
    threads: int
    sets: tuple[str, ...]
    core: str = ""
    seed: int | None = None

    @staticmethod
    def parse(text: str) -> Setup:
        """A setup from the JSON of its fields."""
        fields = json.loads(text)
        return Setup(**{**fields, "sets": tuple(fields["sets"])})


def digest(latents: Latents) -> str:
    """SHA-256 of z then y as little-endian int32."""
    bytes_of = latents.z.astype("<i4").tobytes() + latents.y.astype("<i4").tobytes()
    return hashlib.sha256(bytes_of).hexdigest()


def make_backend(setup: Setup, folder: Path) -> ExactEngine:
    """The engine of a setup. Threads of NumPy are set by the environment, those of others here."""
    if setup.engine == OnnxEngine.name:
        return OnnxEngine(folder, threads=setup.threads)
    if setup.engine == Int8Engine.name:
        return Int8Engine(folder, threads=setup.threads)
    if setup.engine.startswith("torch-"):
        import torch

        from bifocal.learn.nets.entropy.exact import TorchEngine

        torch.set_num_threads(setup.threads)
        return TorchEngine(setup.engine.removeprefix("torch-"))
    if setup.engine in ("numpy-float32", "numpy-int64"):
        kind = setup.engine.removeprefix("numpy-")
        return NumpyEngine(kind, shuffle_seed=setup.seed)  # type: ignore[arg-type]
    raise MeasureError(f"There is no engine called {setup.engine!r}.")


def blas() -> tuple[str, int]:
    """Kernels and threads that NumPy's OpenBLAS really uses; ('unknown', 0) where they cannot be asked."""
    for path in sorted((Path(np.__file__).parents[1] / "numpy.libs").glob("*openblas*")):
        library = ctypes.CDLL(str(path))
        for prefix, suffix in (("scipy_", "64_"), ("", "64_"), ("scipy_", ""), ("", "")):
            core = getattr(library, f"{prefix}openblas_get_corename{suffix}", None)
            threads = getattr(library, f"{prefix}openblas_get_num_threads{suffix}", None)
            if core is not None and threads is not None:
                core.restype = ctypes.c_char_p
                return core().decode(), int(threads())
    return "unknown", 0


def run_exact(setup: Setup, folder: Path, model: EntropyModel, streams: Path) -> dict[str, Any]:
    """Decode every stream and, where a set says so, pack it again; count what is not identical.

    Raises MeasureError when this backend executed an exact layer more or less often than the streams need,
    which would mean that another one computed it.
    """
    backend = make_backend(setup, folder)
    if backend.name != setup.engine:
        raise MeasureError(f"{setup} asked for {setup.engine} and got {backend.name}.")
    counts, passes = Counter[str](), 0
    for name in setup.sets:
        index = json.loads((streams / name / "index.json").read_text("utf-8"))
        for file, expected in index["digests"].items():
            data = (streams / name / file).read_bytes()
            counts["streams"] += 1
            passes += 1
            try:
                latents = unpack(data, model, backend)
            except bifocal.BifocalError as fault:
                print(f"{name}/{file}: {fault}", file=sys.stderr)
                continue
            counts["identical"] += digest(latents) == expected
            if index["pack"]:
                passes += 1
                counts["packed"] += 1
                chunks = container.read(data).metadata
                counts["packed_identical"] += pack(latents, model, backend, chunks) == data
    for net in (model.hyper, *model.predictors):
        for number in range(len(net.layers)):
            ran = backend.layers_run[f"{net.name}.{number}"]
            if ran != passes:
                raise MeasureError(
                    f"{backend.name} ran {net.name}.{number} {ran} times, not {passes}: another engine "
                    "computed it. Look at what chooses the backend."
                )
    return {**counts, "layers_run": backend.layers_run.total()}


def main() -> None:
    streams, folder = Path(sys.argv[1]), Path(sys.argv[2])
    result = run_exact(Setup.parse(sys.argv[3]), folder, EntropyModel.load(folder), streams)
    result["blas_core"], result["blas_threads"] = blas()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
