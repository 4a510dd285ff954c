"""Exact networks on ONNX Runtime: the same integers as :class:`bifocal.stream.exact.NumpyBackend`.

The graph comes from the packed model (:func:`bifocal.learn.packing.lowfirst_graphs.exact_graph` wrote it, as
unfold and 1×1 products, so that no engine can choose Winograd or an FFT), its weights from the network
itself, proved when it was loaded.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import ModelError
from bifocal.runtime.engines.sessions import open_session
from bifocal.stream.exact import ExactNet, bands

if TYPE_CHECKING:
    import onnxruntime


#: Places of the input map that run at once: the unfolded maps of a large tile would otherwise take hundreds
#: of MiB, and twice the time. A 768×512 picture is one band.
BAND = 1536


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
        feeds = {
            f"bias.{number}": layer.bias_row(quality).astype(np.float32).reshape(1, -1, 1, 1)
            for number, layer in enumerate(net.layers)
        }
        _, h, w = x.shape
        out = np.empty((net.outputs, h * net.scale, w * net.scale), np.int32)
        for needed, given, inner in bands(net, h, w, BAND):
            # beyond 2^24 a float32 may round, but never back below the clip at the head of the graph
            feeds["x"] = x[None, :, needed].astype(np.float32)
            out[:, given] = session.run(["y"], feeds)[0][0][:, inner]
        for number in range(len(net.layers)):
            self.layers_run[f"{net.name}.{number}"] += 1
        return out

    def _open(self, net: ExactNet) -> onnxruntime.InferenceSession:
        path = self._folder / graph_file(net.name)
        session = open_session(path, graph_weights(net), threads=self._threads)
        inputs = ["x", *(f"bias.{number}" for number in range(len(net.layers)))]
        if [i.name for i in session.get_inputs()] != inputs:
            raise ModelError(
                f"{path} is not the graph of a network of {len(net.layers)} layers. Pack the model again."
            )
        return session


def graph_file(net: str) -> str:
    """The file of an exact network's graph in a packed model.

    >>> graph_file("predict.0")
    'exact-predict.0.onnx'
    """
    return f"exact-{net}.onnx"


def graph_weights(net: ExactNet) -> dict[str, NDArray[np.float32]]:
    """The external initialisers of a network's graph, all float32.

    For layer L ``exact.NET.L.matrix``, the weights ``[o, k·k·i, 1, 1]`` in the order that the graph unfolds
    in, and ``exact.NET.L.scale``, 2^-shift ``[1, o, 1, 1]``. The bias of a quality is an input of the graph.
    """
    weights: dict[str, NDArray[np.float32]] = {}
    for number, layer in enumerate(net.layers):
        rows, name = len(layer.weight), f"exact.{net.name}.{number}"
        unfolded = layer.weight.transpose(0, 2, 3, 1).reshape(rows, -1, 1, 1)
        weights[f"{name}.matrix"] = np.ascontiguousarray(unfolded, dtype=np.float32)
        weights[f"{name}.scale"] = np.ldexp(1.0, -layer.shift).astype(np.float32).reshape(1, -1, 1, 1)
    return weights
