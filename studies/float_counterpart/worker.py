"""One engine in one process, for run.py: the tables and means that the float counterpart would have chosen.

Started as ``python -m studies.float_counterpart.worker STREAMS MODEL SETUP OUT``. STREAMS is the folder that
run.py filled, SETUP a JSON object with the fields of :class:`benchmarks.exactness_worker.Setup`, OUT a new
folder for one array a stream. The last line of output is a JSON object.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.decoding import Recorder
from benchmarks.exactness_worker import Setup, blas
from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.exact import NumpyEngine
from bifocal.stream.latents import unpack
from bifocal.stream.plan import group_mask
from studies.float_counterpart.network import Convolve, numpy_convolve, run_float, torch_convolve


def predict(setup: Setup, model: EntropyModel, streams: Path, out: Path) -> dict[str, Any]:
    """Write what the counterpart predicts at every symbol of every stream: table index and mean, rounded."""
    convolve: Convolve = numpy_convolve(setup.seed)
    if setup.engine == "torch":
        import torch

        torch.set_num_threads(setup.threads)
        convolve = torch_convolve()
    out.mkdir()
    number = 0
    for name in setup.sets:
        index = json.loads((streams / name / "index.json").read_text("utf-8"))
        for file in index["digests"]:
            recorder = Recorder(NumpyEngine("float32"))
            latents = unpack((streams / name / file).read_bytes(), model, recorder)
            np.save(out / f"{number:05d}.npy", _choices(model, recorder, latents.quality, convolve))
            number += 1
    return {"streams": number}


def _choices(model: EntropyModel, recorder: Recorder, quality: int, convolve: Convolve) -> NDArray[np.int32]:
    """Rounded index and mean of every symbol, ``[2, n]``, from the exact decoder's inputs."""
    features = np.zeros((0, 1, 1), np.float32)
    parts = []
    for net, x, _ in recorder.calls:
        if net.name == "hyper":
            features = run_float(net, x.astype(np.float32), quality, convolve)
            continue
        inputs = x.astype(np.float32)
        inputs[: len(features)] = features
        out = np.floor(run_float(net, inputs, quality, convolve) + 0.5).astype(np.int32)
        group = model.plan.groups[int(net.name.removeprefix("predict."))]
        where = group_mask(group, *out.shape[1:])
        index = np.clip(out[group.channels :], 0, model.tables.count - 1)[where]
        parts.append(np.stack([index, out[: group.channels][where]]))
    return np.concatenate(parts, axis=1)


def main() -> None:
    streams, folder = Path(sys.argv[1]), Path(sys.argv[2])
    setup = Setup.parse(sys.argv[3])
    result = predict(setup, EntropyModel.load(folder), streams, Path(sys.argv[4]))
    result["blas_core"], result["blas_threads"] = blas()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
