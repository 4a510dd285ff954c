"""One engine in one process, for exactness.py: decode streams, say whether the latents are the same.

Started as ``python benchmarks/exactness_worker.py STREAMS MODEL TRIAL``. STREAMS is the folder that
exactness.py filled, TRIAL a JSON object with the fields of :class:`Trial`. The last line of output is a JSON
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
from decoding import Recorder
from float_twin import Convolve, numpy_convolve, run_twin, torch_convolve
from numpy.typing import NDArray

import bifocal
from bifocal.runtime.engines.exact_onnxruntime import OrtBackend
from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.exact import Backend, NumpyBackend
from bifocal.stream.latents import pack, unpack
from bifocal.stream.plan import group_mask
from bifocal.types import Latents


@dataclass(frozen=True)
class Trial:
    """One engine in one surrounding, on some sets of streams.

    ``engine`` is ``numpy-float32``, ``numpy-int64``, ``onnxruntime``, ``torch-cpu``, ``torch-cuda``,
    ``twin-numpy`` or ``twin-torch``; ``core`` an OpenBLAS core type, empty for the machine's own; ``seed``
    permutes the order of summation. ``sets`` names folders of streams.
    """

    engine: str
    threads: int
    sets: tuple[str, ...]
    core: str = ""
    seed: int | None = None


def digest(latents: Latents) -> str:
    """SHA-256 of z then y as little-endian int32."""
    bytes_of = latents.z.astype("<i4").tobytes() + latents.y.astype("<i4").tobytes()
    return hashlib.sha256(bytes_of).hexdigest()


def make_backend(trial: Trial, folder: Path) -> Backend:
    """The engine of a trial, with its threads set where the engine is told rather than the environment."""
    if trial.engine == "onnxruntime":
        return OrtBackend(folder, threads=trial.threads)
    if trial.engine.startswith("torch-"):
        import torch

        from bifocal.learn.nets.entropy.exact import TorchBackend

        torch.set_num_threads(trial.threads)
        return TorchBackend(trial.engine.removeprefix("torch-"))
    if trial.engine in ("numpy-float32", "numpy-int64"):
        kind = trial.engine.removeprefix("numpy-")
        return NumpyBackend(kind, shuffle_seed=trial.seed)  # type: ignore[arg-type]
    raise ValueError(f"there is no engine {trial.engine!r}")


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


def run_exact(trial: Trial, folder: Path, model: EntropyModel, streams: Path) -> dict[str, Any]:
    """Decode every stream and, where a set says so, pack it again; count what is not identical.

    Raises RuntimeError when an exact layer was executed more or less often by this very backend than the
    streams ask for, which would mean that something else computed.
    """
    backend = make_backend(trial, folder)
    if backend.name != trial.engine:
        raise RuntimeError(f"asked for {trial.engine}, got {backend.name}")
    counts, passes = Counter[str](), 0
    for name in trial.sets:
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
                counts["packed_identical"] += pack(latents, model, backend) == data
    for net in (model.hyper, *model.predictors):
        for number in range(len(net.layers)):
            ran = backend.layers_run[f"{net.name}.{number}"]
            if ran != passes:
                raise RuntimeError(f"{backend.name} ran {net.name}.{number} {ran} times, not {passes}")
    return {**counts, "layers_run": backend.layers_run.total()}


def run_float_twin(trial: Trial, model: EntropyModel, streams: Path, out: Path) -> dict[str, Any]:
    """Write what the twin predicts at every symbol of every stream: table index and mean, rounded."""
    convolve: Convolve = numpy_convolve(trial.seed)
    if trial.engine == "twin-torch":
        import torch

        torch.set_num_threads(trial.threads)
        convolve = torch_convolve()
    out.mkdir()
    number = 0
    for name in trial.sets:
        index = json.loads((streams / name / "index.json").read_text("utf-8"))
        for file in index["digests"]:
            recorder = Recorder(NumpyBackend("float32"))
            latents = unpack((streams / name / file).read_bytes(), model, recorder)
            np.save(out / f"{number:05d}.npy", _twin_choices(model, recorder, latents.quality, convolve))
            number += 1
    return {"streams": number}


def _twin_choices(
    model: EntropyModel, recorder: Recorder, quality: int, convolve: Convolve
) -> NDArray[np.int32]:
    """Rounded index and mean of every symbol, ``[2, n]``, from the exact decoder's inputs."""
    features = np.zeros((0, 1, 1), np.float32)
    parts = []
    for net, x, _ in recorder.calls:
        if net.name == "hyper":
            features = run_twin(net, x.astype(np.float32), quality, convolve)
            continue
        inputs = x.astype(np.float32)
        inputs[: len(features)] = features
        out = np.floor(run_twin(net, inputs, quality, convolve) + 0.5).astype(np.int32)
        group = model.plan.groups[int(net.name.removeprefix("predict."))]
        where = group_mask(group, *out.shape[1:])
        index = np.clip(out[group.channels :], 0, model.tables.count - 1)[where]
        parts.append(np.stack([index, out[: group.channels][where]]))
    return np.concatenate(parts, axis=1)


def main() -> None:
    streams, folder = Path(sys.argv[1]), Path(sys.argv[2])
    fields = json.loads(sys.argv[3])
    trial = Trial(**{**fields, "sets": tuple(fields["sets"])})
    model = EntropyModel.load(folder)
    if trial.engine.startswith("twin-"):
        result = run_float_twin(trial, model, streams, Path(sys.argv[4]))
    else:
        result = run_exact(trial, folder, model, streams)
    result["blas_core"], result["blas_threads"] = blas()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
