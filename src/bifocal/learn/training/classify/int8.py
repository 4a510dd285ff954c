"""A trained head in 8 bits: calibrated on pictures, and judged beside the float one on real streams."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from bifocal.errors import HeadError, TrainingError
from bifocal.learn.data.labelled import Labelled, find_labelled, labelled_as
from bifocal.learn.data.pooling import pooled_to
from bifocal.learn.data.views import coded, encode_held, middle, read_pixels, readable
from bifocal.learn.packing.heads import PackedHead
from bifocal.learn.packing.int8_heads import int8_head
from bifocal.learn.training.classify.judging import judge_head
from bifocal.learn.training.fit import print_now
from bifocal.runtime.analysis import transform
from bifocal.runtime.heads.file import HeadFile, HeadSpec, head_path, read_head
from bifocal.runtime.heads.run import Head
from bifocal.runtime.model import Model
from bifocal.storage.filesystem import write_atomically

#: Pictures that ranges are taken from, at each of these qualities, and pictures that are judged on.
CALIBRATED, SEEN_QUALITIES, JUDGED = 64, (10, 50, 90), 500


@dataclass(frozen=True)
class QuantisedHead:
    """What was written, and the accuracy of both heads by quality, on the same streams."""

    path: Path
    accuracy: dict[str, float]
    float_accuracy: dict[str, float]


def quantise_head(
    head: str | Path,
    data: Path,
    out: Path,
    *,
    base: str,
    test: Path | None = None,
    names: Path | None = None,
    side: int = 128,
    log: Callable[[str], None] = print_now,
) -> QuantisedHead:
    """Write a head again with 8-bit products; its card gets both accuracies.

    :param data: a folder per class of training pictures: some give the ranges.
    :param base: the codec whose streams it reads.
    :param test: pictures to judge on; by default those of ``data`` that gave no ranges.
    :param side: side in pixels of the squares that ranges are taken from.
    :raises HeadError: if there is no such head, or it knows no classes.
    :raises ModelError: if it cannot be quantised.
    :raises TrainingError: if the pictures cannot be used.
    """
    path, model = head_path(head), Model.load(base)
    file = read_head(path)
    if file.spec.kind != "classify" or file.spec.reads != "latents":
        raise HeadError(f"head {file.spec.name} does not label streams. Quantise one that does.")
    labelled = _pictures(data, names, file.spec, model)
    rows = np.arange(len(labelled.files))
    ranges = rows[:: max(1, len(rows) // CALIBRATED)][:CALIBRATED]
    packed = _packed(file)
    made = int8_head(packed, _samples(labelled, ranges, model, file.spec, side))
    judged_on = labelled if test is None else _pictures(test, names, file.spec, model)
    left = np.setdiff1d(rows, ranges) if test is None else np.arange(len(judged_on.files))
    if not len(left):
        raise TrainingError(f"{data} has no pictures left to judge on. Add some, or name others with --test.")
    streams = encode_held(judged_on, left[:: -(-len(left) // JUDGED)], model, side=side)
    write_atomically(out, made.data(file.spec.card), overwrite=True)
    found = [judge_head(Head.load(one), streams, model).accuracy for one in (path, out)]
    for name in found[0]:
        log(f"{name}: {found[1][name]:.1%} right in 8 bits, {found[0][name]:.1%} in float")
    shares = {
        "accuracy": found[1],
        "float accuracy": found[0],
        "judged on": len(streams[next(iter(streams))]),
    }
    write_atomically(out, made.data({**file.spec.card, "int8": shares}), overwrite=True)
    return QuantisedHead(out, found[1], found[0])


def _pictures(folder: Path, names: Path | None, spec: HeadSpec, model: Model) -> Labelled:
    """Pictures that can be read, labelled by the classes of the head."""
    return readable(labelled_as(find_labelled(folder, names=names, streams=True), spec.classes), model)


def _packed(file: HeadFile) -> PackedHead:
    """A head's file as what packing makes; its description as it stands there."""
    spec: dict[str, Any] = json.loads(file.text)
    spec.pop("card", None)
    weights = {name: value for part in file.weights for name, value in part.items()}
    return PackedHead(file.graphs, weights, spec)


def _samples(
    labelled: Labelled, rows: NDArray[np.int64], model: Model, spec: HeadSpec, side: int
) -> Iterator[NDArray[np.float32]]:
    """What the head sees of the middle of each picture at several qualities."""
    gain, inverse = (torch.from_numpy(model.gains[name]) for name in ("gain", "inverse_gain"))
    for row in rows:
        pixels = read_pixels(labelled.files[row], model)
        if pixels is None:
            continue
        shown = middle(Image.fromarray(pixels), side)
        y = torch.from_numpy(transform(model, shown, (0, 0, side, side)).y[: spec.channels])[None].float()
        for quality in SEEN_QUALITIES:
            seen = coded(y, torch.tensor([quality - 1]), (gain, inverse), 0)
            if spec.grid:
                seen = pooled_to(seen, spec.grid, magnitudes=spec.magnitudes)
            yield seen[0].numpy()
