"""What a .bfh file holds, read without trusting it: one safetensors file with a head's graphs and weights.

A head is a chain of ONNX graphs over the latents of a stream; docs/head_format.md describes the file byte by
byte. Every size is bounded before anything is taken, nothing is unpickled, and a graph that could do more
than arithmetic is refused (:func:`bifocal.runtime.engines.onnx_wiring.refuse_untrusted`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import HeadError, ModelError, OptionError, reason
from bifocal.runtime.engines.onnx_wiring import missing_weights, refuse_untrusted
from bifocal.runtime.model import MODELS

#: Where the shipped heads are, and how the files of heads are named.
HEADS = MODELS / "heads"
SUFFIX, DETECTOR_SUFFIX = ".bfh", ".bfd"
#: Head of :func:`bifocal.analyse` unless another is asked for.
DEFAULT_HEAD = "imagenette"

FORMAT = 1
#: The kinds of heads that this release runs, and the output that the last graph of each must have. A file
#: that does not say its kind is of the first.
KINDS: Mapping[str, str] = {"classify": "logits", "embed": "embedding", "detect": "boxes"}
#: What detectors see, and how many channels of pixels each has.
MODALITIES: Mapping[str, int] = {"rgb": 3, "ir": 1}
MAX_FILE, MAX_SPEC, MAX_GRAPH, MAX_NODES = 64 << 20, 1 << 20, 8 << 20, 20_000
#: Windows that one run may take, of a head whose graph leaves their number open.
MAX_BATCH = 64
MAX_STAGES, MAX_CLASSES, MAX_NAME, MAX_CHANNELS, MAX_WINDOW, MAX_TOKEN = 16, 10_000, 200, 4096, 128, 64


@dataclass(frozen=True)
class HeadSpec:
    """What a head says of itself.

    It reads the first ``channels`` of y of streams whose entropy model has this ``fingerprint`` (``codec`` is
    only its name), in windows of at most ``window`` positions of y a side, cut at multiples of ``multiple``;
    with a ``grid``, the whole picture instead, pooled to at most so many positions a side
    (:mod:`bifocal.runtime.heads.pooling`), behind them their ``magnitudes`` if it reads those; with ``bits``,
    what each position cost, too. ``reads`` is
    "latents", or "pixels" for the classifier of a comparison. ``stages`` says for each selector whether what
    it prunes leaves a package token behind; tokens are ``token`` pixels a side, positions of y ``stride``.
    ``kind`` is one of ``KINDS``; "embed" has no ``classes``. "detect" has ``modalities`` and says where
    objects are: it reads pixels of them, or the latents of as many planes. ``card`` is free text on data,
    licence and accuracy.
    """

    name: str
    codec: str
    fingerprint: str
    classes: tuple[str, ...]
    channels: int
    window: int
    multiple: int = 1
    bits: bool = False
    reads: str = "latents"
    stages: tuple[bool, ...] = ()
    token: int = 16
    stride: int = 16
    kind: str = "classify"
    grid: int = 0
    magnitudes: bool = False
    modalities: tuple[str, ...] = ()
    card: Mapping[str, Any] = field(default_factory=dict)

    @property
    def inputs(self) -> int:
        """Channels of what its first graph takes."""
        if self.kind == "detect":
            planes = sum(MODALITIES[name] for name in self.modalities)
            return planes if self.reads == "pixels" else self.channels * len(self.modalities)
        return 3 if self.reads == "pixels" else self.channels * (2 if self.magnitudes else 1)


@dataclass(frozen=True)
class HeadFile:
    """A head as it is on disk: spec, one graph for each segment, and the weights that each graph lacks."""

    spec: HeadSpec
    graphs: tuple[bytes, ...]
    weights: tuple[Mapping[str, NDArray[Any]], ...]
    text: str = ""  # its description as it stands in the file: JSON


def head_path(name: str | os.PathLike[str]) -> Path:
    """The file of a head: a shipped name, or a path.

    :raises HeadError: if it is neither.
    :raises OptionError: if it is no path at all.
    """
    if not isinstance(name, str | os.PathLike):
        raise OptionError(f"head is {name!r}; give the name of a shipped head, a {SUFFIX} file, or a Head.")
    if isinstance(name, str) and Path(name).name == name and (HEADS / f"{name}{SUFFIX}").is_file():
        return HEADS / f"{name}{SUFFIX}"
    path = Path(name)
    if path.is_file():
        return path
    known = ", ".join(path.stem for path in shipped_heads()) or "none"
    raise HeadError(
        f"there is no head '{os.fspath(name)}': it is neither a shipped one ({known}) nor a file. `bifocal "
        f"models` lists the shipped ones; `bifocal-train head` makes a {SUFFIX} file from your own pictures."
    )


def shipped_heads() -> list[Path]:
    """The files of all shipped heads, by name.

    >>> all(path.suffix == SUFFIX for path in shipped_heads())
    True
    """
    return sorted(HEADS.glob(f"*{SUFFIX}"))


def read_head(path: Path) -> HeadFile:
    """Read and check a head's file; no graph is run.

    :raises HeadError: if it is no head, damaged, larger than any head may be, or of a format that this
        release does not read.
    """
    tensors, text = _read_tensors(path)
    try:
        spec = read_spec(text)
        segments = len(spec.stages) + 1
        graphs = tuple(_graph(tensors, number) for number in range(segments))
        if f"graph.{segments}" in tensors:
            raise HeadError(f"it has more graphs than the {segments} that its stages ask for")
        return HeadFile(spec, graphs, tuple(_weights(graph, tensors) for graph in graphs), text)
    except ModelError as error:
        raise HeadError(
            f"the head {path} is not usable: {reason(error)}. Fetch it again, or export it again."
        ) from error


def read_card(path: Path) -> HeadSpec:
    """What a head's file says of itself; errors as in :func:`read_head`."""
    return read_head(path).spec


def _read_tensors(path: Path) -> tuple[dict[str, NDArray[Any]], str]:
    from safetensors import safe_open

    try:
        size = path.stat().st_size
        if size > MAX_FILE:
            raise HeadError(f"{path} has {size} bytes, and a head at most {MAX_FILE}. Is it another file?")
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get("bifocal")
            if text is None or len(text) > MAX_SPEC:
                raise HeadError(
                    f"{path} is no head of Bifocal: a {SUFFIX} file describes itself in its metadata. Name "
                    "another file, or export the head again."
                )
            return {key: file.get_tensor(key) for key in file.keys()}, text
    except HeadError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # of safetensors, of its Rust half, or of NumPy about a kind of number
        raise HeadError(
            f"{path} cannot be read as a head ({error}). It is damaged, cut short or another kind of file: "
            "fetch it again."
        ) from error


def read_spec(text: str) -> HeadSpec:
    """The description in a head's metadata, every field of it checked.

    :raises HeadError: if it is no JSON, of another format, or a field is missing or out of range.

    >>> read_spec('{"format": 2}')
    Traceback (most recent call last):
    ...
    bifocal.errors.HeadError: it has format 2, and this release reads 1: update Bifocal
    """
    try:
        spec = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise HeadError(f"its description is no JSON ({error})") from error
    if not isinstance(spec, dict):
        raise HeadError("its description is no JSON object")
    if spec.get("format") != FORMAT:
        raise HeadError(
            f"it has format {_short(spec.get('format'))}, and this release reads 1: update Bifocal"
        )
    kind = spec.get("kind", "classify")
    if not isinstance(kind, str) or kind not in KINDS:
        raise HeadError(f"its kind is {_short(kind)}, and this release runs only {', '.join(KINDS)}")
    stages = _stages(spec.get("stages", []))
    made = HeadSpec(
        name=_text(spec, "name"),
        codec=_text(spec, "codec"),
        fingerprint=_text(spec, "fingerprint"),
        classes=() if kind == "embed" else _classes(spec.get("classes"), 1 if kind == "detect" else 2),
        channels=_number(spec, "channels", 1, MAX_CHANNELS),
        window=_number(spec, "window", 1, MAX_WINDOW),
        multiple=_number({"multiple": 1, **spec}, "multiple", 1, MAX_WINDOW),
        bits=spec.get("bits", False),
        reads=spec.get("reads", "latents"),
        stages=stages,
        token=_number({"token": 16, **spec}, "token", 1, MAX_TOKEN),
        stride=_number({"stride": 16, **spec}, "stride", 1, MAX_TOKEN),
        kind=kind,
        grid=_number({"grid": 0, **spec}, "grid", 0, MAX_WINDOW),
        magnitudes=spec.get("magnitudes", False),
        modalities=_modalities(spec.get("modalities")) if kind == "detect" else (),
        card=spec.get("card", {}),
    )
    _need(len(made.fingerprint) == 16 and set(made.fingerprint) <= set("0123456789abcdef"), "fingerprint")
    _need(made.bits is True or made.bits is False, "bits")
    pixels = made.reads == "pixels"
    _need(made.reads in ("latents", "pixels") and not (made.bits and pixels), "reads")
    _need(made.window % made.multiple == 0, "multiple")
    _need(made.grid <= made.window and not (made.grid and (made.multiple > 1 or pixels)), "grid")
    _need(made.magnitudes is False or (made.magnitudes is True and made.grid > 0), "magnitudes")
    _need(made.token & (made.token - 1) == 0 and made.multiple * made.stride % made.token == 0, "token")
    _need(kind != "detect" or not (made.stages or made.bits or made.grid or made.magnitudes), "stages")
    _need(isinstance(made.card, dict), "card")
    return made


def _need(true: bool, name: str) -> None:
    if not true:
        raise HeadError(f"its '{name}' is missing or out of range")


def _text(spec: Mapping[str, Any], name: str) -> str:
    value = spec.get(name)
    _need(isinstance(value, str) and 0 < len(value) <= MAX_NAME, name)
    return str(value)


def _number(spec: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = spec.get(name)
    if type(value) is not int or not least <= value <= most:
        raise HeadError(f"its '{name}' is {_short(value)}, and must be a whole number of {least} to {most}")
    return value


def _classes(value: Any, least: int) -> tuple[str, ...]:
    _need(isinstance(value, list) and least <= len(value) <= MAX_CLASSES, "classes")
    _need(all(isinstance(name, str) and 0 < len(name) <= MAX_NAME for name in value), "classes")
    _need(len(set(value)) == len(value), "classes")
    return tuple(value)


def _modalities(value: Any) -> tuple[str, ...]:
    _need(isinstance(value, list) and value in (["rgb"], ["ir"], ["rgb", "ir"]), "modalities")
    return tuple(value)


def _stages(value: Any) -> tuple[bool, ...]:
    _need(isinstance(value, list) and len(value) <= MAX_STAGES, "stages")
    _need(
        all(isinstance(stage, dict) and isinstance(stage.get("package"), bool) for stage in value), "stages"
    )
    return tuple(stage["package"] for stage in value)


def _graph(tensors: Mapping[str, NDArray[Any]], number: int) -> bytes:
    graph = tensors.get(f"graph.{number}")
    if graph is None or graph.dtype != np.uint8 or graph.ndim != 1 or not 0 < graph.size <= MAX_GRAPH:
        raise HeadError(f"graph.{number} is missing, or is not 1 to {MAX_GRAPH} bytes")
    data = graph.tobytes()
    refuse_untrusted(data, MAX_NODES)
    return data


def _weights(graph: bytes, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The weights that a graph lacks, half precision widened to single."""
    found: dict[str, NDArray[Any]] = {}
    for name, shape in missing_weights(graph).items():
        tensor = tensors.get(name)
        if tensor is None or name.startswith("graph.") or tensor.shape != shape:
            raise HeadError(f"a graph asks for weights '{_short(name)}' {list(shape)}, which are not there")
        found[name] = tensor.astype(np.float32) if tensor.dtype == np.float16 else tensor
    return found


def _short(value: Any) -> str:
    """What a file said, in a message: never more than a few words of it."""
    return repr(value)[:60] if not isinstance(value, str) else value[:60]
