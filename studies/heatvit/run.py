"""Pruned transformers on the codec's latents: accuracy against realised multiply-adds and milliseconds.

    python -m studies.heatvit.run --data CLASSIFY --cache DIR [--dense-steps 800] [--steps 60] [--seeds 0]
        [--docs]

CLASSIFY is the folder of imagenette128 zip files. One dense transformer is trained on the low 64 channels of
the latents as decoded at quality 50, then every arm is fine-tuned from it for the same number of steps of the
same batches: dense again, HeatViT with and without package, with bits per token, a threshold on bits, ToMe,
random and class-attention pruning at HeatViT's realised numbers of tokens. Numbers of tokens and thresholds
are taken on 950 held-out training pictures; val is read from real streams. Weights and latents are kept in
DIR and rows in results.json, so that an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from benchmarks import reporting
from bifocal._version import DEFAULT_MODEL
from bifocal.learn.checkpoint import load_checkpoint
from bifocal.learn.nets.cost import count
from bifocal.learn.nets.heads.heatvit import HeatViT
from bifocal.learn.nets.heads.vit import VisionTransformer
from bifocal.learn.training.pruning.latency import LatencyTable, measure_latency, modelled_latency
from bifocal.learn.training.pruning.objective import Batch
from bifocal.learn.training.tasks.prune import train_pruned
from bifocal.runtime.model import Model
from studies.heatvit.arms import (
    ARMS,
    BEFORE,
    CLASSES,
    CONFIG,
    RATES,
    build,
    dense_model,
    finetune,
    judge,
    match,
    plain_objective,
)
from studies.heatvit.data import (
    CHANNELS,
    GRID,
    Coded,
    batches,
    labels_of,
    make_coded,
    make_streamed,
    make_view,
    members,
    rounded,
    split,
)
from studies.heatvit.timing import PICTURES, ROUNDS, THREADS, graphs, milliseconds, runner

QUALITY, BATCH, VIEWS, CODED = 50, 128, 6, 4


def prepare(chosen: argparse.Namespace) -> dict[str, Any]:
    """Latents, made once: views for the dense model, some of them coded exactly, val from real streams."""
    model = Model.load(DEFAULT_MODEL, threads=1)
    codec = load_checkpoint(chosen.codec).model().eval()
    found, cache = members(chosen.data, "train"), chosen.cache
    labels = labels_of(found)
    views = [make_view(cache / f"v{k}.npy", found, k, model) for k in range(VIEWS)]
    coded = [make_coded(cache / f"coded{k}.npz", views[k], labels, codec, QUALITY) for k in range(CODED)]
    streamed = make_streamed(cache / "streamed-val.npz", members(chosen.data, "val"), model, QUALITY)
    nothing = np.zeros((len(labels), GRID, GRID), np.float16)
    raw = [Coded(view[:, :CHANNELS], nothing, labels) for view in views]
    train, held = split(len(labels))
    return {"codec": codec, "raw": raw, "coded": coded, "val": streamed, "train": train, "held": held}


def log(name: str) -> Callable[[int, float, nn.Module], None]:
    return lambda step, loss, _: print(f"  {name}: step {step}, loss {loss:.3f}", flush=True)


def train_dense(chosen: argparse.Namespace, data: dict[str, Any]) -> VisionTransformer:
    """The dense model, trained on rounded latents, or loaded if that is done."""
    torch.manual_seed(0)
    raw, codec = data["raw"], data["codec"]
    first = rounded(torch.from_numpy(raw[0].y[:1000].astype(np.float32)), codec, QUALITY)
    vit = dense_model(first)
    vit.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    path = chosen.cache / f"dense-{chosen.dense_steps}.safetensors"
    if not path.exists():
        feed = batches(raw, data["train"], batch=BATCH, seed=0, classes=CLASSES)
        feed = (Batch(rounded(b.inputs, codec, QUALITY), b.bits, b.targets) for b in feed)
        steps = chosen.dense_steps
        made = train_pruned(vit, feed, plain_objective, steps=steps, lr=2e-3, report=log("dense"), every=50)
        save(made, path)
    vit.load_state_dict(load_file(path))
    return vit


def save(model: nn.Module, path: Path) -> None:
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)


def known_rows(path: Path, chosen: argparse.Namespace, dense: VisionTransformer) -> dict[str, Any]:
    """What was measured before; rows of another budget would not be comparable and are left out."""
    budget = {"dense_steps": chosen.dense_steps, "steps": chosen.steps, "lr": chosen.lr}
    known = reporting.read_json(path)
    if known.get("budget") == budget:
        return known
    table = measure_latency(dense.blocks[0], CONFIG.dim, (1, 9, 17, 25, 33, 41, 49, 57, 65))
    return {"budget": budget, "table": [table.tokens, table.cost, table.unit], "rows": {}}


def run_arm(
    chosen: argparse.Namespace, arm: str, seed: int, data: dict[str, Any], known: dict[str, Any], stem: float
) -> dict[str, Any]:
    """Fine-tune one arm from the dense model of ``data``, keep its weights, and judge it."""
    coded, held = data["coded"], data["held"]
    reference = known["rows"].get(f"heatvit/{seed}", {}).get("held")
    model = build(arm, data["dense"], coded[0], held, reference)
    feed = batches(coded, data["train"], batch=BATCH, seed=100 + seed, classes=CLASSES)
    torch.manual_seed(seed)
    begin, report = time.process_time(), log(f"{arm}/{seed}")
    model = finetune(model, feed, table_of(known), steps=chosen.steps, lr=chosen.lr, report=report)
    if reference and isinstance(model, HeatViT):  # others than HeatViT are brought to its cost
        match(model, coded[0], held, reference["rates"])
    save(model, weights(chosen, arm, seed))
    return {
        "minutes": (time.process_time() - begin) / 60,
        "held": judge(model, coded[0], held, stem),
        "val": judge(model, data["val"], np.arange(len(data["val"].labels)), stem),
    }


def time_arms(chosen: argparse.Namespace, data: dict[str, Any], rows: dict[str, Any]) -> None:
    """Add milliseconds to the rows of the first seed; those of other seeds have the same shapes."""
    models = {}
    for arm, seed in (key.split("/") for key in rows):
        if int(seed) == chosen.seeds[0]:
            reference = rows.get(f"heatvit/{seed}", {}).get("held")
            model = build(arm, data["dense"], data["coded"][0], data["held"], reference, trained=True)
            model.load_state_dict(load_file(weights(chosen, arm, seed)))
            models[f"{arm}/{seed}"] = model.eval(), graphs(model)
    for threads in THREADS:
        runs = {key: runner(*model, threads) for key, model in models.items()}
        for key, ms in milliseconds(runs, data["val"], chosen.cpu).items():
            rows[key].setdefault("ms", {})[str(threads)] = ms


def weights(chosen: argparse.Namespace, arm: str, seed: int | str) -> Path:
    return Path(chosen.cache / f"{arm}-{seed}-{chosen.dense_steps}-{chosen.steps}.safetensors")


def table_of(known: dict[str, Any]) -> LatencyTable:
    tokens, cost, unit = known["table"]
    return LatencyTable(tuple(tokens), tuple(cost), unit)


def arm_table(rows: dict[str, Any]) -> str:
    """A row for each arm: accuracy, multiply-adds, tokens and milliseconds, and their share of dense."""
    lines = [
        "| arm | seeds | val top-1 | MMAC (realised) | of dense | tokens in the six blocks | ms, one thread "
        "| of dense | ms, two threads | of dense |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: |",
    ]

    def rows_of(arm: str) -> list[Any]:
        return [row for key, row in rows.items() if key.split("/")[0] == arm]

    def mean(arm: str, get: Callable[[Any], Any]) -> Any:
        found = [get(row) for row in rows_of(arm)]
        return np.mean(found, 0) if found and all(v is not None for v in found) else None

    def times(arm: str) -> list[Any]:
        found = [[r["ms"][str(n)] for n in THREADS] for r in rows_of(arm) if "ms" in r]
        return list(np.mean(found, 0)) if found else [None] * len(THREADS)

    mac_0, dense_ms = mean("dense", lambda r: r["val"]["mac"]), times("dense")
    for arm, label in ARMS.items():
        mac = mean(arm, lambda r: r["val"]["mac"])
        if mac is None or mac_0 is None:
            lines.append(f"| {label} | 0 | not measured | | | | | | | |")
            continue
        tokens = " ".join(f"{n:.0f}" for n in mean(arm, lambda r: r["val"]["tokens"]))
        timed = "".join(
            " not measured | |" if ms is None or full is None else f" {ms:.2f} | {100 * ms / full:.0f} % |"
            for ms, full in zip(times(arm), dense_ms, strict=True)
        )
        right = [100 * row["val"]["accuracy"] for row in rows_of(arm)]
        lines.append(
            f"| {label} | {len(right)} "
            f"| {np.mean(right):.1f} ± {np.ptp(right) / 2:.1f} % | {mac / 1e6:.1f} "
            f"| {100 * mac / mac_0:.0f} % | {tokens} |{timed}"
        )
    return "\n".join(lines)


def page(known: dict[str, Any]) -> str:
    """What was measured and how, as Markdown."""
    budget, table = known["budget"], table_of(known)
    model = modelled_latency(CONFIG.dim, 4 * CONFIG.dim, CONFIG.heads, table.tokens)
    clock = known.get("clock", "no")
    stages, shares = (", ".join(map(str, values)) for values in (BEFORE, RATES))
    return f"""Written by `studies/heatvit/run.py`. imagenette at 128×128, the low 64 channels of the default
codec's latents at quality {QUALITY}: 64 tokens and a class token, D {CONFIG.dim}, {CONFIG.depth} blocks;
stages before blocks {stages} (from 0). HeatViT is pulled towards shares {shares} of the tokens, the others
are set to what it realised on held-out training pictures. One dense model of {budget["dense_steps"]} steps of
{BATCH} pictures; every arm, dense too, is fine-tuned from it for {budget["steps"]} steps of the same batches.
Accuracy on the 1,000 val pictures, read from real streams: the mean of the seeds ± half their range; one
standard error of one seed is about 1.5 points.
Multiply-adds are means of what every picture really used, stem and selectors included. Milliseconds: ONNX
Runtime, one and two threads, a picture at a time, the fastest of {ROUNDS} rounds in turn with other
arms, mean of {PICTURES} pictures, gathers between segments included, of the first seed ({clock} time,
{platform.machine()}).

{arm_table(known["rows"])}

What a block costs, measured (torch, the table of the latency loss) and modelled:

{table.markdown()}

{model.markdown()}
"""


def main() -> None:
    parser = reporting.parser(__doc__, Path(__file__).parent)
    parser.add_argument("--data", type=Path, required=True, help="folder of the imagenette128 zip files")
    parser.add_argument("--cache", type=Path, required=True, help="folder for latents and weights")
    parser.add_argument(
        "--codec",
        type=Path,
        required=True,
        help="checkpoint of the model: checkpoints/lowfirst.safetensors of release 0.4.0",
    )
    parser.add_argument("--dense-steps", type=int, default=800)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1, help="threads to train with")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS))
    parser.add_argument(
        "--time", action=argparse.BooleanOptionalAction, default=True, help="measure milliseconds"
    )
    parser.add_argument("--cpu", action="store_true", help="count processor time, on a busy machine")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    chosen.cache.mkdir(parents=True, exist_ok=True)
    data = prepare(chosen)
    data["dense"] = dense = train_dense(chosen, data)
    y = torch.zeros(1, CHANNELS, GRID, GRID)
    stem = sum(row.kmac for row in count(dense.patch_embed, lambda: dense.eval().patch_embed(y), 1)) * 1000
    path = chosen.out / "results.json"
    known = known_rows(path, chosen, dense)
    rows = known["rows"]
    for seed in chosen.seeds:
        for arm in chosen.arms:
            if f"{arm}/{seed}" not in rows:
                rows[f"{arm}/{seed}"] = run_arm(chosen, arm, seed, data, known, stem)
                reporting.write_json(path, known)
                print(f"{arm}/{seed}", json.dumps(rows[f"{arm}/{seed}"]), flush=True)
    if chosen.time:
        known["clock"] = "processor" if chosen.cpu else "wall"
        time_arms(chosen, data, rows)
    reporting.publish(chosen, "heatvit", page(known), known)


if __name__ == "__main__":
    reporting.run(main)
