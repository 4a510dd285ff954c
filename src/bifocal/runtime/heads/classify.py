"""The second reader: labels from the latents of a stream, tile by tile, with no picture in between.

The entropy decoder stops after the groups that the head's channels stand in. Synthesis is never loaded.
Larger pictures than the head's window are read in about equal windows that never cross a tile; places beyond
the picture's true size, which exist only because it was padded, are cut off before the head sees them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import HeadError, LatentsError
from bifocal.runtime.heads.run import Head
from bifocal.runtime.model import Model
from bifocal.runtime.windows import padded_size, spans
from bifocal.stream import container
from bifocal.stream.container import Container, Header
from bifocal.stream.latents import check_model, decode_tile, pack, tile_cuts
from bifocal.stream.limits import TILE_UNIT
from bifocal.stream.plan import groups_of
from bifocal.stream.tables import COST_UNIT
from bifocal.types import Labels, Latents

#: More numbers of evidence are not collected: 64 MiB.
MAX_EVIDENCE = 1 << 24


class FloatLatents(NamedTuple):
    """Latents as a head takes them, of the picture's true size ``⌈H/16⌉ × ⌈W/16⌉`` at the default stride:
    ``y`` float32 ``[c, h, w]`` after the inverse gain, and ``bits`` float32 ``[h, w]``, what the symbols of
    these channels' groups cost at each place."""

    y: NDArray[np.float32]
    bits: NDArray[np.float32]


class LabelReader:
    """Collects what a head says of each window of a picture; :meth:`labels` sums it up.

    Logits are averaged over windows, weighted by their places. With ``evidence``, what each token tells is
    collected, too, where the head says it.
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
        check_head(head, model)
        self._head, self._model, self._quality = head, model, quality
        stride, spec = model.entropy.plan.y_stride, head.spec
        cuts = tile_cuts(width, height, tile, model.entropy)
        self._places = [cut[:2] for cut in cuts]
        # the true size, or what the head's blocks make of it, but never beyond the padded picture
        self.size = tuple(
            min(padded_size(-(-side // stride), spec.multiple), padded_size(side, TILE_UNIT) // stride)
            for side in (height, width)
        )
        self._groups = groups_of(model.entropy.plan, spec.channels)
        self._sum = np.zeros(len(spec.classes))
        self._weight = 0
        tokens = tuple(-(-n * stride // spec.token) for n in self.size)
        self._kept = tuple(np.zeros(tokens, dtype=bool) for _ in spec.stages)
        numbers = len(spec.classes) * tokens[0] * tokens[1]
        self._told: NDArray[np.float32] | None = None
        if evidence and head.tells and numbers <= MAX_EVIDENCE:
            self._told = np.zeros((len(spec.classes), *tokens), np.float32)

    @classmethod
    def of(cls, header: Header, head: Head, model: Model, *, evidence: bool = False) -> LabelReader:
        """A reader of the picture that a stream's ``header`` describes."""
        sizes = {"width": header.width, "height": header.height, "tile": header.tile}
        return cls(head, model, **sizes, quality=header.quality, evidence=evidence)

    def add(self, number: int, y: NDArray[np.int32], spent: NDArray[np.int64] | None) -> None:
        """Read tile ``number``: decoded y ``[c, h, w]`` and, for a head that reads bits, ``spent`` of
        :func:`decode_tile`. Of these only the channels that the head reads, and their groups, count."""
        rows, columns = self._places[number]
        inside = slice(0, self.size[0] - rows.start), slice(0, self.size[1] - columns.start)
        values = self._model.to_float(y[: self._head.spec.channels, *inside], self._quality)
        bits = None if spent is None else _bits(spent[: self._groups, *inside])
        self.add_values(values, bits, rows.start, columns.start)

    def add_values(
        self, values: NDArray[np.float32], bits: NDArray[np.float32] | None, row: int, column: int
    ) -> None:
        """Read what the head takes, ``[c, h, w]``, and its bits, from place ``row``, ``column`` on."""
        spec, stride = self._head.spec, self._model.entropy.plan.y_stride
        cut = {"core": spec.window, "halo": 0, "multiple": spec.multiple}
        for down in spans(values.shape[1], **cut):
            for across in spans(values.shape[2], **cut):
                part = slice(down.start, down.stop), slice(across.start, across.stop)
                cost = None if bits is None else np.ascontiguousarray(bits[part])
                answer = self._head.run(np.ascontiguousarray(values[:, *part]), cost)
                places = (down.stop - down.start) * (across.stop - across.start)
                self._sum += places * answer.logits.astype(np.float64)
                self._weight += places
                top = (row + down.start) * stride // spec.token
                left = (column + across.start) * stride // spec.token
                for whole, kept in zip(self._kept, answer.kept, strict=True):
                    whole[top : top + kept.shape[0], left : left + kept.shape[1]] = kept
                if self._told is not None and answer.evidence is not None:
                    rows, columns = (-(-(s.stop - s.start) * stride // spec.token) for s in (down, across))
                    r, c = answer.evidence.shape[1:]
                    told = answer.evidence[:, np.arange(rows) * r // rows][
                        :, :, np.arange(columns) * c // columns
                    ]
                    self._told[:, top : top + rows, left : left + columns] = told

    def labels(self) -> Labels:
        """Classes by probability, ties in the head's order."""
        logits = self._sum / self._weight
        chances = np.exp(logits - logits.max())
        chances /= chances.sum()
        order = np.argsort(-chances, kind="stable")
        spec = self._head.spec
        names = tuple(spec.classes[k] for k in order)
        told = None if self._told is None else self._told[order]
        return Labels(names, chances[order].astype(np.float32), spec.name, spec.token, self._kept, told)


def read_labels(stream: Container, model: Model, head: Head, *, evidence: bool = False) -> Labels:
    """Labels of a stream; see :func:`bifocal.analyse`.

    :raises HeadError: if the head is not for streams of ``model``.
    :raises StreamError: if a tile is damaged.
    """
    check_model(stream, model.entropy)
    reader = LabelReader.of(stream.header, head, model, evidence=evidence)
    groups = groups_of(model.entropy.plan, head.spec.channels)
    for number in range(len(stream.tiles)):
        spent = _room(stream, number, model) if head.spec.bits else None
        y, _ = decode_tile(stream, number, model.entropy, model.backend, groups=groups, spent=spent)
        reader.add(number, y, spent)
    return reader.labels()


def label_latents(latents: Latents, model: Model, head: Head, *, evidence: bool = False) -> Labels:
    """Labels of latents that are decoded already.

    :raises HeadError: if the head is not for latents of ``model``.
    :raises LatentsError: if the latents are another model's, or of another shape than the model's.
    """
    if latents.fingerprint != model.entropy.fingerprint:
        raise LatentsError(
            f"these latents are of model {latents.model} ({latents.fingerprint.hex()}), not of {model.name} "
            f"({model.entropy.fingerprint.hex()}). Read them with the model that made them."
        )
    check_head(head, model)
    if head.spec.bits:  # latents do not say what they cost; their stream does
        stream = container.read(pack(latents, model.entropy, model.backend))
        return read_labels(stream, model, head, evidence=evidence)
    width, height, tile = latents.width, latents.height, latents.tile
    cuts = tile_cuts(width, height, tile, model.entropy)
    if latents.y.shape != (model.entropy.plan.y_channels, cuts[-1][0].stop, cuts[-1][1].stop):
        raise LatentsError(
            f"y is {list(latents.y.shape)}, which is not what model {model.name} has for a picture of "
            f"{width}×{height} pixels. Take latents from unpack()."
        )
    reader = LabelReader(
        head, model, width=width, height=height, tile=tile, quality=latents.quality, evidence=evidence
    )
    for number, (rows, columns, _, _) in enumerate(cuts):
        reader.add(number, latents.y[:, rows, columns], None)
    return reader.labels()


def read_latents(data: bytes | Container, model: Model, channels: int | None = None) -> FloatLatents:
    """The first ``channels`` of y of a stream as heads take them, and what each place cost: for training.

    Only the groups that these channels need are decoded. Raises what :func:`bifocal.decode` raises.

    >>> import bifocal
    >>> model = Model.load("lowfirst")
    >>> data = bifocal.encode(np.full((40, 100, 3), 200, np.uint8), model=model)
    >>> latents = read_latents(data, model, 64)
    >>> latents.y.shape, latents.bits.shape
    ((64, 3, 7), (3, 7))
    """
    stream = data if isinstance(data, Container) else container.read(data)
    check_model(stream, model.entropy)
    header, plan = stream.header, model.entropy.plan
    channels = plan.y_channels if channels is None else channels
    groups = groups_of(plan, channels)
    h, w = (-(-side // plan.y_stride) for side in (header.height, header.width))
    y, bits = np.empty((channels, h, w), np.float32), np.empty((h, w), np.float32)
    for number, (rows, columns, _, _) in enumerate(
        tile_cuts(header.width, header.height, header.tile, model.entropy)
    ):
        spent = _room(stream, number, model)
        tile, _ = decode_tile(stream, number, model.entropy, model.backend, groups=groups, spent=spent)
        inside = slice(0, min(rows.stop, h) - rows.start), slice(0, min(columns.stop, w) - columns.start)
        y[:, rows, columns] = model.to_float(tile[:channels, *inside], header.quality)
        bits[rows, columns] = _bits(spent[:, *inside])
    return FloatLatents(y, bits)


def check_head(head: Head, model: Model) -> None:
    """Raise :class:`HeadError` unless ``head`` reads streams of ``model``."""
    spec, entropy = head.spec, model.entropy
    if spec.reads != "latents":
        raise HeadError(
            f"head {spec.name} reads pixels, not streams: it is the other side of a comparison. Use it with "
            "`bifocal bench --analyse --against`."
        )
    if spec.fingerprint != entropy.fingerprint.hex():
        raise HeadError(
            f"head {spec.name} reads streams of model {spec.codec} ({spec.fingerprint}), and this one is of "
            f"model {entropy.name} ({entropy.fingerprint.hex()}). Name a head that was trained for it, or "
            "train one: bifocal-train head."
        )
    if spec.channels > entropy.plan.y_channels or spec.stride != entropy.plan.y_stride:
        raise HeadError(
            f"head {spec.name} asks for {spec.channels} channels at a stride of {spec.stride} pixels; "
            f"streams of model {entropy.name} have {entropy.plan.y_channels} at {entropy.plan.y_stride}. "
            "The head's file contradicts itself: export it again."
        )


def _room(stream: Container, number: int, model: Model) -> NDArray[np.int64]:
    """Zeros ``[groups, h, w]`` for what is spent on a tile."""
    tile, plan = stream.tiles[number], model.entropy.plan
    sides = (tile.bottom - tile.top, tile.right - tile.left)
    h, w = (side * TILE_UNIT // plan.y_stride for side in sides)
    return np.zeros((len(plan.groups), h, w), np.int64)


def _bits(spent: NDArray[np.int64]) -> NDArray[np.float32]:
    """``[groups, h, w]`` in ``COST_UNIT`` to bits ``[h, w]``."""
    bits: NDArray[np.float32] = (spent.sum(axis=0) * COST_UNIT).astype(np.float32)
    return bits
