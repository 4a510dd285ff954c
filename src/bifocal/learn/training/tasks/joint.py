"""Training of the joint codec (``systems/joint.py``) on labelled pictures, in two steps (arXiv 2112.09300).

Step 1 has no entropy model: latents pass unrounded, and the loss is cross-entropy + 1e-3·MSE. Step 2 trains
everything with the rate: alpha·cross-entropy + lambda·MSE + bits a pixel, alpha = 100·lambda. MSE is on
0..255.

Ours: a quality is drawn for every picture, so that one model has all rates; errors of pixels are measured on
clean crops (the paper's step 1 rebuilds mixed and erased pictures); between the steps gains are set so
that a latent spans a few steps; the second step trains the entropy networks on their integers. A shift and a
mirror are all the augmentation. Each step has its cosine. AdamW everywhere, as in the paper, if ``kernel_lr``
is 0; Muon for kernels and matrices learned faster in short trials.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.errors import ModelError, TrainingError
from bifocal.learn.checkpoint import Checkpoint, load_resumed, save_checkpoint
from bifocal.learn.data.crops import Corpus
from bifocal.learn.data.labelled import find_labelled, load_squares, split
from bifocal.learn.nets.codec import QUALITIES, quality_lambda
from bifocal.learn.packing.heads import pack_dense_head
from bifocal.learn.recipe import JointSteps, Recipe
from bifocal.learn.systems.joint import Joint, JointConfig
from bifocal.learn.systems.registry import system_of
from bifocal.learn.training.loop import VALIDATION_QUALITIES
from bifocal.learn.training.optimiser import Muon
from bifocal.learn.training.record import run_record, write_report
from bifocal.runtime.heads.file import MAX_WINDOW
from bifocal.runtime.model import Model
from bifocal.stream.limits import TILE_UNIT

FIGURES = ("loss", "bpp", "psnr", "accuracy")
LOG_EVERY = 15.0  # seconds

#: (pixels [b, 3, s, s] in 0..255, labels [b]) -> the loss, and FIGURES as a tensor on the device
Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclasses.dataclass(frozen=True)
class Squares:
    """Labelled pictures in memory: uint8 ``[n, s, s, 3]``, and int64 ``[n]``."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def take(self, places: NDArray[np.int64]) -> Squares:
        return Squares(self.pixels[places], self.labels[places])

    def middle(self, side: int) -> Squares:
        """The middle ``side × side`` pixels of each."""
        i = (self.pixels.shape[1] - side) // 2
        return Squares(self.pixels[:, i : i + side, i : i + side], self.labels)


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of a training: ``steps`` batches (0: no limit), or ``seconds`` if they are over first."""

    name: str
    steps: int
    seconds: float
    lr: float
    kernel_lr: float
    weight_decay: float


def as_tensor(pixels: NDArray[np.uint8], device: str | torch.device = "cpu") -> Tensor:
    """Pixels uint8 ``[b, s, s, 3]`` as float ``[b, 3, s, s]``, channels last in memory."""
    return torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float()


def _figures(loss: Tensor, bpp: Tensor, mse: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        psnr = 10 * torch.log10(255**2 / mse.clamp_min(1e-3))
        right = (logits.argmax(1) == labels).float()
        return torch.stack([loss.mean(), bpp.mean(), psnr.mean(), right.mean()])


def first_loss(model: Joint, plan: JointSteps) -> Loss:
    """Step 1: cross-entropy + 1e-3·MSE of latents that nothing has rounded."""

    def loss(pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        y = model.analyse(pixels).float()
        logits, mse = model.labels(y).float(), (model.synthesise(y).float() - pixels).square().mean((1, 2, 3))
        error = F.cross_entropy(logits, labels, label_smoothing=plan.smoothing, reduction="none")
        each = error + plan.picture * mse
        return each.mean(), _figures(each, torch.zeros_like(mse), mse, logits, labels)

    return loss


def second_loss(model: Joint, plan: JointSteps, recipe: Recipe) -> Loss:
    """Step 2: alpha·cross-entropy + lambda·MSE + bits a pixel, at a random quality for each picture."""
    config = model.config

    def loss(pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        quality = torch.randint(1, QUALITIES + 1, (len(pixels),), device=pixels.device)
        lam = quality_lambda(config, quality)
        coded = model(pixels, quality, exact=recipe.exact, noise=True)
        logits, mse = model.labels(coded.y_hat).float(), (coded.output - pixels).square().mean((1, 2, 3))
        bpp = coded.bits / (pixels.shape[2] * pixels.shape[3])
        error = F.cross_entropy(logits, labels, label_smoothing=plan.smoothing, reduction="none")
        each = config.label_weight * lam * error + lam * mse + bpp
        each = each * (config.lambda_min / lam) ** recipe.balance
        return each.mean(), _figures(each, bpp, mse, logits, labels)

    return loss


class Log:
    """The curve of a run, ``curve.csv``: a row every few seconds, of both steps."""

    def __init__(self, out: Path) -> None:
        self.path, self.begin = out / "curve.csv", time.monotonic()
        out.mkdir(parents=True, exist_ok=True)

    def row(self, step: Step, done: int, batch: int, rate: float, figures: list[Tensor]) -> None:
        values = torch.stack(figures).mean(0).tolist()
        row: dict[str, Any] = {
            "seconds": round(time.monotonic() - self.begin, 1),
            "part": step.name,
            "step": done,
            "pictures": done * batch,
            "rate": round(rate, 4),
        }
        row |= {k: round(v, 4) for k, v in zip(FIGURES, values, strict=True)}
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)
        print(" ".join(f"{k} {v}" for k, v in row.items()), flush=True)


def _optimisers(model: nn.Module, step: Step) -> list[torch.optim.Optimizer]:
    """Muon over kernels and the matrices of blocks and aggregation if it has a rate, AdamW over the rest."""
    kernels: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, p in model.named_parameters():
        inside = p.ndim == 2 and (".blocks." in name or "aggregation." in name)
        (kernels if step.kernel_lr > 0 and (p.ndim == 4 or inside) else rest).append(p)
    made: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, step.lr, betas=(0.9, 0.99), weight_decay=step.weight_decay)
    ]
    return made + ([Muon(kernels, step.kernel_lr, weight_decay=step.weight_decay)] if kernels else [])


def fit(
    model: nn.Module, data: Squares, loss: Loss, step: Step, recipe: Recipe, log: Log | None = None
) -> int:
    """Minimise ``loss`` over random shifts and mirrors of ``data``; return how many batches were seen.

    Crops are ``recipe.crop`` pixels a side; the learning rate warms up and falls along a cosine to zero.
    """
    device = next(model.parameters()).device
    pixels, labels = torch.from_numpy(data.pixels).to(device), torch.from_numpy(data.labels).to(device)
    spare = data.pixels.shape[1] - recipe.crop
    rng = torch.Generator().manual_seed(recipe.seed)
    optimisers = _optimisers(model, step)
    base = [[group["lr"] for group in o.param_groups] for o in optimisers]
    begin, logged, figures, n = time.monotonic(), 0.0, [], 0
    while (elapsed := time.monotonic() - begin) < step.seconds and not (step.steps and n >= step.steps):
        done = n / step.steps if step.steps else elapsed / step.seconds
        rate = min(1.0, (n + 1) / recipe.warmup) * 0.5 * (1 + math.cos(math.pi * done))
        for o, rates in zip(optimisers, base, strict=True):
            for group, lr in zip(o.param_groups, rates, strict=True):
                group["lr"] = lr * rate
            o.zero_grad(set_to_none=True)
        places = torch.randint(len(pixels), (recipe.batch,), generator=rng).to(device)
        top, left = (int(i) for i in torch.randint(spare + 1, (2,), generator=rng))
        part = pixels[places, top : top + recipe.crop, left : left + recipe.crop]
        mirrored = (torch.rand(recipe.batch, generator=rng) < 0.5).to(device)
        part = torch.where(mirrored[:, None, None, None], part.flip(2), part)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            value, figure = loss(part.permute(0, 3, 1, 2).float(), labels[places])
        value.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        if bool(norm.isfinite()):  # a batch that overflows is skipped, not learned
            for o in optimisers:
                o.step()
        n += 1
        figures.append(figure)
        if log and elapsed - logged >= LOG_EVERY:
            log.row(step, n, recipe.batch, rate, figures)
            logged, figures = elapsed, []
    return n


@torch.no_grad()
def validate(model: Joint, data: Squares, *, exact: bool, batch: int = 100) -> list[dict[str, float]]:
    """Rounded rate, PSNR (mean over pictures) and accuracy on ``data``, a row for each of eight qualities."""
    rows = []
    for q in VALIDATION_QUALITIES:
        seen = []
        for i in range(0, len(data.labels), batch):
            part = data.take(np.arange(i, min(i + batch, len(data.labels))))
            x = as_tensor(part.pixels, next(model.parameters()).device)
            coded = model(x, torch.full((len(x),), q, device=x.device), exact=exact, noise=False)
            mse = (coded.output.clamp(0, 255).round() - x).square().mean((1, 2, 3))
            right = model.labels(coded.y_hat).argmax(1).cpu() == torch.from_numpy(part.labels)
            psnr = 10 * torch.log10(255**2 / mse.clamp_min(1e-3))
            bpp = coded.bits / (x.shape[2] * x.shape[3])
            seen.append(torch.stack([bpp.cpu(), psnr.cpu(), right.float()]))
        bpp, psnr, accuracy = torch.cat(seen, 1).mean(1).tolist()
        rows.append({"quality": q, "bpp": bpp, "psnr": psnr, "accuracy": accuracy})
    return rows


@dataclasses.dataclass(frozen=True)
class Task:
    """Squares to train on, a little larger than a crop, those held out, of its size, and the classes."""

    train: Squares
    held: Squares
    classes: tuple[str, ...]


def _joint_config(recipe: Recipe) -> JointConfig:
    if recipe.joint is None or not isinstance(recipe.system, JointConfig):
        raise TrainingError(
            f'recipe {recipe.name} trains no joint codec: that needs codec = "joint" and a table [joint].'
        )
    if recipe.crop % TILE_UNIT:
        raise TrainingError(f"crop is {recipe.crop}; the joint codec needs a multiple of {TILE_UNIT}.")
    return recipe.system


def load_task(recipe: Recipe, data: Path, names: Path | None = None) -> Task:
    """The labelled pictures of ``data`` for a recipe, about ``recipe.validation`` of them held out.

    :raises TrainingError: if they, or the recipe, are not fit for it.
    """
    _joint_config(recipe)
    assert recipe.joint is not None
    found, pixels = load_squares(find_labelled(data, names=names), recipe.crop + recipe.joint.margin)
    for warning in found.warnings:
        print(f"note: {warning}", flush=True)
    squares = Squares(pixels, found.labels)
    train, held = split(found.labels, min(0.5, recipe.validation / len(found.labels)), recipe.seed)
    return Task(squares.take(train), squares.take(held).middle(recipe.crop), found.classes)


def train_joint(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    minutes: float,
    steps: int = 0,
    resume: Path | None = None,
    device: str = "cpu",
    names: Path | None = None,
) -> Path:
    """Train for ``minutes`` or ``steps`` batches, whichever ends first; return the checkpoint.

    ``data`` is a folder with a subfolder for each class; ``names`` may give the classes better names, see
    :func:`~bifocal.learn.data.labelled.find_labelled`. Both steps of the recipe are run, also on ``resume``.

    :raises TrainingError: when recipe, data or checkpoint do not fit, before any step is made.
    """
    task = load_task(recipe, data, names)
    return train_on(recipe, task, out, minutes=minutes, steps=steps, resume=resume, device=device)


def train_on(
    recipe: Recipe,
    task: Task,
    out: Path,
    *,
    minutes: float,
    steps: int = 0,
    resume: Path | None = None,
    device: str = "cpu",
) -> Path:
    """:func:`train_joint` on pictures that are in memory. A checkpoint is written after each step."""
    plan = recipe.joint
    config = dataclasses.replace(_joint_config(recipe), classes=len(task.classes))
    assert plan is not None
    torch.manual_seed(recipe.seed)
    old = load_resumed(resume, config, recipe.name)
    model = old.model() if old else Joint(config)
    assert isinstance(model, Joint)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    history = list(old.history) if old else []
    recipe = dataclasses.replace(recipe, system=config, seed=recipe.seed + 1000 * len(history))
    log, seen, begin, path = Log(out), 0, time.monotonic(), out / "checkpoint.safetensors"
    for step in joint_steps(plan, recipe, steps, minutes * 60):
        if step.name == "second" and not old:
            some = np.arange(0, len(task.train.labels), max(1, len(task.train.labels) // 256))
            model.scale_gains(as_tensor(task.train.middle(recipe.crop).take(some).pixels, device))
        loss = first_loss(model, plan) if step.name == "first" else second_loss(model, plan, recipe)
        seen += fit(model, task.train, loss, step, recipe, log)
        record = run_record(
            recipe,
            seconds=time.monotonic() - begin,
            steps=seen,
            device=device,
            pictures=len(task.train.labels),
        )
        record["classes"] = list(task.classes)
        _save(path, model, (*history, record))
    rows = validate(model, task.held, exact=recipe.exact)
    (out / "validation.jsonl").write_text(json.dumps({"rows": rows, "of": len(task.held.labels)}) + "\n")
    print("validation: " + " | ".join(f"{r['bpp']:.3f} {r['psnr']:.2f} {r['accuracy']:.3f}" for r in rows))
    record["validation"] = rows
    _save(path, model, (*history, record))
    (out / "run.json").write_text(json.dumps(record, indent=1) + "\n")
    write_report(model, Corpus((), tuple(task.held.pixels), ()), out, exact=recipe.exact)
    return path


def _save(path: Path, model: Joint, history: tuple[dict[str, Any], ...]) -> None:
    weights = {k: v.detach().cpu() for k, v in model.state_dict().items()}
    average = {k: v.clone() for k, v in weights.items()}  # none is kept: the learning rate ends at zero
    save_checkpoint(path, Checkpoint(model.config, weights, average, history))


def joint_steps(plan: JointSteps, recipe: Recipe, steps: int, seconds: float) -> list[Step]:
    """The steps of a recipe that have any length: their shares of ``steps`` batches and ``seconds``."""
    made = []
    for name, share, part, decay in (
        ("first", plan.first, 1.0, plan.weight_decay),
        ("second", 1 - plan.first, plan.second, 0.0),
    ):
        if share > 0:
            count = max(1, round(steps * share)) if steps else 0
            made.append(Step(name, count, seconds * share, recipe.lr * part, recipe.kernel_lr * part, decay))
    return made


def label_head(checkpoint: Checkpoint, base: Model, name: str) -> bytes:
    """The label reader of a joint codec as a ``.bfh`` head for streams of ``base``, its packed model.

    Positions are interpolated for pictures of up to four times the trained side; beyond, logits of several
    windows are averaged.

    :raises ModelError: if the checkpoint is of another codec, or the head cannot be packed.
    """
    model = checkpoint.model().eval()
    if not isinstance(model, Joint):
        name = system_of(checkpoint.config).name
        raise ModelError(f"{name} is no joint codec: it has no label reader. Train a head for it instead.")
    run = checkpoint.history[-1] if checkpoint.history else {}
    classes = tuple(run.get("classes") or (f"class {i}" for i in range(model.config.classes)))
    packed = pack_dense_head(
        model.trunk,
        name=name,
        base=base,
        channels=model.config.latent,
        classes=classes,
        window=min(4 * model.config.grid, MAX_WINDOW),
    )
    rows = {str(row["quality"]): row["accuracy"] for row in run.get("validation", [])}
    return packed.data(
        {"trained": "with its codec (arXiv 2112.09300)", "accuracy of held-out pictures": rows}
    )
