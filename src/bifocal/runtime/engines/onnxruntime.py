"""ONNX Runtime: sessions whose weights are handed over in memory, and exact networks on them.

Exact networks give the same integers here as on :class:`bifocal.stream.exact.NumpyEngine`. Their graphs come
from the packed model (:func:`bifocal.learn.packing.exact_graphs.exact_graph` wrote them, as unfold and 1×1
products, so that no engine can choose Winograd or an FFT), their weights from the network itself, proved when
it was loaded.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import ModelError
from bifocal.stream.exact import ExactNet, bands

if TYPE_CHECKING:
    import onnxruntime

#: The name of this engine where one is chosen: it runs everything unless another is asked for, and always
#: what decides a stream. In float32.
REFERENCE = "onnxruntime"

#: Bytes that the sessions of all untrusted graphs together may hold.
MEMORY = 512 << 20

#: Positions of the input map that run at once: the unfolded maps of a large tile would otherwise take
#: hundreds of MiB, and twice the time. A 768×512 picture is one band.
BAND = 1536


class FloatNetwork(Protocol):
    """A float network, ready to run."""

    def run(self, outputs: list[str], feeds: dict[str, NDArray[np.float32]], /) -> list[NDArray[np.float32]]:
        """The named outputs for the named inputs."""


def available_threads() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def open_session(
    path: Path, weights: Mapping[str, NDArray[Any]], *, threads: int | None = None
) -> onnxruntime.InferenceSession:
    """A session for the graph in ``path`` with ``weights`` for its external initialisers.

    :param threads: how many threads one operator may use; every available processor by default.
    :raises ModelError: if the file is missing, no graph, or does not fit the weights.
    """
    try:
        return open_graph(path.read_bytes(), str(path), weights, threads=threads)
    except FileNotFoundError as error:
        raise ModelError(
            f"{path.name} is missing from the model in {path.parent}. Install or pack it again."
        ) from error


def open_graph(
    graph: bytes,
    name: str,
    weights: Mapping[str, NDArray[Any]] = MappingProxyType({}),
    *,
    threads: int | None = None,
) -> onnxruntime.InferenceSession:
    """A session for a graph of a model, called ``name`` in errors; otherwise as :func:`open_session`."""
    options = _options(weights, threads)
    # arenas keep what they once took, and there are nine: without, four megapixels take a third of the memory
    options.enable_cpu_mem_arena = False
    try:
        return _session(graph, options)
    except Exception as error:  # ONNX Runtime raises its own kinds, none of which it exports as a tree
        raise ModelError(
            f"ONNX Runtime cannot load {name}: {error}. Install or pack the model again."
        ) from error


def open_capped(
    graph: bytes, weights: Mapping[str, NDArray[Any]], *, threads: int | None = None
) -> onnxruntime.InferenceSession:
    """A session for an untrusted ``graph``: all such sessions together never hold more than ``MEMORY``.

    Beyond it a run fails. Constants are not folded: that happens outside of any such bound, and a graph of a
    hundred bytes can ask for gigabytes.

    :raises ModelError: if ONNX Runtime does not take the graph.
    """
    _share_capped_memory()
    options = _options(weights, threads)
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.log_severity_level = 4  # what is wrong comes as an exception, too
    try:
        return _session(graph, options, disabled_optimizers=["ConstantFolding"], enable_fallback=0)
    except Exception as error:  # ONNX Runtime raises its own kinds, none of which it exports as a tree
        raise ModelError(f"ONNX Runtime refuses a graph: {error}") from error


def _options(weights: Mapping[str, NDArray[Any]], threads: int | None) -> onnxruntime.SessionOptions:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or available_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # a model has nine sessions: idle threads of one must not keep the processors from the next
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    values = [ort.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
    options.add_external_initializers(list(weights), values)
    return options


def _session(
    graph: bytes, options: onnxruntime.SessionOptions, **settings: Any
) -> onnxruntime.InferenceSession:
    import onnxruntime as ort

    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"], **settings)


@lru_cache(maxsize=1)
def _share_capped_memory() -> None:
    import onnxruntime as ort

    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    grow_as_asked, default = 1, -1
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg(MEMORY, grow_as_asked, default, default))


class OnnxEngine:
    """Runs exact networks from the graphs of the packed model in ``folder``; sessions are made on first use.

    See :class:`bifocal.stream.exact.ExactEngine` for ``name`` and ``layers_run``.
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
