"""Pruned transformers on the codec's latents: accuracy against realised multiply-adds and milliseconds.

    python benchmarks/heatvit.py --data CLASSIFY --cache DIR [--dense-steps 800] [--steps 60] [--seeds 0]
        [--docs]

CLASSIFY is the folder of imagenette128 zip files. One dense transformer is trained on the low 64 channels of
the latents as decoded at quality 50, then every arm is fine-tuned from it for the same number of steps of the
same batches: dense again, HeatViT with and without package, with bits per token, a threshold on bits, ToMe,
random and class-attention pruning at HeatViT's realised numbers of tokens. Numbers of tokens and thresholds
are taken on 950 held-out training pictures; val is read from real streams. Weights and latents are kept in
DIR and rows in results/heatvit.json, so that an interrupted run goes on where it was. Writes
results/heatvit.md too.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from heatvit_arms import (
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
from heatvit_data import (
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
from readme import RESULTS, ROOT, replace_block
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bifocal.learn.checkpoint import load_checkpoint
from bifocal.learn.nets.cost import count
from bifocal.learn.nets.heads.heatvit import HeatConfig, HeatViT, segments
from bifocal.learn.nets.heads.vit import VisionTransformer
from bifocal.learn.packing.graphs import quiet
from bifocal.learn.training.tasks.prune import Batch, LatencyTable, fit, measure_latency, modelled_latency
from bifocal.runtime.model import Model

QUALITY, BATCH, VIEWS, CODED, PICTURES, ROUNDS = 50, 128, 6, 4, 50, 9
THREADS = (1, 2)
Run = Callable[[Any, Any], Any]

# -- milliseconds ------------------------------------------------------------------------------------------


def exported(module: nn.Module, example: tuple[Tensor, ...], tokens: bool) -> bytes:
    """One module as an ONNX graph; ``tokens`` makes the number of tokens free."""
    shapes = tuple({1: torch.export.Dim.AUTO} if tokens else {} for _ in example)
    buffer = io.BytesIO()
    with quiet():
        program = torch.onnx.export(module, example, dynamic_shapes=shapes, dynamo=True, verbose=False)
    assert program is not None
    program.save(buffer)
    return buffer.getvalue()


def session(graph: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(graph, options)


class LogitsOnly(nn.Module):
    """A model that is one graph: latents and bits to logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, y: Tensor, bits: Tensor) -> Tensor:
        made = self.model(y) if isinstance(self.model, VisionTransformer) else self.model(y, bits)
        return made if isinstance(made, Tensor) else made.logits


@torch.no_grad()
def graphs(model: nn.Module) -> list[bytes]:
    """A model as one graph, or as segments."""
    y, bits = torch.randn(1, CHANNELS, GRID, GRID), torch.rand(1, GRID, GRID)
    if not isinstance(model, HeatViT):
        return [exported(LogitsOnly(model).eval(), (y, bits), False)]
    first = (y, bits[:, None]) if model.config.bits else (y,)
    later = (torch.randn(1, 30, CONFIG.dim + model.config.bits),)
    return [exported(p.eval(), later if k else first, k > 0) for k, p in enumerate(segments(model))]


def runner(model: nn.Module, parts: list[bytes], threads: int) -> Run:
    """What runs one picture, ``y [1, c, h, w]`` and ``bits [1, h, w]``: a graph, or segments with gathers."""
    chain = [session(part, threads) for part in parts]
    if isinstance(model, HeatViT):
        return lambda a, b: run_chain(chain, a, b, model.config)
    names = [i.name for i in chain[0].get_inputs()]
    return lambda a, b: chain[0].run(None, dict(zip(names, (a, b), strict=False)))


def run_chain(chain: list[Any], y: Any, bits: Any, config: HeatConfig) -> Any:
    """Segments and what a runtime does between them (docs/heatvit.md)."""
    names = [i.name for i in chain[0].get_inputs()]
    made, packaged = chain[0].run(None, dict(zip(names, (y, bits[:, None]), strict=False))), False
    for part in chain[1:]:
        tokens, score = made[0][0], made[1][0]
        stay = score >= 0.5
        stay[0] = True
        if packaged:
            stay[-1] = False
        kept = tokens[stay]
        if config.package and not stay.all():
            weight = score[~stay]
            weight = weight if weight.sum() >= 1e-6 else np.ones_like(weight)
            kept, packaged = np.concatenate([kept, (weight @ tokens[~stay] / weight.sum())[None]]), True
        made = part.run(None, {part.get_inputs()[0].name: kept[None]})
    return made[0]


def milliseconds(runs: dict[str, Run], coded: Coded, cpu: bool) -> dict[str, float]:
    """The fastest of some rounds of each picture, then the mean; of processor time if ``cpu``.

    Arms take turns, in another order each time: load falls on all, and no arm sits where the scheduler cuts.
    """
    clock, rng = time.process_time if cpu else time.perf_counter, np.random.default_rng(0)
    rows = np.arange(0, len(coded.labels), len(coded.labels) // PICTURES)
    pictures = [tuple(a[r : r + 1].astype(np.float32) for a in (coded.y, coded.bits)) for r in rows]
    best = {key: np.full(len(pictures), math.inf) for key in runs}
    for _ in range(ROUNDS):
        for k, (a, b) in enumerate(pictures):
            for key in rng.permutation(list(runs)):
                begin = clock()
                runs[key](a, b)
                best[key][k] = min(best[key][k], clock() - begin)
    return {key: float(1000 * times.mean()) for key, times in best.items()}


# -- the run -----------------------------------------------------------------------------------------------


def prepare(chosen: argparse.Namespace) -> dict[str, Any]:
    """Latents, made once: views for the dense model, some of them coded exactly, val from real streams."""
    model = Model.load("lowfirst", threads=1)
    codec = load_checkpoint(Path(__file__).parents[1] / "checkpoints" / "lowfirst.safetensors").model().eval()
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
    vit = dense_model(first).to(memory_format=torch.channels_last)
    path = chosen.cache / f"dense-{chosen.dense_steps}.safetensors"
    if not path.exists():
        feed = batches(raw, data["train"], batch=BATCH, seed=0, classes=CLASSES)
        feed = (Batch(rounded(b.inputs, codec, QUALITY), b.bits, b.targets) for b in feed)
        steps = chosen.dense_steps
        made = fit(vit, feed, plain_objective, steps=steps, lr=2e-3, report=log("dense"), every=50)
        save(made, path)
    vit.load_state_dict(load_file(path))
    return vit


def save(model: nn.Module, path: Path) -> None:
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)


def run(chosen: argparse.Namespace) -> None:
    torch.set_num_threads(chosen.threads)
    chosen.cache.mkdir(parents=True, exist_ok=True)
    data = prepare(chosen)
    dense = train_dense(chosen, data)
    y = torch.zeros(1, CHANNELS, GRID, GRID)
    stem = sum(row.kmac for row in count(dense.patch_embed, lambda: dense.eval().patch_embed(y), 1)) * 1000
    path = chosen.out / "heatvit.json"
    budget = {
        "dense_steps": chosen.dense_steps,
        "steps": chosen.steps,
        "lr": chosen.lr,
    }
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if known.get("budget") != budget:  # rows of another budget would not be comparable
        table = measure_latency(dense.blocks[0], CONFIG.dim, (1, 9, 17, 25, 33, 41, 49, 57, 65))
        known = {"budget": budget, "table": [table.tokens, table.cost, table.unit], "rows": {}}
    rows, table = known["rows"], table_of(known)
    for seed in chosen.seeds:
        for arm in chosen.arms:
            if f"{arm}/{seed}" in rows:
                continue
            reference = rows.get(f"heatvit/{seed}", {}).get("held")
            model = build(arm, dense, data["coded"][0], data["held"], reference)
            feed = batches(data["coded"], data["train"], batch=BATCH, seed=100 + seed, classes=CLASSES)
            torch.manual_seed(seed)
            begin = time.process_time()
            report = log(f"{arm}/{seed}")
            model = finetune(model, feed, table, steps=chosen.steps, lr=chosen.lr, report=report)
            if reference and isinstance(model, HeatViT):  # others than HeatViT are brought to its cost
                match(model, data["coded"][0], data["held"], reference["rates"])
            rows[f"{arm}/{seed}"] = {
                "minutes": (time.process_time() - begin) / 60,
                "held": judge(model, data["coded"][0], data["held"], stem),
                "val": judge(model, data["val"], np.arange(len(data["val"].labels)), stem),
            }
            save(model, weights(chosen, arm, seed))
            path.write_text(json.dumps(known, indent=1) + "\n")
            print(f"{arm}/{seed}", json.dumps(rows[f"{arm}/{seed}"]), flush=True)
    if chosen.time:
        known["clock"] = "processor" if chosen.cpu else "wall"
        models = {}
        for arm, seed in (key.split("/") for key in rows):
            if int(seed) != chosen.seeds[0]:  # other seeds are of the same shapes
                continue
            reference = rows.get(f"heatvit/{seed}", {}).get("held")
            model = build(arm, dense, data["coded"][0], data["held"], reference, trained=True)
            model.load_state_dict(load_file(weights(chosen, arm, seed)))
            models[f"{arm}/{seed}"] = model.eval(), graphs(model)
        for threads in THREADS:
            runs = {key: runner(*model, threads) for key, model in models.items()}
            for key, ms in milliseconds(runs, data["val"], chosen.cpu).items():
                rows[key].setdefault("ms", {})[str(threads)] = ms
        path.write_text(json.dumps(known, indent=1) + "\n")
    text = page(known)
    (chosen.out / "heatvit.md").write_text("# Fewer tokens on latents: HeatViT and others\n\n" + text)
    if chosen.docs:
        replace_block("heatvit", text, ROOT / "docs" / "heatvit.md")


def weights(chosen: argparse.Namespace, arm: str, seed: int | str) -> Path:
    return Path(chosen.cache / f"{arm}-{seed}-{chosen.dense_steps}-{chosen.steps}.safetensors")


def table_of(known: dict[str, Any]) -> LatencyTable:
    tokens, cost, unit = known["table"]
    return LatencyTable(tuple(tokens), tuple(cost), unit)


def page(known: dict[str, Any]) -> str:
    """The tables as Markdown."""
    rows, budget = known["rows"], known["budget"]
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
    table = table_of(known)
    model = modelled_latency(CONFIG.dim, 4 * CONFIG.dim, CONFIG.heads, table.tokens)
    clock = known.get("clock", "no")
    stages, shares = (", ".join(map(str, values)) for values in (BEFORE, RATES))
    return f"""Written by `benchmarks/heatvit.py`. imagenette at 128×128, the low 64 channels of the default
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

{chr(10).join(lines)}

What a block costs, measured (torch, the table of the latency loss) and modelled:

{table.markdown()}

{model.markdown()}
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the imagenette128 zip files")
    parser.add_argument("--cache", type=Path, required=True, help="folder for latents and weights")
    parser.add_argument("--out", type=Path, default=RESULTS)
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
    parser.add_argument("--docs", action="store_true", help="put the tables into docs/heatvit.md")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
