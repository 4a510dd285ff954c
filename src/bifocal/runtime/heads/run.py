"""A head in use: its graphs on ONNX Runtime, and the few lines of NumPy between them.

A dense head is one graph from latents to logits. A head with token selectors (HeatViT, arXiv 2211.08110; see
``learn/nets/heads/heatvit.py``) is a chain of segments: after each but the last, tokens whose score is below
one half are taken out, and with a package their weighted mean goes on as one token, as SPViT's code does.
What is taken out is no longer computed, so pruned multiply–adds are really saved. Decisions are
deterministic.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import HeadError, ModelError, reason
from bifocal.runtime.engines.onnxruntime import open_capped
from bifocal.runtime.heads.file import KINDS, MAX_BATCH, HeadFile, HeadSpec, head_path, read_head

#: A score from here on keeps its token.
KEEP = 0.5
#: The output of a last graph that gives what each part of a window says for each class; a head may lack it.
EVIDENCE = "evidence"
#: The output of a last graph that gives numbers to compare pictures by; a head that classifies may have it.
EMBEDDING = "embedding"


class Outputs(NamedTuple):
    """What a head gives for one window: the ``arrays`` of its last graph by name, and for each stage which
    tokens are left, ``kept``, bool ``[rows, columns]`` of the window's token map of size ``tokens``."""

    arrays: dict[str, NDArray[Any]]
    kept: tuple[NDArray[np.bool_], ...]
    tokens: tuple[int, int]


class _Port(Protocol):
    """An input or output of a graph, as ONNX Runtime describes it."""

    name: str
    shape: list[Any]
    type: str


@dataclass
class _Tokens:
    """What passes between two segments: arrays ``[1, n, ...]`` by name, and where each token comes from.

    ``origin`` int ``[n]`` is a token's index in the token map, -1 for the class token and packages;
    ``package`` says whether the last one is a package.
    """

    arrays: dict[str, NDArray[Any]]
    origin: NDArray[np.intp]
    package: bool = False


class Head:
    """A head, opened from its file with :meth:`load`; ``spec`` says what it reads. Safe to share."""

    def __init__(self, file: HeadFile, *, threads: int | None = None) -> None:
        self.spec: HeadSpec = file.spec
        self._sessions = [
            open_capped(graph, weights, threads=threads)
            for graph, weights in zip(file.graphs, file.weights, strict=True)
        ]
        _check_ports(self.spec, [(s.get_inputs(), s.get_outputs()) for s in self._sessions])

    @classmethod
    def load(cls, name: str | os.PathLike[str], *, threads: int | None = None) -> Head:
        """Load a shipped head by name, or any head by its file.

        :param threads: processors that it may use; all by default.
        :raises HeadError: if there is none, it is damaged, or its graphs are not those of a head.
        """
        path = head_path(name)
        file = read_head(path)
        try:
            return cls(file, threads=threads)
        except ModelError as error:
            raise HeadError(
                f"the head {path} is not usable: {reason(error)}. Fetch it again, or export it again."
            ) from error

    @property
    def name(self) -> str:
        return self.spec.name

    def __repr__(self) -> str:
        return (
            f"<bifocal.Head {self.name}, {len(self.spec.classes)} classes, for streams of {self.spec.codec}>"
        )

    @property
    def gives_evidence(self) -> bool:
        """Whether its answers have ``evidence``."""
        return EVIDENCE in {port.name for port in self._sessions[-1].get_outputs()}

    @property
    def gives_embedding(self) -> bool:
        """Whether its answers have an ``embedding``."""
        return EMBEDDING in {port.name for port in self._sessions[-1].get_outputs()}

    @property
    def batches(self) -> bool:
        """Whether one run may take many windows: its graph leaves their number open."""
        first = self._sessions[0].get_inputs()[0].shape
        return not self.spec.stages and bool(first) and not isinstance(first[0], int)

    def run_many(
        self, values: Sequence[NDArray[np.float32]], bits: Sequence[NDArray[np.float32]] | None = None
    ) -> list[Outputs]:
        """Run the head on windows of equal shape, as many as possible at once; otherwise as :meth:`run`."""
        if not self.batches or len(values) == 1:
            return [self.run(one, bits[k] if bits else None) for k, one in enumerate(values)]
        made: list[Outputs] = []
        for first in range(0, len(values), MAX_BATCH):
            part = slice(first, first + MAX_BATCH)
            count = len(values[part])
            feeds = self._feeds(np.stack(values[part]), np.stack(bits[part]) if bits else None)
            arrays = self._run(0, feeds)
            if any(array.shape[:1] != (count,) for array in arrays.values()):
                raise HeadError(
                    f"head {self.name} does not give one answer for each of {count} windows. Export it again."
                )
            tokens = self._tokens(values[0])
            each = ({name: array[k : k + 1] for name, array in arrays.items()} for k in range(count))
            made += [Outputs(one, (), tokens) for one in each]
        return made

    def run(self, values: NDArray[np.float32], bits: NDArray[np.float32] | None = None) -> Outputs:
        """Run the head on one window.

        :param values: float latents ``[spec.inputs, h, w]``, at most ``spec.window`` a side; pixels
            ``[3, 16h, 16w]`` in 0..255 for a head that reads those.
        :param bits: what each position cost, ``[h, w]``, if the head reads that.
        :raises HeadError: if a graph fails.
        """
        spec = self.spec
        feeds = self._feeds(values[None], None if bits is None else bits[None])
        rows, columns = self._tokens(values)
        tokens: _Tokens | None = None
        kept: list[NDArray[np.bool_]] = []
        for number, package in enumerate(spec.stages):
            outputs = self._run(number, feeds)
            names = [port.name for port in self._sessions[number + 1].get_inputs()]
            arrays = {name: outputs[f"{name}_out"] for name in names} | {"keep": outputs["keep"]}
            if tokens is None:
                tokens = _Tokens({}, np.arange(-1, rows * columns))
            tokens = self._prune(number, _Tokens(arrays, tokens.origin, tokens.package), package)
            left = np.zeros(rows * columns, dtype=bool)
            left[tokens.origin[tokens.origin >= 0]] = True
            kept.append(left.reshape(rows, columns))
            feeds = tokens.arrays
        return Outputs(self._run(len(spec.stages), feeds), tuple(kept), (rows, columns))

    def _feeds(
        self, values: NDArray[np.float32], bits: NDArray[np.float32] | None
    ) -> dict[str, NDArray[Any]]:
        """Inputs of the first graph for windows ``[n, channels, h, w]`` and their bits ``[n, h, w]``."""
        feeds: dict[str, NDArray[Any]] = {("y" if self.spec.reads == "latents" else "pixels"): values}
        if self.spec.bits:
            if bits is None:
                raise HeadError(f"head {self.name} reads what each position cost. Give it bits.")
            feeds["bits"] = bits[:, None]
        return feeds

    def _tokens(self, values: NDArray[np.float32]) -> tuple[int, int]:
        """The size of the token map of a window ``[channels, h, w]``."""
        side = 1 if self.spec.reads == "pixels" else self.spec.stride
        rows, columns = (-(-n * side // self.spec.token) for n in values.shape[1:])
        return rows, columns

    def _run(self, number: int, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        session = self._sessions[number]
        try:
            outputs = session.run(None, feeds)
        except Exception as error:  # ONNX Runtime raises its own kinds, none of which it exports as a tree
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feeds.items())
            raise HeadError(
                f"graph.{number} of head {self.name} fails on {shapes} ({error}). Export the head again, for "
                "windows of any size."
            ) from error
        return dict(zip((port.name for port in session.get_outputs()), outputs, strict=True))

    def _prune(self, number: int, tokens: _Tokens, package: bool) -> _Tokens:
        """Take out what a stage's scores say; its weighted mean goes on as one token if ``package``."""
        count, keep = len(tokens.origin), tokens.arrays.pop("keep")
        shapes = {name: array.shape[:2] for name, array in tokens.arrays.items()}
        if keep.shape != (1, count) or any(shape != (1, count) for shape in shapes.values()):
            raise HeadError(
                f"graph.{number} of head {self.name} gives scores {list(keep.shape)} for "
                f"{ {name: list(shape) for name, shape in shapes.items()} } where {count} tokens went in. "
                "Export the head again."
            )
        score = keep[0].astype(np.float32)
        stay = score >= KEEP
        stay[0] = True
        if tokens.package:
            stay[-1] = False  # it joins the next package, or ends here
        out = ~stay
        pack = bool(package and out.any())
        arrays = {name: array[:, stay] for name, array in tokens.arrays.items()}
        origin = tokens.origin[stay]
        if pack:
            weight = score[out]
            total = weight.sum(dtype=np.float32)
            if not total > 1e-6:
                weight, total = np.ones_like(weight), np.float32(out.sum())
            for name, array in tokens.arrays.items():
                mean = np.tensordot(weight, array[0, out].astype(np.float32), 1) / total
                arrays[name] = np.concatenate([arrays[name], mean[None, None].astype(array.dtype)], axis=1)
            origin = np.append(origin, -1)
        return _Tokens({name: np.ascontiguousarray(array) for name, array in arrays.items()}, origin, pack)


def _check_ports(spec: HeadSpec, ports: list[tuple[list[_Port], list[_Port]]]) -> None:
    """Inputs and outputs of every segment must be those of a head, before anything is run.

    :raises HeadError: if they are not.
    """
    first = {"y" if spec.reads == "latents" else "pixels": spec.inputs}
    given = {**first, "bits": 1} if spec.bits else first
    inputs = {port.name: port for port in ports[0][0]}
    if set(inputs) != set(given):
        raise HeadError(f"graph.0 takes {sorted(inputs)} and not {sorted(given)}")
    for name, channels in given.items():
        shape = inputs[name].shape
        wrong = len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != channels)
        if wrong or inputs[name].type != "tensor(float)":
            raise HeadError(f"graph.0 takes {name} {shape}, and not float32 [1, {channels}, h, w]")
        if isinstance(shape[2], int) or isinstance(shape[3], int):
            raise HeadError(f"graph.0 takes {name} of a fixed size {shape}; h and w must be open")
    for number, (_, outputs) in enumerate(ports[:-1]):
        names = {port.name for port in outputs}
        wanted = {port.name for port in ports[number + 1][0]}
        if "tokens" not in wanted or not {"keep", *(f"{name}_out" for name in wanted)} <= names:
            raise HeadError(
                f"graph.{number} gives {sorted(names)}, and must give keep and, as NAME_out, what the next "
                f"takes: {sorted(wanted)}, tokens among them"
            )
    if (wanted_output := KINDS[spec.kind]) not in {port.name for port in ports[-1][1]}:
        raise HeadError(f"graph.{len(ports) - 1} gives no {wanted_output}")


#: A head: a shipped name, the path of a .bfh file, or one already loaded.
HeadLike = str | os.PathLike[str] | Head


def loaded_head(head: HeadLike) -> Head:
    """A head by its name, its file or itself; the last few are kept.

    :raises HeadError: if there is no such head, or it is damaged.
    """
    if isinstance(head, Head):
        return head
    path = head_path(head).resolve()
    return _loaded(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _loaded(path: Path, changed: int) -> Head:
    """Kept like models, until the file changes: a head may be trained again while it is in use."""
    return Head.load(path)
