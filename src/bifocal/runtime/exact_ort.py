"""Exact networks on ONNX Runtime: the same integers as :class:`bifocal.stream.exact.NumpyBackend`.

The graph comes from the packed model, its weights from the network itself, which was proved when it was loaded.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import ModelError
from bifocal.runtime.session import open_session
from bifocal.stream.exact import ExactNet

if TYPE_CHECKING:
    import onnxruntime


class OrtBackend:
    """Runs exact networks from the graphs of the packed model in ``folder``; sessions are made on first use.

    See :class:`bifocal.stream.exact.Backend` for ``name`` and ``layers_run``.
    """

    name = "onnxruntime"

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        self.layers_run: Counter[str] = Counter()
        self._folder, self._threads = folder, threads
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}

    def __call__(self, net: ExactNet, x: NDArray[np.int32], quality: int) -> NDArray[np.int32]:
        session = self._sessions.get(net.name)
        if session is None:
            session = self._sessions[net.name] = self._open(net)
        # beyond 2^24 a float32 may round, but never back below the clip at the head of the graph
        feeds = {"x": x[None].astype(np.float32)}
        for number, layer in enumerate(net.layers):
            feeds[f"bias.{number}"] = layer.bias_row(quality).astype(np.float32).reshape(1, -1, 1, 1)
        y: NDArray[np.float32] = session.run(["y"], feeds)[0]
        for number in range(len(net.layers)):
            self.layers_run[f"{net.name}.{number}"] += 1
        return y[0].astype(np.int32)

    def _open(self, net: ExactNet) -> onnxruntime.InferenceSession:
        path = self._folder / graph_file(net.name)
        session = open_session(path, graph_weights(net), threads=self._threads)
        inputs = ["x", *(f"bias.{number}" for number in range(len(net.layers)))]
        if [i.name for i in session.get_inputs()] != inputs:
            raise ModelError(f"{path} is not the graph of a network of {len(net.layers)} layers. Pack the model again.")
        return session


def graph_file(net: str) -> str:
    """The file of an exact network's graph in a packed model.

    >>> graph_file("predict.0")
    'exact-predict-0.onnx'
    """
    return f"exact-{net.replace('.', '-')}.onnx"


def graph_weights(net: ExactNet) -> dict[str, NDArray[np.float32]]:
    """The external initialisers of a network's graph: integers in float32, in the order that the graph unfolds in."""
    weights = {f"exact.{net.name}.input_max": net.input_max.astype(np.float32).reshape(1, -1, 1, 1)}
    for number, layer in enumerate(net.layers):
        rows = len(layer.weight)
        unfolded = layer.weight.transpose(0, 2, 3, 1).reshape(rows, -1, 1, 1)
        weights[f"exact.{net.name}.{number}.weight"] = np.ascontiguousarray(unfolded, dtype=np.float32)
        scale = np.ldexp(1.0, -layer.shift).astype(np.float32).reshape(1, -1, 1, 1)
        weights[f"exact.{net.name}.{number}.scale"] = scale
    return weights
