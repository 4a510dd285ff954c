"""Does one call of a float network for several equal tiles take less time than a call for each?

    python -m studies.tile_batches.run [--sides 64 128 256 512] [--rounds 5] [--docs]

The batch dimension of analysis and synthesis is made free; calls for 1, 2, 4 and 8 tiles take turns. Times
are of the processor, the best of the rounds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from safetensors.numpy import load_file

from benchmarks import reporting
from bifocal.measure.tables import markdown
from bifocal.runtime.engines.onnxruntime import open_session
from bifocal.runtime.model import DEFAULT_MODEL, model_folder

#: Networks with the channels and the stride of their input.
NETWORKS = (("analysis", 3, 1), ("synthesis", 256, 16))
TILES = 8


def sessions_of(folder: Path, name: str) -> tuple[dict[int, Any], str, str]:
    """Sessions of a network by threads, with a free batch dimension, and the names of input and output."""
    graph = onnx.load(str(folder / f"{name}.onnx"), load_external_data=False)
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    tensors = load_file(folder / "weights.safetensors")
    weights = {key: value.astype(np.float32) for key, value in tensors.items() if key.startswith(f"{name}.")}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, f"{name}.onnx")
        path.write_bytes(graph.SerializeToString())
        sessions = {threads: open_session(path, weights, threads=threads) for threads in (1, 2)}
    (feed,), (out,) = ([v.name for v in values] for values in (graph.graph.input, graph.graph.output))
    return sessions, feed, out


def time_calls(session: Any, feed: str, out: str, data: np.ndarray, rounds: int) -> dict[str, Any]:
    """Milliseconds a tile for calls of 1, 2, 4 and 8, and whether all give the same bits."""

    def run(size: int) -> np.ndarray:
        parts = [session.run([out], {feed: data[k : k + size]})[0] for k in range(0, TILES, size)]
        return np.concatenate(parts)

    single, equal = run(1), True
    times: dict[int, list[float]] = {}
    for _ in range(rounds):
        for size in (1, 2, 4, 8):
            begun = time.process_time()
            made = run(size)
            times.setdefault(size, []).append(time.process_time() - begun)
            equal &= np.array_equal(made, single)
    per_tile = {f"ms/tile, {size} a call": round(1000 / TILES * min(t), 2) for size, t in times.items()}
    return {"same bits": equal, **per_tile}


def measure(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each network, side and number of threads."""
    rng, rows = np.random.default_rng(0), []
    for name, channels, stride in NETWORKS:
        sessions, feed, out = sessions_of(model_folder(chosen.model), name)
        for side in chosen.sides:
            shape = (TILES, channels, side // stride, side // stride)
            data = rng.uniform(0, 255, shape) if stride == 1 else rng.normal(0, 3, shape)
            data = np.ascontiguousarray(data, np.float32)
            for threads, session in sessions.items():
                row = {"network": name, "side": side, "threads": threads}
                rows.append(row | time_calls(session, feed, out, data, chosen.rounds))
                print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = reporting.parser(__doc__, Path(__file__).parent)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    chosen = parser.parse_args()
    rows = measure(chosen)
    text = markdown(list(rows[0]), [list(map(str, row.values())) for row in rows])
    result = {"clock": "processor time, best of rounds", "rows": rows}
    reporting.publish(chosen, "tile-batches", text, result)


if __name__ == "__main__":
    reporting.run(main)
