"""How often a head is right: top-1 on real streams of labelled pictures, by quality and by size.

    python -m studies.head_accuracy.run --data IMAGENETTE/val --names imagenette128-classes.tsv [--docs]

A folder is a class. ``--sizes 64 128 256`` also scales the middle square of each picture to these sides, at
quality 60, read in windows of at most ``--windows`` latents a side. ``--head FILE.bfh`` judges another head.
``--trust`` says how far its labels can be trusted: calibration, agreement across qualities, blank pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bifocal
from benchmarks import reporting
from bifocal._version import DEFAULT_MODEL
from bifocal.learn.data.blank import COUNT, blank_picture
from bifocal.learn.data.labelled import Labelled, find_labelled, labelled_as, load_squares, read_rgb
from bifocal.learn.data.views import QUALITIES, encode_held
from bifocal.learn.training.classify.judging import figures_of, judge_head
from bifocal.measure.answers import label_pixels
from bifocal.measure.tables import markdown
from bifocal.runtime.heads.classify import trusted_from
from bifocal.runtime.heads.file import DEFAULT_HEAD, head_path, read_head

Pixels = NDArray[np.uint8]
#: Side of blank pictures; pictures are scaled down to four times of it.
SIDE = 128


def share_right(
    pictures: Sequence[Pixels], truth: Sequence[str], head: bifocal.Head, model: bifocal.Model, quality: int
) -> float:
    """Top-1 of the head on streams of the pictures at a quality; of one that reads pixels, once decoded."""

    def label(pixels: Pixels) -> str:
        stream = bifocal.encode(pixels, quality, model=model)
        if head.spec.reads == "pixels":
            return label_pixels(bifocal.decode(stream, model=model).pixels, head).name
        return bifocal.analyse(stream, head=head, model=model).name

    return float(np.mean([label(pixels) == name for pixels, name in zip(pictures, truth, strict=True)]))


def with_windows(head: str, windows: Sequence[int]) -> list[bifocal.Head]:
    """The head of this name or file with other largest windows than its own."""
    file = read_head(head_path(head))
    return [bifocal.Head(replace(file, spec=replace(file.spec, window=side))) for side in windows]


def every(labelled: Labelled, step: int) -> Labelled:
    """Each ``step``-th picture, for a quick look."""
    return Labelled(labelled.classes, labelled.files[::step], labelled.labels[::step])


def read_pictures(labelled: Labelled) -> tuple[list[Pixels], list[str]]:
    """Pixels and classes of the pictures that can be read."""
    pictures, truth = [], []
    for file, k in zip(labelled.files, labelled.labels, strict=True):
        pixels = read_rgb(file)
        if pixels is not None:
            pictures.append(pixels)
            truth.append(labelled.classes[k])
    return pictures, truth


def judge(
    labelled: Labelled, name: str, sizes: Sequence[int], windows: Sequence[int]
) -> tuple[int, dict[str, float]]:
    """The number of pictures that can be read, and the share named rightly: by quality, size and window."""
    model, head = bifocal.Model.load(DEFAULT_MODEL), bifocal.Head.load(name)
    pictures, truth = read_pictures(labelled)
    rows = {f"quality {q}": share_right(pictures, truth, head, model, q) for q in QUALITIES}
    for size in sizes:
        squares, scaled = load_squares(labelled, size)
        names = [squares.classes[k] for k in squares.labels]
        for narrow in with_windows(name, windows) or [head]:
            side = narrow.spec.window
            row = f"{size}×{size} pixels, quality 60, windows of {side}×{side}"
            rows[row] = share_right(list(scaled), names, narrow, model, 60)
    return len(pictures), rows


def trust(labelled: Labelled, head: bifocal.Head, model: bifocal.Model) -> dict[str, Any]:
    """Calibration error, agreement of labels across qualities, confident labels and the share of them that is
    right; and how many of 256 blank pictures, not those of the training, get a confident label."""
    known = labelled_as(labelled, head.spec.classes)
    judged = judge_head(head, encode_held(known, np.arange(len(known.files)), model, side=SIDE), model)
    found = figures_of(judged, head.spec.classes)
    least = trusted_from(head.spec.card)
    likely = np.concatenate(list(judged.likely.values()))
    right = np.concatenate([judged.answered[name] == truth for name, truth in judged.truth.items()])
    sure = likely >= least
    blank = [
        bifocal.analyse(bifocal.encode(blank_picture(SIDE, seed), 60, model=model), head=head, model=model)
        for seed in range(COUNT, 2 * COUNT)
    ]
    return {
        "calibration error": found["calibration error"],
        "one label at all qualities": found["agreement"],
        "confident labels": float(sure.mean()),
        "right of the confident": float(right[sure].mean()) if sure.any() else 0.0,
        "confident labels of blank pictures": float(np.mean([labels.confident for labels in blank])),
    }


def main() -> None:
    parser = reporting.parser(__doc__, Path(__file__).parent)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--names", type=Path)
    parser.add_argument("--head", default=DEFAULT_HEAD)
    parser.add_argument("--sizes", type=int, nargs="*", default=[])
    parser.add_argument("--windows", type=int, nargs="*", default=[])
    parser.add_argument("--trust", action="store_true", help="judge its probabilities in place of its labels")
    parser.add_argument("--step", type=int, default=1, help="take only every n-th picture")
    chosen = parser.parse_args()
    head = bifocal.Head.load(chosen.head)
    labelled = every(find_labelled(chosen.data, names=chosen.names), chosen.step)
    if chosen.trust:
        figures = trust(labelled, head, bifocal.Model.load(head.spec.codec))
        cells = [
            [name, f"{value:.3f}" if "error" in name else f"{value:.1%}"] for name, value in figures.items()
        ]
        text = f"Head {head.name}, {len(labelled.files):,} pictures.\n\n{markdown(['of labels', ''], cells)}"
        reporting.publish(chosen, "head-trust", text, figures, file="results-trust")
        return
    count, rows = judge(labelled, chosen.head, chosen.sizes, chosen.windows)
    table = markdown(["streams", "top-1"], [[name, f"{share:.1%}"] for name, share in rows.items()])
    kind = "-sizes" if chosen.sizes else "" if head.name == DEFAULT_HEAD else f"-{head.name}"
    result = {"head": head.name, "pictures": count, "top1": rows}
    text = f"Head {head.name}, {count:,} pictures.\n\n{table}"
    reporting.publish(chosen, f"head-accuracy{kind}", text, result, file=f"results{kind}")


if __name__ == "__main__":
    reporting.run(main)
