"""ONNX Runtime sessions whose weights are handed over in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from bifocal.errors import ModelError

if TYPE_CHECKING:
    import onnxruntime


#: Bytes that the sessions of all untrusted graphs together may hold.
MEMORY = 512 << 20


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
    options = _options(weights, threads)
    # arenas keep what they once took, and there are nine: without, four megapixels take a third of the memory
    options.enable_cpu_mem_arena = False
    try:
        return _session(path.read_bytes(), options)
    except FileNotFoundError as error:
        raise ModelError(
            f"{path.name} is missing from the model in {path.parent}. Install or pack it again."
        ) from error
    except Exception as error:  # ONNX Runtime raises its own kinds, none of which it exports as a tree
        raise ModelError(
            f"ONNX Runtime cannot load {path}: {error}. Install or pack the model again."
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

    place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    grow_as_asked, default = 1, -1
    ort.create_and_register_allocator(place, ort.OrtArenaCfg(MEMORY, grow_as_asked, default, default))
