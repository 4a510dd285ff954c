"""Labels from the latents of a stream, tile by tile, with no picture in between.

The entropy decoder stops after the groups that hold the head's channels; synthesis is never loaded. What a
head says of each window (:mod:`bifocal.runtime.heads.windows`) is averaged here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import HeadError
from bifocal.runtime.heads.run import EVIDENCE, Head, Outputs
from bifocal.runtime.heads.windows import (
    HeadWindows,
    Tile,
    Window,
    check_latents,
    latent_tiles,
    stream_tiles,
)
from bifocal.runtime.model import Model
from bifocal.stream.container import Container, Header
from bifocal.stream.latents import check_model
from bifocal.types import Labels, Latents

#: More numbers of evidence are not collected: 64 MiB.
MAX_EVIDENCE = 1 << 24
#: Labels of a head whose card says nothing are trusted from this probability on.
TRUSTED = 0.7


class Answer(NamedTuple):
    """What a head says of one window: ``logits`` float32 ``[classes]``; for each stage, which tokens are
    left, bool ``[rows, columns]`` of the window's token map; and, if the head gives it, ``evidence`` float32
    ``[classes, r, c]``, what each part of the window says for every class."""

    logits: NDArray[np.float32]
    kept: tuple[NDArray[np.bool_], ...]
    evidence: NDArray[np.float32] | None = None


def answer(head: Head, values: NDArray[np.float32], bits: NDArray[np.float32] | None = None) -> Answer:
    """What a head says of one window; arguments as for :meth:`Head.run`.

    :raises HeadError: if a graph fails, or gives no answer.
    """
    return _checked(head, head.run(values, bits))


def answers(head: Head, windows: Sequence[Window]) -> list[Answer]:
    """What a head says of windows of equal shape, in one run where it can; errors as of :func:`answer`."""
    bits = [window.bits for window in windows if window.bits is not None]
    return [_checked(head, one) for one in head.run_many([window.values for window in windows], bits)]


def _checked(head: Head, outputs: Outputs) -> Answer:
    classes, (rows, columns) = len(head.spec.classes), outputs.tokens
    logits, evidence = outputs.arrays["logits"], outputs.arrays.get(EVIDENCE)
    if logits.shape != (1, classes) or not np.isfinite(logits).all():
        raise HeadError(
            f"head {head.name} answers with {list(logits.shape)} numbers or with some that are not "
            f"finite, not with one for each of {classes} classes. Export it again."
        )
    if evidence is not None:
        evidence = evidence.astype(np.float32)
        wrong = evidence.ndim != 4 or evidence.shape[:2] != logits.shape or 0 in evidence.shape
        if wrong or evidence[0, 0].size > rows * columns or not np.isfinite(evidence).all():
            raise HeadError(
                f"head {head.name} gives evidence {list(evidence.shape)} for {rows}×{columns} tokens and "
                f"{classes} classes, or some that is not finite. Export it again."
            )
        evidence = evidence[0]
    return Answer(logits[0].astype(np.float32), outputs.kept, evidence)


class LabelReader:
    """Collects what a head says of each window of a picture; :meth:`labels` sums it up.

    Logits are averaged over windows, weighted by their area. With ``evidence``, what each token says is
    collected, too, where the head gives it. ``size`` is the height and width of the latents that it reads.

    :raises HeadError: if the head is not for streams of ``model``.
    """

    def __init__(
        self,
        head: Head,
        model: Model,
        *,
        width: int,
        height: int,
        tile: int,
        quality: int,
        evidence: bool = False,
    ) -> None:
        spec, self._head = head.spec, head
        if spec.kind != "classify":
            raise HeadError(
                f"head {spec.name} gives an embedding and knows no classes. Show it some examples (`bifocal "
                "classify --examples`), search with it (`bifocal search`), or name a head with classes."
            )
        self._windows = HeadWindows(spec, model, width=width, height=height, tile=tile, quality=quality)
        self.size = self._windows.size
        self._sum, self._weight = np.zeros(len(spec.classes)), 0
        tokens = tuple(-(-n * spec.stride // spec.token) for n in self._windows.size)
        self._kept = tuple(np.zeros(tokens, dtype=bool) for _ in spec.stages)
        numbers = len(spec.classes) * tokens[0] * tokens[1]
        self._evidence: NDArray[np.float32] | None = None
        if evidence and head.gives_evidence and numbers <= MAX_EVIDENCE:
            self._evidence = np.zeros((len(spec.classes), *tokens), np.float32)

    @classmethod
    def of(cls, header: Header, head: Head, model: Model, *, evidence: bool = False) -> LabelReader:
        """A reader of the picture that a stream's ``header`` describes."""
        sizes = {"width": header.width, "height": header.height, "tile": header.tile}
        return cls(head, model, **sizes, quality=header.quality, evidence=evidence)

    @property
    def single(self) -> bool:
        """Whether it reads the whole picture as one window."""
        return self._windows.single

    def windows(self, number: int, y: NDArray[np.int32], spent: NDArray[np.int64] | None) -> Iterator[Window]:
        """The windows that are whole with this tile, for :func:`answers` and then :meth:`take`; arguments
        as for :meth:`add`."""
        return self._windows.of_tile(Tile(number, y, spent))

    def add(self, number: int, y: NDArray[np.int32], spent: NDArray[np.int64] | None) -> None:
        """Read tile ``number``: decoded y ``[c, h, w]`` and, for a head that reads bits, ``spent`` of
        :func:`~bifocal.stream.latents.decode_tile`."""
        for window in self.windows(number, y, spent):
            self._add(window)

    def add_values(
        self, values: NDArray[np.float32], bits: NDArray[np.float32] | None, row: int, column: int
    ) -> None:
        """Read what the head takes, ``[c, h, w]``, and its bits, whose corner is ``row``, ``column``."""
        for window in self._windows.cut(values, bits, row, column):
            self._add(window)

    def _add(self, window: Window) -> None:
        self.take(window, answer(self._head, window.values, window.bits))

    def take(self, window: Window, said: Answer) -> None:
        """Count what the head says of a window."""
        spec, (height, width) = self._head.spec, window.size
        self._sum += height * width * said.logits.astype(np.float64)
        self._weight += height * width
        top, left = window.row * spec.stride // spec.token, window.column * spec.stride // spec.token
        rows, columns = (-(-side * spec.stride // spec.token) for side in (height, width))
        part = slice(top, top + rows), slice(left, left + columns)
        for whole, kept in zip(self._kept, said.kept, strict=True):
            whole[part] = _spread(kept, rows, columns)
        if self._evidence is not None and said.evidence is not None:
            self._evidence[:, *part] = _spread(said.evidence, rows, columns)

    def labels(self) -> Labels:
        """Classes by probability, ties in the head's order."""
        logits = self._sum / self._weight
        chances = np.exp(logits - logits.max())
        chances /= chances.sum()
        order = np.argsort(-chances, kind="stable")
        spec = self._head.spec
        names = tuple(spec.classes[k] for k in order)
        evidence = None if self._evidence is None else self._evidence[order]
        shares = chances[order].astype(np.float32)
        return Labels(names, shares, spec.name, spec.token, self._kept, evidence, trusted_from(spec.card))


def trusted_from(card: Mapping[str, Any]) -> float:
    """The probability from which on labels can be trusted, by a head's card.

    >>> trusted_from({"confident": {"at least": 0.9}}), trusted_from({}), trusted_from({"confident": "very"})
    (0.9, 0.7, 0.7)
    """
    confident = card.get("confident")
    least = confident.get("at least") if isinstance(confident, Mapping) else None
    known = isinstance(least, int | float) and not isinstance(least, bool) and 0 <= least <= 1
    return float(least) if known and least is not None else TRUSTED


def _spread(values: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """A map ``[..., r, c]`` enlarged to ``rows`` and ``columns`` by repeating its values."""
    r, c = values.shape[-2:]
    return values[..., np.arange(rows) * r // rows, :][..., np.arange(columns) * c // columns]


def read_labels(stream: Container, model: Model, head: Head, *, evidence: bool = False) -> Labels:
    """Labels of a stream; see :func:`bifocal.analyse`.

    :raises HeadError: if the head is not for streams of ``model``.
    :raises StreamError: if a tile is damaged.
    """
    check_model(stream, model.entropy)
    reader = LabelReader.of(stream.header, head, model, evidence=evidence)
    for tile in stream_tiles(stream, model, head.spec):
        reader.add(*tile)
    return reader.labels()


def label_latents(latents: Latents, model: Model, head: Head, *, evidence: bool = False) -> Labels:
    """Labels of latents that are decoded already.

    :raises HeadError: if the head is not for latents of ``model``.
    :raises LatentsError: if the latents are another model's, or of another shape than the model's.
    """
    check_latents(latents, model)
    sizes = {"width": latents.width, "height": latents.height, "tile": latents.tile}
    reader = LabelReader(head, model, **sizes, quality=latents.quality, evidence=evidence)
    for tile in latent_tiles(latents, model, head.spec):
        reader.add(*tile)
    return reader.labels()
