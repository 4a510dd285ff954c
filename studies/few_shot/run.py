"""How well a head tells classes that it has never seen from a few examples: `bifocal classify --examples`.

    python -m studies.few_shot.run --head HEAD.bfh --data IMAGENETTE --names NAMES.tsv [--docs]

The classes are those of the folder that the head does not know (train it on the others: README.md). Examples
are the first pictures of a draw from train, and all val pictures of these classes are judged, as real streams
at quality 60. Every number of examples is drawn anew for each seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import bifocal
from benchmarks import reporting
from bifocal.api.examples import Examples
from bifocal.errors import OptionError
from bifocal.learn.data.labelled import find_labelled, read_rgb
from bifocal.measure.tables import markdown

QUALITY = 60
Vectors = Mapping[str, list[NDArray[np.float32]]]


def embeddings(
    folder: Path, names: Path | None, classes: Sequence[str], head: bifocal.Head, most: int = 0
) -> Vectors:
    """Embeddings of streams of the pictures of ``classes``: of all, or of ``most`` evenly taken ones."""
    model = bifocal.Model.load(head.spec.codec, threads=1)
    labelled = find_labelled(folder, names=names)
    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in classes}
    for name in classes:
        rows = np.flatnonzero(labelled.labels == labelled.classes.index(name))
        for row in rows[:: max(1, len(rows) // most)][:most] if most else rows:
            pixels = read_rgb(labelled.files[row])
            if pixels is not None:
                data = bifocal.encode(pixels, QUALITY, model=model)
                found[name].append(bifocal.embed(data, head=head, model=model))
    return found


def accuracy(known: Vectors, asked: Vectors, shots: int, seed: int) -> float:
    """The share of ``asked`` that the nearest mean of ``shots`` of the ``known`` names rightly."""
    rng = np.random.default_rng(seed)
    chosen = {name: [rows[k] for k in rng.permutation(len(rows))[:shots]] for name, rows in known.items()}
    examples = Examples.of(chosen, "few")
    right = [examples.labels(vector).name == name for name, rows in asked.items() for vector in rows]
    return float(np.mean(right))


def main() -> None:
    parser = reporting.parser(__doc__, Path(__file__).parent)
    parser.add_argument("--head", required=True)
    parser.add_argument(
        "--data", type=Path, required=True, help="with folders train and val, each of classes"
    )
    parser.add_argument("--names", type=Path)
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 5, 20, 100])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    chosen = parser.parse_args()
    head = bifocal.Head.load(chosen.head, threads=1)
    named = find_labelled(chosen.data / "val", names=chosen.names).classes
    classes = [name for name in named if name not in head.spec.classes]
    if len(classes) < 2:
        raise OptionError(
            "the head knows all classes but one. Train it on fewer: studies/few_shot/README.md."
        )
    known = embeddings(chosen.data / "train", chosen.names, classes, head, most=4 * max(chosen.shots))
    asked = embeddings(chosen.data / "val", chosen.names, classes, head)
    rows = {n: [accuracy(known, asked, n, seed) for seed in chosen.seeds] for n in chosen.shots}
    table = markdown(
        ["examples a class", "right"],
        [
            [str(n), f"{100 * np.mean(shares):.1f} ± {100 * np.std(shares):.1f} %"]
            for n, shares in rows.items()
        ],
    )
    count = sum(map(len, asked.values()))
    drawn = f"{count:,} pictures, {len(chosen.seeds)} draws of examples"
    text = f"Classes: {', '.join(classes)}; {drawn}.\n\n{table}"
    result = {"head": head.name, "classes": classes, "pictures": count, "right": rows}
    reporting.publish(chosen, "few-shot", text, result)


if __name__ == "__main__":
    reporting.run(main)
