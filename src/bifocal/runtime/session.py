"""ONNX Runtime sessions whose weights are handed over in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from bifocal.errors import ModelError

if TYPE_CHECKING:
    import onnxruntime


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
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or available_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # arenas keep what they once took, and there are nine: without, four megapixels take a third of the memory
    options.enable_cpu_mem_arena = False
    # a model has nine sessions: idle threads of one must not keep the processors from the next
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    values = [ort.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
    options.add_external_initializers(list(weights), values)
    try:
        graph = path.read_bytes()
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except FileNotFoundError as error:
        raise ModelError(
            f"{path.name} is missing from the model in {path.parent}. Install or pack it again."
        ) from error
    except Exception as error:  # ONNX Runtime raises its own kinds, none of which it exports as a tree
        raise ModelError(
            f"ONNX Runtime cannot load {path}: {error}. Install or pack the model again."
        ) from error
