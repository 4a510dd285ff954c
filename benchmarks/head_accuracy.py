"""How often a head is right: top-1 on real streams of labelled pictures, by quality and by size.

``python benchmarks/head_accuracy.py --data IMAGENETTE/val --names imagenette128-classes.tsv``; a folder is a
class. ``--sizes 64 128 256`` also scales the middle square of each picture to these sides, at quality 60,
read in windows of at most ``--windows`` places of y a side. Writes ``head_accuracy.{json,md}``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import bifocal
from bifocal.learn.data.labelled import Labelled, find_labelled, load_squares, read_rgb
from bifocal.learn.data.views import QUALITIES
from bifocal.measure.modes import label_pixels
from bifocal.runtime.heads.file import DEFAULT_HEAD, head_path, read_head

Pixels = NDArray[np.uint8]
RESULTS = Path(__file__).parent / "results"


def share_right(
    pictures: Sequence[Pixels], truth: Sequence[str], head: bifocal.Head, model: bifocal.Model, quality: int
) -> float:
    """Top-1 of the head on streams of the pictures at a quality; of one that reads pixels, once decoded."""

    def said(pixels: Pixels) -> str:
        stream = bifocal.encode(pixels, quality, model=model)
        if head.spec.reads == "pixels":
            return label_pixels(bifocal.decode(stream, model=model).pixels, head).name
        return bifocal.analyse(stream, head=head, model=model).name

    return float(np.mean([said(pixels) == name for pixels, name in zip(pictures, truth, strict=True)]))


def with_windows(name: str, windows: Sequence[int]) -> list[bifocal.Head]:
    """The head with other largest windows than its own."""
    file = read_head(head_path(name))
    return [bifocal.Head(replace(file, spec=replace(file.spec, window=side))) for side in windows]


def every(labelled: Labelled, step: int) -> Labelled:
    """Each ``step``-th picture, for a quick look."""
    return Labelled(labelled.classes, labelled.files[::step], labelled.labels[::step])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--names", type=Path)
    parser.add_argument("--head", default="imagenette")
    parser.add_argument("--sizes", type=int, nargs="*", default=[])
    parser.add_argument("--windows", type=int, nargs="*", default=[])
    parser.add_argument("--step", type=int, default=1, help="take only every n-th picture")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args(arguments)
    model, head = bifocal.Model.load("lowfirst"), bifocal.Head.load(chosen.head)
    labelled = every(find_labelled(chosen.data, names=chosen.names), chosen.step)
    read = [
        (read_rgb(file), labelled.classes[k]) for file, k in zip(labelled.files, labelled.labels, strict=True)
    ]
    pictures, truth = zip(*((pixels, name) for pixels, name in read if pixels is not None), strict=True)
    rows = {f"quality {q}": share_right(pictures, truth, head, model, q) for q in QUALITIES}
    for size in chosen.sizes:
        squares, scaled = load_squares(labelled, size)
        names = [squares.classes[k] for k in squares.labels]
        for narrow in with_windows(chosen.head, chosen.windows) or [head]:
            places = narrow.spec.window
            row = f"{size}×{size} pixels, quality 60, windows of {places}×{places}"
            rows[row] = share_right(list(scaled), names, narrow, model, 60)
    text = f"Head {head.name}, {len(pictures):,} pictures.\n\n| streams | top-1 |\n| --- | ---: |\n"
    text += "".join(f"| {name} | {share:.1%} |\n" for name, share in rows.items())
    print(text)
    chosen.out.mkdir(parents=True, exist_ok=True)
    name = "head_accuracy" + (f"-{head.name}" if head.name != DEFAULT_HEAD else "")
    (chosen.out / f"{name}.md").write_text(text, encoding="utf-8")
    figures = {"head": head.name, "pictures": len(pictures), "top1": rows}
    (chosen.out / f"{name}.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
