"""Which engine runs a float network: the reference, or for decoding the one that the caller asks for.

The networks right of the waist may run anywhere: they read latents that are there already. What decides a
stream (analysis, hyper-analysis, the search of the encoder) always runs on the reference, so that the same
picture gives the same bytes whatever is asked for or installed. The exact networks are not here: they never
leave their own engines (:mod:`bifocal.runtime.engines.onnxruntime`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import ModelError, OptionError
from bifocal.runtime.engines.float_openvino import OpenVinoNetwork, native_bf16, need_openvino
from bifocal.runtime.engines.onnx_wiring import missing_weights
from bifocal.runtime.engines.onnxruntime import REFERENCE, FloatNetwork, open_session

#: What may be asked for, and what it is.
BACKENDS: dict[str, str] = {
    "onnxruntime": "float32; the reference",
    "onnxruntime-int8": "8-bit products in the full-size synthesis, float32 elsewhere",
    "openvino": "bf16 where the processor has it, float32 elsewhere",
    "openvino-f32": "float32",
    "openvino-bf16": "bf16, refused where the processor has none",
    "openvino-int8": "8-bit products in the full-size synthesis, float32 elsewhere",
}

#: The networks that only pixels depend on.
PIXEL_NETWORKS = frozenset({"synthesis", "half", "thumb"})

#: Weights of int8 graphs keep to 7 bits: on processors without VNNI, pairs of products with unsigned bytes
#: are added in 16 bits, and 2·255·63 still fits.
INT8_LARGEST = 63


def check_backend(name: str) -> str:
    """``name``, if it is one of ``BACKENDS`` and its engine is installed.

    :raises OptionError: if it is not.

    >>> check_backend("onnxruntime")
    'onnxruntime'
    """
    if not isinstance(name, str) or name not in BACKENDS:
        raise OptionError(f"there is no backend {name!r}. Choose one of {', '.join(BACKENDS)}.")
    if name.startswith("openvino"):
        need_openvino()
    return name


def open_network(
    name: str,
    path: Path,
    weights: Mapping[str, NDArray[np.float32]],
    *,
    threads: int | None = None,
    backend: str = REFERENCE,
) -> FloatNetwork:
    """The float network ``name``, whose graph is in ``path``, on ``backend`` if pixels alone depend on it.

    :param threads: processors that it may use; all by default.
    :raises OptionError: if there is no such backend here.
    :raises ModelError: if the graph is missing or damaged, or the model has no int8 graph.
    """
    engine, _, precision = check_backend(backend if name in PIXEL_NETWORKS else REFERENCE).partition("-")
    given: Mapping[str, NDArray[Any]] = weights
    if precision == "int8" and name == "synthesis":
        path = path.with_name(int8_file(name))
        given = quantised(weights, missing_weights(_read(path)))
    if engine == "onnxruntime":
        session: FloatNetwork = open_session(path, given, threads=threads)
        return session
    kind: Literal["f32", "bf16"] = "f32"
    if precision == "bf16" or (not precision and native_bf16()):
        kind = "bf16"
    return OpenVinoNetwork(_read(path), given, threads=threads, precision=kind)


def int8_file(name: str) -> str:
    """The file of a network's int8 graph in a packed model.

    >>> int8_file("synthesis")
    'synthesis-int8.onnx'
    """
    return f"{name}-int8.onnx"


def quantised(
    weights: Mapping[str, NDArray[np.float32]], wanted: Mapping[str, tuple[int, ...]]
) -> dict[str, NDArray[Any]]:
    """The weights that an int8 graph asks for: ``W.int8`` and ``W.scale``, a scale a row, come from ``W``.

    >>> made = quantised({"w": np.array([[1.0, -0.4]], np.float32)}, {"w.int8": (1, 2), "w.scale": (1,)})
    >>> made["w.int8"]
    array([[ 63, -25]], dtype=int8)
    """
    made: dict[str, NDArray[Any]] = {}
    for name in wanted:
        source, _, kind = name.rpartition(".")
        if name in weights:
            made[name] = weights[name]
        elif source in weights and kind in ("int8", "scale"):
            rows = weights[source].reshape(len(weights[source]), -1)
            scale = np.maximum(np.abs(rows).max(axis=1), np.float32(1e-20)) / np.float32(INT8_LARGEST)
            value = np.rint(rows / scale[:, None]).reshape(weights[source].shape)
            made[name] = scale if kind == "scale" else value.astype(np.int8)
    return made


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        if path.name == int8_file("synthesis"):
            raise ModelError(
                f"the model in {path.parent} was packed without an int8 network. Take another backend, or "
                "pack it again with training pictures (bifocal-train pack --data DIR)."
            ) from error
        raise ModelError(
            f"{path.name} is missing from the model in {path.parent}. Install or pack it again."
        ) from error
