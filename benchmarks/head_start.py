"""What a start from a trained head is worth in a small folder of other classes.

    python benchmarks/head_start.py --data IMAGENETTE --names imagenette128-classes.tsv --work DIR [--docs]

A head is trained on six of imagenette's classes. Then heads for the other four (the second, fourth, sixth and
eighth folder) are trained on the first pictures of each, from nothing and from that head (`bifocal-train head
--start`), as long. Judged on all val pictures of the four classes, as real streams at quality 60. Writes
results/head_start.{json,md}; what is there is not done again.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from head_accuracy import share_right
from readme import RESULTS, replace_block

import bifocal
from bifocal.learn.data.labelled import find_labelled, read_rgb
from bifocal.learn.training.head import train_head
from bifocal.learn.training.head_loop import HeadRecipe
from bifocal.measure.report import markdown

ARMS = ("nothing", "a head for six other classes")


def folder_of(classes: list[Path], place: Path, count: int = 0) -> Path:
    """Copies of the first ``count`` pictures of each class, or of all."""
    if not place.exists():
        part = place.with_name(place.name + ".part")
        for folder in classes:
            files = sorted(folder.iterdir())
            (part / folder.name).mkdir(parents=True, exist_ok=True)
            for file in files[: count or len(files)]:
                shutil.copy(file, part / folder.name / file.name)
        part.rename(place)
    return place


def judge(head: Path, val: Path, names: Path | None, model: bifocal.Model) -> float:
    labelled = find_labelled(val, names=names)
    read = [
        (read_rgb(file), labelled.classes[k]) for file, k in zip(labelled.files, labelled.labels, strict=True)
    ]
    pictures, truth = zip(*((pixels, name) for pixels, name in read if pixels is not None), strict=True)
    return share_right(pictures, truth, bifocal.Head.load(head, threads=1), model, 60)


def table(rows: dict[str, Any], counts: list[int], seeds: list[int]) -> str:
    lines = []
    for count in counts:
        cells = []
        for arm in range(len(ARMS)):
            found = [100 * rows[f"{count}/{arm}/{s}"] for s in seeds if f"{count}/{arm}/{s}" in rows]
            cells.append(f"{np.mean(found):.1f} ± {np.ptp(found) / 2:.1f} %" if found else "not measured")
        lines.append((str(count), *cells))
    return markdown(("pictures a class", *(f"from {arm}" for arm in ARMS)), lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
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
    parser.add_argument("--docs", action="store_true", help="put the table into docs/measured.md")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    chosen.work.mkdir(parents=True, exist_ok=True)
    names, path, model = chosen.names, RESULTS / "head_start.json", bifocal.Model.load("lowfirst", threads=1)
    classes = sorted(folder for folder in (chosen.data / "train").iterdir() if folder.is_dir())
    four = classes[1::2][:4]
    six = [folder for folder in classes if folder not in four]
    trunk = chosen.work / f"six-{chosen.trunk_minutes:g}.bfh"
    if not trunk.exists():
        recipe = HeadRecipe(views=4)
        train_head(
            folder_of(six, chosen.work / "six"),
            trunk,
            minutes=chosen.trunk_minutes,
            recipe=recipe,
            names=names,
        )
    val = folder_of([chosen.data / "val" / folder.name for folder in four], chosen.work / "val")
    budget = {"trunk minutes": chosen.trunk_minutes, "minutes": chosen.minutes}
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if known.get("budget") != budget:
        known = {"budget": budget, "classes": [folder.name for folder in four], "rows": {}}
    for seed in chosen.seeds:
        for count in chosen.counts:
            small = folder_of(four, chosen.work / f"four-{count}", count)
            for arm, start in enumerate((None, trunk)):
                key = f"{count}/{arm}/{seed}"
                if key in known["rows"]:
                    continue
                out = chosen.work / f"{count}-{arm}-{seed}.bfh"
                recipe = HeadRecipe(seed=seed)
                train_head(small, out, minutes=chosen.minutes, recipe=recipe, names=names, start=start)
                known["rows"][key] = judge(out, val, names, model)
                path.write_text(json.dumps(known, indent=1) + "\n")
                print(key, known["rows"][key], flush=True)
    text = table(known["rows"], chosen.counts, chosen.seeds)
    (RESULTS / "head_start.md").write_text(text + "\n", "utf-8")
    if chosen.docs:
        replace_block("head-start", text)


if __name__ == "__main__":
    main()
