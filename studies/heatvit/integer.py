"""What HeatViT's polynomials and 8 bits cost: accuracy of pruned transformers in float and in integers.

    python -m studies.heatvit.integer --data CLASSIFY --cache DIR [--seeds 0 1 2] [--docs]

Goes on from the weights that run.py, with the same --cache and steps, left of its arm ``heatvit``. Each is
run as it is (exact GELU, softmax and sigmoid) and, fine-tuned for --tune steps with the paper's polynomials,
for some of their factors; then everything after the stem is quantised to 8 bits with power-of-two scales from
64 training pictures and run in integers (`studies/heatvit/integer_network.py`, whose float64 version agrees
bit for bit). Accuracy is on the 1,000 val pictures, from real streams.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from benchmarks import reporting
from benchmarks.reporting import spread
from bifocal.learn.nets.heads.fixed_point import Integers
from bifocal.learn.nets.heads.heatvit import HeatConfig, HeatViT
from bifocal.learn.nets.heads.polynomial import Polynomials
from bifocal.learn.nets.heads.timm_names import embed
from bifocal.learn.training.pruning.objective import pruning_objective
from bifocal.learn.training.tasks.prune import train_pruned
from bifocal.measure.tables import markdown
from studies.heatvit.arms import BEFORE, CLASSES, match
from studies.heatvit.data import GRID, Coded, batches
from studies.heatvit.integer_network import quantise, run_integer
from studies.heatvit.run import BATCH, log, prepare, save, table_of, train_dense, weights

#: delta1 and delta2 of the rows; none is the model as it was trained.
FACTORS: tuple[tuple[float, float] | None, ...] = (None, (1.0, 1.0), (0.75, 1.0), (0.5, 1.0), (0.5, 0.5))
CALIBRATED = 64


@torch.no_grad()
def judge(model: HeatViT, train: Coded, val: Coded) -> dict[str, float]:
    """Accuracy in float and in 8 bits, and the share of positions whose last decision differs."""
    model.eval()
    net = quantise(model, torch.from_numpy(train.y[:CALIBRATED].astype(np.float32)))
    right, byte, differ, kept = [], [], [], []
    for start in range(0, len(val.labels), 100):
        y = torch.from_numpy(val.y[start : start + 100].astype(np.float32))
        made = model.run(y, None, masked=False)
        answers = [run_integer(net, tokens, Integers()) for tokens in embed(model.backbone, y).numpy()]
        labels = val.labels[start : start + 100]
        right.append(made.logits.argmax(1).numpy() == labels)
        byte.append(np.array([answer.logits.argmax() for answer in answers]) == labels)
        for keep, answer in zip(made.keep[-1].numpy() > 0.5, answers, strict=True):
            mine = np.zeros(GRID**2, bool)
            mine[answer.positions[-1]] = True
            differ.append((mine != keep.ravel()).mean())
            kept.append(mine.mean())
    return {
        "float": float(np.concatenate(right).mean()),
        "8 bit": float(np.concatenate(byte).mean()),
        "differ": float(np.mean(differ)),
        "kept": float(np.mean(kept)),
    }


def tuned(
    chosen: argparse.Namespace, seed: int, factors: tuple[float, float] | None, data: dict[str, Any]
) -> HeatViT:
    """The trained arm, or with polynomials fine-tuned from it towards the shares that it had."""
    known = reporting.read_json(chosen.out / "results.json")
    polynomials = Polynomials(*factors) if factors else None
    vit = copy.deepcopy(data["dense"])
    model = HeatViT(vit, HeatConfig(BEFORE, package=True, polynomials=polynomials))
    model.load_state_dict(load_file(weights(chosen, "heatvit", seed)))
    if polynomials is None:
        return model
    path = chosen.cache / f"polynomials-{factors}-{seed}-{chosen.tune}.safetensors"
    rates = known["rows"][f"heatvit/{seed}"]["held"]["rates"]
    if not path.exists():
        feed = batches(data["coded"], data["train"], batch=BATCH, seed=200 + seed, classes=CLASSES)
        torch.manual_seed(seed)
        objective = pruning_objective(rates, table_of(known))
        made = train_pruned(
            model,
            feed,
            objective,
            steps=chosen.tune,
            lr=chosen.lr,
            report=log(str(factors)),
            every=30,
            average=0.95,
        )
        save(made, path)
    model.load_state_dict(load_file(path))
    match(model, data["coded"][0], data["held"], rates)  # as in run.py: all at the same cost
    return model


def table(rows: dict[str, dict[str, float]]) -> str:
    """Means over seeds ± half their range."""

    lines = []
    for factors in FACTORS:
        found = [row for key, row in rows.items() if key.split("/")[0] == str(factors)]
        if found:
            name = (
                f"polynomials, δ1 = {factors[0]:g}, δ2 = {factors[1]:g}" if factors else "as it was trained"
            )
            cells = (spread(100 * row[key] for row in found) for key in ("float", "8 bit", "kept", "differ"))
            lines.append((name, *cells, str(len(found))))
    head = (
        "functions",
        "float, %",
        "8 bit, %",
        "positions kept last, %",
        "positions decided otherwise, %",
        "seeds",
    )
    return markdown(head, lines)


def main() -> None:
    parser = reporting.parser(__doc__, Path(__file__).parent)
    parser.add_argument("--data", type=Path, required=True, help="folder of the imagenette128 zip files")
    parser.add_argument("--cache", type=Path, required=True, help="that of run.py")
    parser.add_argument("--dense-steps", type=int, default=2400)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--tune", type=int, default=60)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    data = prepare(chosen)
    data["dense"] = train_dense(chosen, data)
    path = chosen.out / "integer.json"
    budget = {"dense_steps": chosen.dense_steps, "steps": chosen.steps, "tune": chosen.tune, "lr": chosen.lr}
    known = reporting.read_json(path)
    if known.get("budget") != budget:
        known = {"budget": budget, "rows": {}}
    for seed in chosen.seeds:
        for factors in FACTORS:
            key = f"{factors}/{seed}"
            if key not in known["rows"]:
                known["rows"][key] = judge(tuned(chosen, seed, factors, data), data["coded"][0], data["val"])
                reporting.write_json(path, known)
                print(key, known["rows"][key], flush=True)
    reporting.publish(chosen, "heatvit-integer", table(known["rows"]), known, file="integer")


if __name__ == "__main__":
    reporting.run(main)
