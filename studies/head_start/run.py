"""What a start from a trained head is worth in a small folder of other classes.

    python -m studies.head_start.run --data IMAGENETTE --names imagenette128-classes.tsv --work DIR [--docs]

A head is trained on six of imagenette's classes. Then heads for the other four (the second, fourth, sixth and
eighth folder) are trained on the first pictures of each, from nothing and from that head (`bifocal-train head
--start`), as long. Judged on all val pictures of the four classes, as real streams at quality 60.
What results.json has already is not done again.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import bifocal
from benchmarks import reporting
from bifocal._version import DEFAULT_MODEL
from bifocal.learn.data.labelled import find_labelled
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.classify.recipe import HeadRecipe
from bifocal.learn.training.classify.run import train_head
from bifocal.measure.tables import markdown
from studies.head_accuracy.run import read_pictures, share_right

ARMS = ("nothing", "a head for six other classes")


def folder_of(classes: list[Path], target: Path, count: int = 0) -> Path:
    """A folder with copies of the first ``count`` pictures of each class, or of all."""
    if not target.exists():
        part = target.with_name(target.name + ".part")
        for folder in classes:
            files = sorted(folder.iterdir())
            (part / folder.name).mkdir(parents=True, exist_ok=True)
            for file in files[: count or len(files)]:
                shutil.copy(file, part / folder.name / file.name)
        part.rename(target)
    return target


def judge(head: Path, val: Path, names: Path | None, model: bifocal.Model) -> float:
    """Top-1 of a trained head on real streams of the val pictures."""
    pictures, truth = read_pictures(find_labelled(val, names=names))
    return share_right(pictures, truth, bifocal.Head.load(head, threads=1), model, 60)


def table(rows: dict[str, Any], counts: list[int], seeds: list[int]) -> str:
    """Top-1 in percent for each number of pictures and each start, means over seeds."""
    lines = []
    for count in counts:
        keys = [[f"{count}/{arm}/{seed}" for seed in seeds] for arm in range(len(ARMS))]
        cells = (reporting.spread(100 * rows[key] for key in of if key in rows) for of in keys)
        lines.append((str(count), *(f"{cell} %" if cell != "not measured" else cell for cell in cells)))
    return markdown(("pictures a class", *(f"from {arm}" for arm in ARMS)), lines)


def run(chosen: argparse.Namespace, rows: dict[str, Any], save: Callable[[], None]) -> None:
    """Train and judge what ``rows`` do not have yet; ``save`` is called after each."""
    names, model = chosen.names, bifocal.Model.load(DEFAULT_MODEL, threads=1)
    classes, four = classes_of(chosen.data)
    six = folder_of([folder for folder in classes if folder not in four], chosen.work / "six")
    trained = chosen.work / f"six-{chosen.trunk_minutes:g}.bfh"
    if not trained.exists():
        budget = Budget(minutes=chosen.trunk_minutes)
        train_head(six, trained, budget, recipe=HeadRecipe(views=4), names=names)
    val = folder_of([chosen.data / "val" / folder.name for folder in four], chosen.work / "val")
    for seed in chosen.seeds:
        for count in chosen.counts:
            small = folder_of(four, chosen.work / f"four-{count}", count)
            for arm, start in enumerate((None, trained)):
                key = f"{count}/{arm}/{seed}"
                if key in rows:
                    continue
                out = chosen.work / f"{count}-{arm}-{seed}.bfh"
                recipe = HeadRecipe(seed=seed)
                budget = Budget(minutes=chosen.minutes)
                train_head(small, out, budget, recipe=recipe, names=names, start=start)
                rows[key] = judge(out, val, names, model)
                save()
                print(key, rows[key], flush=True)


def classes_of(data: Path) -> tuple[list[Path], list[Path]]:
    """The folders of all training classes, and the four of them that the study is about."""
    classes = sorted(folder for folder in (data / "train").iterdir() if folder.is_dir())
    return classes, classes[1::2][:4]


def main() -> None:
    parser = reporting.parser(__doc__, Path(__file__).parent)
    parser.add_argument(
        "--data", type=Path, required=True, help="with folders train and val, each of classes"
    )
    parser.add_argument("--names", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--counts", type=int, nargs="+", default=[25, 100])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--trunk-minutes", type=float, default=4)
    parser.add_argument("--minutes", type=float, default=1.5)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    chosen.work.mkdir(parents=True, exist_ok=True)
    path = chosen.out / "results.json"
    budget = {"trunk minutes": chosen.trunk_minutes, "minutes": chosen.minutes}
    known = reporting.read_json(path)
    if known.get("budget") != budget:  # rows of another budget could not be compared
        four = [folder.name for folder in classes_of(chosen.data)[1]]
        known = {"budget": budget, "classes": four, "rows": {}}
    run(chosen, known["rows"], lambda: reporting.write_json(path, known))
    reporting.publish(chosen, "head-start", table(known["rows"], chosen.counts, chosen.seeds), known)


if __name__ == "__main__":
    reporting.run(main)
