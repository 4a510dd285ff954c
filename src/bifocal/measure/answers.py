"""How long answers take from one stream: a picture, labels, both; and labels from the decoded picture.

Every way begins with the bytes of a file and ends with its answer, so each pays for its own entropy decoding.
The ways take turns, picture by picture, in an order that changes every time; of a picture's repeats the
median counts.

The baseline decodes and then classifies the pixels: with a classifier trained on pixels if one is given, and
otherwise with the codec's own analysis network and the same head that reads the streams, which then gets
nearly the same latents. The second costs more than a light classifier would; no classifier of pixels can be
faster than decoding alone, which is the first way.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import bifocal
from bifocal.errors import HeadError
from bifocal.measure import MeasureError
from bifocal.measure.bench import find_pictures, load_rgb
from bifocal.measure.metrics import Pixels, rgb
from bifocal.runtime.analysis import BLOCK, transform
from bifocal.runtime.engines.onnxruntime import REFERENCE
from bifocal.runtime.heads.classify import LabelReader, answer
from bifocal.runtime.heads.run import Head
from bifocal.runtime.heads.windows import check_head
from bifocal.runtime.model import DEFAULT_MODEL, Model
from bifocal.runtime.windows import boxes, cut_padded, padded_size, spans
from bifocal.storage.paths import is_stream_name
from bifocal.stream.limits import TILE_UNIT
from bifocal.types import Labels

#: The ways to an answer, in the order of :class:`AnswerTimes`.
WAYS = ("picture", "labels", "both", "decode, then classify")


@dataclass(frozen=True)
class AnswerTimes:
    """Median seconds that each answer took from one stream of so many ``bytes``, ``width`` and ``height`` in
    pixels; ``same`` says whether the labels of the stream and of the decoded picture agree on the class."""

    picture_name: str
    quality: int
    width: int
    height: int
    bytes: int
    picture: float
    labels: float
    both: float
    classify: float
    same: bool


def time_answers(
    paths: Iterable[Path],
    *,
    head: str | os.PathLike[str],
    against: str | os.PathLike[str] | None = None,
    model: str | os.PathLike[str] | None = None,
    backend: str = REFERENCE,
    qualities: Sequence[int] = (60,),
    repeats: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> list[AnswerTimes]:
    """Time every way on streams, or on pictures that are encoded at ``qualities`` before the clock starts.

    ``clock`` gives seconds: of the wall, or ``time.process_time`` on a machine that others use, too.

    Raises MeasureError when there is nothing to time, HeadError when ``head`` does not read this model's
    streams or ``against`` does not read pixels, and what :func:`bifocal.decode` raises.
    """
    loaded = Model.load(DEFAULT_MODEL if model is None else model, backend=backend)
    reader = Head.load(head)
    check_head(reader.spec, loaded)
    classifier = _classifier(loaded, reader, against)
    samples = _samples(paths, loaded, qualities)
    return [_time(name, data, loaded, reader, classifier, repeats, clock) for name, data in samples]


def _time(
    name: str,
    data: bytes,
    model: Model,
    head: Head,
    classifier: Callable[[Pixels, int], Labels],
    repeats: int,
    clock: Callable[[], float],
) -> AnswerTimes:
    seen: dict[str, Labels] = {}
    info = bifocal.info(data)

    def from_pixels() -> None:
        seen["pixels"] = classifier(rgb(bifocal.decode(data, model=model).pixels), info.quality)

    def from_latents() -> None:
        seen["latents"] = bifocal.analyse(data, head=head, model=model)

    ways: list[Callable[[], object]] = [
        lambda: bifocal.decode(data, model=model),
        from_latents,
        lambda: bifocal.decode_and_analyse(data, head=head, model=model),
        from_pixels,
    ]
    for way in ways:  # sessions are made, and caches filled
        way()
    seconds = np.zeros((len(ways), repeats))
    for turn in range(repeats):
        for position in range(len(ways)):
            number = (position + turn) % len(ways)
            start = clock()
            ways[number]()
            seconds[number, turn] = clock() - start
    picture, labels, both, classify = (float(value) for value in np.median(seconds, axis=1))
    return AnswerTimes(
        name,
        info.quality,
        info.width,
        info.height,
        info.bytes,
        picture=picture,
        labels=labels,
        both=both,
        classify=classify,
        same=seen["pixels"].name == seen["latents"].name,
    )


def answer_table(timings: Sequence[AnswerTimes]) -> str:
    """Means over pictures in milliseconds for each quality, and ratios to what it is compared with.

    >>> print(answer_table([AnswerTimes("a", 60, 64, 48, 900, 0.030, 0.005, 0.032, 0.040, True)]))
    quality 60, 1 picture of 64×48, bytes to answer
      picture                    30.0 ms
      labels                      5.0 ms   0.17 of picture, 0.12 of decode, then classify
      both                       32.0 ms   0.91 of picture and labels apart
      decode, then classify      40.0 ms   the same label for 1 of 1
    """
    lines = []
    for quality in dict.fromkeys(timing.quality for timing in timings):
        group = [timing for timing in timings if timing.quality == quality]
        sizes = {(timing.width, timing.height) for timing in group}
        size = "{}×{}".format(*sizes.pop()) if len(sizes) == 1 else "several sizes"
        count = f"{len(group)} picture{'s' * (len(group) > 1)}"
        lines.append(f"quality {quality}, {count} of {size}, bytes to answer")
        columns = [[t.picture, t.labels, t.both, t.classify] for t in group]
        picture, labels, both, classify = (1000 * float(value) for value in np.mean(columns, axis=0))
        notes = (
            "",
            f"{labels / picture:.2f} of picture, {labels / classify:.2f} of decode, then classify",
            f"{both / (picture + labels):.2f} of picture and labels apart",
            f"the same label for {sum(timing.same for timing in group)} of {len(group)}",
        )
        for way, value, note in zip(WAYS, (picture, labels, both, classify), notes, strict=True):
            lines.append(f"  {way:<22}{value:>9.1f} ms   {note}".rstrip())
    return "\n".join(lines)


def _samples(paths: Iterable[Path], model: Model, qualities: Sequence[int]) -> Iterable[tuple[str, bytes]]:
    """Name and bytes of each stream; those of pictures are made here."""
    given = list(paths)
    streams = [path for path in given if path.is_file() and is_stream_name(path)]
    for folder in (path for path in given if path.is_dir()):
        streams += sorted(path for path in folder.iterdir() if is_stream_name(path))
    for path in streams:
        yield path.name, path.read_bytes()
    others = [path for path in given if path not in streams]
    try:
        pictures = find_pictures(others) if others else []
    except MeasureError:
        if not streams:
            raise
        pictures = []
    for path in pictures:
        pixels = load_rgb(path)
        for quality in qualities:
            yield path.name, bifocal.encode(pixels, quality, model=model)


def _classifier(
    model: Model, head: Head, against: str | os.PathLike[str] | None
) -> Callable[[Pixels, int], Labels]:
    """What classifies decoded pixels ``[h, w, 3]``."""
    if against is None:
        if head.spec.bits:
            raise HeadError(
                f"head {head.name} reads the bits of each latent of a stream, which pixels do not have. "
                "Give a classifier that reads pixels: --against."
            )
        return lambda pixels, quality: _by_analysis(pixels, quality, model, head)
    other = Head.load(against)
    if other.spec.reads != "pixels":
        raise HeadError(
            f"head {other.name} reads latents; --against takes one that reads pixels. Leave it out to "
            "compare with our analysis network and the same head."
        )
    return lambda pixels, quality: label_pixels(pixels, other)


def _by_analysis(pixels: Pixels, quality: int, model: Model, head: Head) -> Labels:
    """The labels of the head for the latents of decoded pixels, scaled by both gains as those of a stream."""
    height, width = pixels.shape[:2]
    reader = LabelReader(head, model, width=width, height=height, tile=BLOCK, quality=quality)
    stride, channels = model.entropy.plan.y_stride, head.spec.channels
    scale = (model.gains["gain"] * model.gains["inverse_gain"])[quality - 1, :channels, None, None]
    for box in boxes(padded_size(width, TILE_UNIT), padded_size(height, TILE_UNIT), BLOCK):
        part = transform(model, pixels, box)
        left, top, right, bottom = (side // stride for side in box)
        x, y = (side // stride for side in part.box[:2])
        h, w = min(bottom, reader.size[0]) - top, min(right, reader.size[1]) - left
        reader.add_values(part.y[:channels, y : y + h, x : x + w] * scale, None, top, left)
    return reader.labels()


def label_pixels(pixels: Pixels, head: Head) -> Labels:
    """The labels of a head that reads pixels, for a picture ``[h, w, 3]`` or ``[h, w]``.

    Windows are cut as the reader of streams cuts them; logits are averaged by area.
    """
    spec, pixels = head.spec, rgb(pixels)
    cut = {"core": spec.window * spec.stride, "halo": 0, "multiple": spec.multiple * spec.stride}
    h, w = (padded_size(side, spec.stride) for side in pixels.shape[:2])
    total, weight = np.zeros(len(spec.classes)), 0
    for down in spans(h, **cut):
        for across in spans(w, **cut):
            window = cut_padded(pixels, down.core(1), across.core(1))
            values = np.ascontiguousarray(window.transpose(2, 0, 1), np.float32)
            total += values[0].size * answer(head, values).logits.astype(np.float64)
            weight += values[0].size
    chances = np.exp(total / weight - (total / weight).max())
    order = np.argsort(-chances, kind="stable")
    chances = (chances / chances.sum())[order].astype(np.float32)
    return Labels(tuple(spec.classes[k] for k in order), chances, spec.name)
