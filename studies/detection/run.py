"""Does infrared help a detector of trees, how is it brought in, and does learning to enlarge pictures pay?

    python -m studies.detection.run --train urban-trees-train --val urban-trees-val --docs

Each arm is a slim detector trained for the same steps; that of equal time gets the processor seconds of the
arm with super-resolution. Figures go to results.json after every arm; one that is there is not run again.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import reporting
from bifocal.learn.data.detection.dataset import find_detection, parse_modalities
from bifocal.learn.data.detection.views import batches
from bifocal.learn.nets.heads.detector import UNIT, BoxesOf, Detector
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.detect.judging import judge, network_finder
from bifocal.learn.training.detect.recipe import detect_recipe, fitted_anchors
from bifocal.learn.training.fit import fit
from bifocal.learn.training.tasks.detect import detect_job

HERE = Path(__file__).parent
#: Distance in pixels at which a tree counts as found, and draws for the intervals.
NEAR, DRAWS = 6.0, 200
#: Arms: modalities, fusion, super-resolution, how much smaller the network sees pictures.
ARMS: dict[str, tuple[str, str, bool, int]] = {
    "colour": ("rgb", "concat", False, 2),
    "infrared": ("ir", "concat", False, 2),
    "both, concat": ("rgb,ir", "concat", False, 2),
    "both, mf": ("rgb,ir", "mf", False, 2),
    "colour, sr": ("rgb", "concat", True, 2),
    "infrared, sr": ("ir", "concat", True, 2),
    "both, concat, sr": ("rgb,ir", "concat", True, 2),
    "both, mf, sr": ("rgb,ir", "mf", True, 2),
    "both, mf, equal time": ("rgb,ir", "mf", False, 2),
    "both, mf, full resolution": ("rgb,ir", "mf", False, 1),
}


def run_arm(name: str, train: Path, val: Path, budget: Budget, seed: int) -> dict[str, Any]:
    """Train one arm and judge it; processor seconds are those of the steps, without judging."""
    kinds, fusion, sr, shrink = ARMS[name]
    modalities = parse_modalities(kinds)
    data = find_detection(train, modalities)
    held = find_detection(val, modalities, classes=data.classes)
    recipe = detect_recipe("slim", modalities, fusion, sr=sr, side=256, shrink=shrink, seed=seed)
    anchors = fitted_anchors(data, shrink)
    recipe = replace(recipe, config=replace(recipe.config, classes=len(data.classes), anchors=anchors))
    torch.manual_seed(seed)
    job = detect_job(recipe, Detector(recipe.config), batches(data, recipe.batch, recipe.side, seed))
    made = fit(job, budget)
    assert job.average is not None
    module = BoxesOf(job.average.model.eval(), anchors, shrink)
    judged = judge(held, network_finder(module, UNIT * shrink), near=NEAR, draws=DRAWS, seed=seed)
    cost = {"steps": made.step, "cpu_seconds": round(made.cpu_seconds, 1), "anchors": anchors}
    return {"arm": name, "seed": seed, "pictures": [len(data), len(held)], **cost, **judged.figures()}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The results as a table of Markdown, a row an arm: means over seeds, and the first's interval."""
    lines = ["| arm | seeds | steps | processor s | AP50, 12-pixel boxes | AP at 6 pixels |"]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in ARMS:
        found = [row for row in rows if row["arm"] == name]
        if not found:
            lines.append(f"| {name} | – | – | – | not measured | not measured |")
            continue
        cells = [name, str(len(found)), str(found[0]["steps"])]
        cells.append(f"{np.mean([row['cpu_seconds'] for row in found]):.0f}")
        for key in ("ap50", "near"):
            low, high = found[0]["95 %"][key]
            mean = 100 * np.mean([row[key] for row in found])
            cells.append(f"{mean:.1f} ({100 * low:.1f} to {100 * high:.1f})")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = reporting.parser(__doc__, HERE)
    parser.add_argument("--train", type=Path, help="a data set as for `bifocal-train detect`")
    parser.add_argument("--val", type=Path, help="the one to judge on")
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--arms", default=";".join(ARMS), help="names with semicolons between them")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = reporting.read_json(asked.out / "results.json")
    found = found or {"rows": []}
    rows = list(found["rows"])
    for seed in map(int, asked.seeds.split(",")) if asked.train else ():
        for name in asked.arms.split(";"):
            budget = budget_of(name, seed, asked.steps, rows)
            if budget is None:
                continue
            rows.append(run_arm(name, asked.train, asked.val, budget, seed))
            print(rows[-1], flush=True)
            machine = f"{platform.machine()}, one thread, torch {torch.__version__}"
            found = {"data": asked.train.name, "machine": machine, "rows": rows}
            reporting.write_json(asked.out / "results.json", found)
    reporting.publish(asked, "detection", table(rows), found)


def budget_of(name: str, seed: int, steps: int, rows: Sequence[Mapping[str, Any]]) -> Budget | None:
    """How long an arm is trained; None if it is there already, or the arm whose time it gets is not."""
    if any((row["arm"], row["seed"]) == (name, seed) for row in rows):
        return None
    if not name.endswith("equal time"):
        return Budget(steps=steps)
    same = [row for row in rows if (row["arm"], row["seed"]) == ("both, mf, sr", seed)]
    return Budget(cpu_minutes=same[0]["cpu_seconds"] / 60) if same else None


if __name__ == "__main__":
    main()
