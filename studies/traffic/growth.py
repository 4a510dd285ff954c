"""How do time and memory of ``measure`` grow with pixels?

A tiny network (two convolutions at half the size, depth to space) reads pictures of 0.75 to 12 megapixels,
made by code, seed 0. Every size runs in a process of its own, with all coders that are installed. Coders are
compiled before, on a small picture. Memory is the peak of the whole process.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks import reporting
from bifocal.hardware.cost.coders import available_coders
from bifocal.hardware.cost.graph import Graph, load_graph
from bifocal.hardware.cost.measure import measure
from bifocal.measure import MeasureError
from bifocal.measure.plot import Axes, plot_svg
from bifocal.measure.tables import markdown

HERE = Path(__file__).parent
#: Height and width.
SIZES = ((750, 1000), (1060, 1416), (1500, 2000), (2120, 2832), (3000, 4000))


def tiny() -> Graph:
    """``[1, 3, h, w]`` to ``[1, 3, h, w]``, with 8 and 4 channels at half the size on the way."""
    node = helper.make_node
    random = np.random.default_rng(0)
    shapes = {"a": (8, 3, 3, 3), "b": (4, 8, 3, 3), "c": (12, 4, 1, 1)}
    weights = [
        numpy_helper.from_array(random.normal(0, 0.3, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        node("Conv", ["x", "a"], ["first"], pads=[1] * 4, strides=[2, 2]),
        node("Relu", ["first"], ["act"]),
        node("Conv", ["act", "b"], ["second"], pads=[1] * 4),
        node("Conv", ["second", "c"], ["packed"]),
        node("DepthToSpace", ["packed"], ["y"], blocksize=2),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, "h", "w"])
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "tiny", [given], [made], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return load_graph(model.SerializeToString(), name="tiny")


def picture(height: int, width: int) -> NDArray[np.float32]:
    """Smooth waves with noise, ``[1, 3, h, w]``, 0 to 1."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    waves = np.stack([np.sin(x / 97 + c) * np.cos(y / 61 - c) for c in range(3)])
    noise = np.random.default_rng(0).normal(0, 0.05, waves.shape).astype(np.float32)
    return (0.5 + 0.4 * waves + noise)[None].clip(0, 1).astype(np.float32)


def measured(height: int, width: int) -> dict[str, float]:
    """Processor seconds of one ``measure``, and the peak of this process so far in MiB."""
    graph = tiny()
    measure(graph, {"x": picture(64, 64)}, threads=1)
    x = picture(height, width)
    began = time.process_time()
    measure(graph, {"x": x}, threads=1)
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"megapixels": height * width / 1e6, "processor_seconds": seconds, "peak_mib": peak / 2**20}


def growth(rows: list[dict[str, float]], what: str) -> float:
    """The power of pixels with which a figure grows: 1 is linear."""
    x, y = (np.log([row[key] for row in rows]) for key in ("megapixels", what))
    return float(np.polyfit(x, y, 1)[0])


def table(result: dict[str, Any]) -> str:
    """A row a size, and how fast they grow."""
    rows = result["rows"]
    cells = [
        [
            f"{row['megapixels']:.2f}",
            f"{row['processor_seconds']:.2f}",
            f"{row['processor_seconds'] / row['megapixels']:.2f}",
            f"{row['peak_mib']:.0f}",
        ]
        for row in rows
    ]
    extra = (rows[-1]["peak_mib"] - rows[0]["peak_mib"]) / (rows[-1]["megapixels"] - rows[0]["megapixels"])
    return (
        markdown(["megapixels", "processor seconds", "seconds a megapixel", "peak memory MiB"], cells)
        + f"\n\nTime grows with the {growth(rows, 'processor_seconds'):.2f}th power of pixels. "
        f"Memory grows by {extra:.0f} MiB a megapixel. Coders: {', '.join(result['coders'])}; "
        f"{result['machine']}."
    )


def plot(rows: list[dict[str, float]]) -> str:
    """Time and memory, each as a share of the largest size's: linear growth is a straight line."""
    lines = {
        name: [(row["megapixels"], row[key] / rows[-1][key]) for row in rows]
        for name, key in (("processor time", "processor_seconds"), ("peak memory", "peak_mib"))
    }
    axes = Axes("megapixels", "share of that at the largest size", (0.0, rows[-1]["megapixels"]), (0.0, 1.0))
    return plot_svg(lines, title="measure on a tiny network, all coders", axes=axes)


def main() -> None:
    parser = reporting.parser(__doc__ or "", HERE)
    parser.add_argument("--one", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(*given.one)))
        return
    rows = []
    for height, width in SIZES:
        command = [sys.executable, "-m", "studies.traffic.growth", "--one", str(height), str(width)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise MeasureError(f"{height}×{width} failed. What it printed above says why.")
        rows.append(json.loads(done.stdout))
        print(rows[-1], flush=True)
    coders = [coder.name for coder in available_coders()]
    result = {"rows": rows, "coders": coders, "machine": reporting.machine()}
    reporting.write_text(given.out / "growth.svg", plot(rows))
    reporting.publish(given, "traffic growth", table(result), result, file="growth")


if __name__ == "__main__":
    reporting.run(main)
