"""The training loop: one model for all qualities, by minutes, on CPU or GPU.

Every crop draws its own quality; its loss is rate + lambda·255²·MSE. The learning rate warms up, stays, and
in a cooldown run falls linearly to zero, so that a long run can be branched and continued at will.
"""

from __future__ import annotations

import copy
import csv
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.errors import TrainingError
from bifocal.learn.checkpoint import Checkpoint, load_resumed, save_checkpoint
from bifocal.learn.data.crops import Corpus, Pixels, crops, load_corpus
from bifocal.learn.nets.codec import QUALITIES, Codec, Coded, quality_lambda
from bifocal.learn.recipe import Recipe
from bifocal.learn.systems.registry import system_of
from bifocal.learn.training.dormant import dormant_units
from bifocal.learn.training.optimiser import make_optimisers
from bifocal.learn.training.record import run_record, write_report

SAVE_EVERY = 120.0  # seconds
VALIDATE_EVERY = 600.0
FIGURES = ("loss", "bpp", "psnr")
VALIDATION_QUALITIES = (1, 15, 30, 45, 60, 75, 90, 100)


def _to_tensor(batch: Pixels, device: str) -> Tensor:
    pixels = torch.from_numpy(np.array(batch)).to(device, non_blocking=True)
    return pixels.permute(0, 3, 1, 2).float()  # NHWC memory is channels-last already


class Objective(Protocol):
    """What a run minimises. :func:`rate_distortion` is the plain one; distillation has its own."""

    def __call__(
        self, model: Codec, pixels: Tensor, quality: Tensor, recipe: Recipe, done: float
    ) -> tuple[Tensor, Tensor]:
        """The loss of a batch ``[b, 3, h, w]``, ``done`` (0..1) of the way through the run; and what is
        logged, ``[3]``: loss without side tasks, bpp and PSNR, left on the device."""


def rate_distortion(
    model: Codec, pixels: Tensor, quality: Tensor, recipe: Recipe, done: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Mean over the batch of ``weight·(bpp + lambda·255²·MSE)``, see :class:`Objective`."""
    exact = recipe.exact and done >= recipe.exact_from
    return weighed(model(pixels, quality, exact=exact, noise=True), pixels, quality, recipe)


def weighed(coded: Coded, pixels: Tensor, quality: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Loss and logged figures of a pass that was made: see :func:`rate_distortion`.

    The errors of smaller pictures are trained on, but they are not in the loss that is logged. The figures
    stay on the device, so that a GPU is not made to wait at every step.
    """
    h, w = pixels.shape[-2:]
    bpp = coded.bits / (h * w)
    mse = ((coded.output - pixels) ** 2).mean((1, 2, 3))
    lam = quality_lambda(recipe.system, quality)
    weight = (recipe.system.lambda_min / lam) ** recipe.balance
    loss = ((bpp + lam * mse) * weight).mean()
    with torch.no_grad():
        figure = torch.stack([loss, bpp.mean(), 10 * torch.log10(255**2 / mse).mean()])
    for picture in coded.small:  # these teach their own networks alone
        target = F.avg_pool2d(pixels, w // picture.shape[-1])
        loss = loss + (lam * ((picture - target) ** 2).mean((1, 2, 3)) * weight).mean()
    if recipe.band_weights:
        loss = loss + ((_band_bits(coded, recipe) / (h * w)) * weight).mean()
    return loss, figure


def _band_bits(coded: Coded, recipe: Recipe) -> Tensor:
    """What the recipe's band weights add to the bits of each picture ``[b]``: those beyond 1."""
    extra = torch.zeros_like(coded.channel_bits[0])
    bands = list(dict.fromkeys((g.start, g.stop) for g in recipe.system.plan.groups))
    for (start, stop), band_weight in zip(bands, recipe.band_weights, strict=True):
        extra[start:stop] = band_weight - 1
    return coded.channel_bits @ extra


def middles(corpus: Corpus, device: str, size: int = 256) -> list[Tensor]:
    """The middle of each validation picture, ``[1, 3, h, w]`` in 0..255, ``size`` pixels a side at most."""
    made = []
    for picture in corpus.validation:
        h, w = (min(s, size) // 64 * 64 for s in picture.shape[:2])
        i, j = (picture.shape[0] - h) // 2, (picture.shape[1] - w) // 2
        made.append(_to_tensor(picture[None, i : i + h, j : j + w], device))
    return made


@torch.no_grad()
def validate(model: Codec, corpus: Corpus, *, exact: bool, size: int = 256) -> list[dict[str, float]]:
    """Rounded rate and distortion on the middle of each validation picture, a row a quality, in float32.

    Rows hold quality, mean bpp, mean PSNR (per picture first), mean loss ``bpp + lambda·MSE``, and where a
    system decodes smaller pictures the mean PSNR of each, ``psnr_1/n``, against averages of the picture.
    """
    device = next(model.parameters()).device
    pictures = middles(corpus, str(device), size)
    rows = []
    for q in VALIDATION_QUALITIES:
        quality = torch.tensor([q], device=device)
        lam = float(quality_lambda(model.config, quality))
        figures = []
        for pixels in pictures:
            coded = model(pixels, quality, exact=exact, noise=False)
            mse = float(((coded.output.clamp(0, 255).round() - pixels) ** 2).mean())
            bpp = float(coded.bits) / (pixels.shape[2] * pixels.shape[3])
            psnr = [10 * np.log10(255**2 / max(mse, 1e-3))]
            names = list(FIGURES)
            for x in coded.small:
                reduction = pixels.shape[3] // x.shape[3]
                target = F.avg_pool2d(pixels, reduction)
                error = float(((x.clamp(0, 255).round() - target) ** 2).mean())
                psnr.append(10 * np.log10(255**2 / max(error, 1e-3)))
                names.append(f"psnr_1/{reduction}")
            figures.append((bpp + lam * mse, bpp, *psnr))
        rows.append({"quality": q, **dict(zip(names, np.mean(figures, 0).tolist(), strict=True))})
    return rows


def _rate(step: int, done: float, recipe: Recipe) -> float:
    """Learning rate, as a share of the recipe's, when ``done`` (0..1) of the run is over."""
    warm = min(1.0, (step + 1) / recipe.warmup)
    return warm * (min(1.0, max(0.0, 1 - done) / recipe.cooldown) if recipe.cooldown > 0 else 1.0)


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    minutes: float,
    steps: int = 0,
    resume: Path | None = None,
    device: str = "cpu",
    objective: Objective = rate_distortion,
    learned: nn.Module | None = None,
    notes: Mapping[str, Any] | None = None,
) -> Path:
    """Train for ``minutes``, writing checkpoint, curves and run record into ``out``; return the checkpoint.

    With ``steps`` the run ends after that many (or after ``minutes``, if they are over first): arms of a
    comparison are of equal length then, whatever else the machine does. ``learned`` is what the objective
    learns beside the codec; it is not saved. ``notes`` are added to the run record. A checkpoint is written
    every two minutes and at the end, then a plot of the curve and samples of the validation pictures. Raises
    :class:`TrainingError` when data or checkpoint do not fit, before any step is made.
    """
    if recipe.distil and learned is None:
        raise TrainingError(
            f"Recipe {recipe.name} is for a student. Run bifocal-train distil, with a --teacher."
        )
    torch.manual_seed(recipe.seed)
    old = load_resumed(resume, recipe.system, recipe.name)
    corpus = load_corpus(data, exclude=recipe.exclude, validation=recipe.validation)
    model = old.model(average=False) if old else system_of(recipe.system).codec(recipe.system)
    average = old.model() if old else copy.deepcopy(model)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average.to(device).requires_grad_(False)
    history = list(old.history) if old else []
    seed = recipe.seed + 1000 * len(history)
    batches = crops(corpus, size=recipe.crop, batch=recipe.batch, seed=seed, device=device)
    out.mkdir(parents=True, exist_ok=True)
    run = _Run(recipe, out, corpus, history, device, objective, learned, dict(notes or {}))
    path = run.train(model, average, batches, minutes * 60, steps)
    write_report(average, corpus, out, exact=recipe.exact)
    return path


class _Run:
    """One run's clock, log and files."""

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        corpus: Corpus,
        history: list[dict[str, Any]],
        device: str,
        objective: Objective,
        learned: nn.Module | None,
        notes: dict[str, Any],
    ) -> None:
        self.recipe, self.out, self.corpus, self.history, self.device = recipe, out, corpus, history, device
        self.objective, self.learned, self.notes = objective, learned, notes
        self.begin = time.monotonic()
        self.step, self.losses = 0, [float("nan")]

    def train(
        self, model: Codec, average: Codec, batches: Iterator[Tensor], budget: float, steps: int
    ) -> Path:
        recipe = self.recipe
        learners = [model] if self.learned is None else [model, self.learned]
        parameters = [p for learner in learners for p in learner.parameters()]
        optimisers = [
            o for m in learners for o in make_optimisers(m, lr=recipe.lr, kernel_lr=recipe.kernel_lr)
        ]
        base = [[g["lr"] for g in o.param_groups] for o in optimisers]
        saved = validated = logged = 0.0
        figures: list[Tensor] = []
        self.begin = time.monotonic()
        while (elapsed := time.monotonic() - self.begin) < budget and not (steps and self.step >= steps):
            done = self.step / steps if steps else elapsed / budget
            rate = _rate(self.step, done, recipe)
            for o, rates in zip(optimisers, base, strict=True):
                for g, lr in zip(o.param_groups, rates, strict=True):
                    g["lr"] = lr * rate
                o.zero_grad(set_to_none=True)
            pixels = next(batches)
            quality = torch.randint(1, QUALITIES + 1, (len(pixels),), device=self.device)
            with torch.autocast(self.device, dtype=torch.bfloat16):
                loss, figure = self.objective(model, pixels, quality, recipe, done)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
            if bool(norm.isfinite()):  # a batch that overflows is skipped, not learned
                for o in optimisers:
                    o.step()
            self._average(model, average)
            self.step += 1
            figures.append(figure)
            if elapsed - logged >= 15:
                self._log(elapsed, rate, figures)
                logged, figures = elapsed, []
            if elapsed - validated >= VALIDATE_EVERY:
                self._validate(average, elapsed)
                validated = elapsed
            if elapsed - saved >= SAVE_EVERY:
                self._save(model, average, elapsed)
                saved = elapsed
        elapsed = time.monotonic() - self.begin
        self._validate(average, elapsed)
        return self._save(model, average, elapsed)

    @torch.no_grad()
    def _average(self, model: Codec, average: Codec) -> None:
        decay = (
            min(self.recipe.ema, (1 + self.step) / (10 + self.step)) if not self.history else self.recipe.ema
        )
        mean: list[Tensor] = list(average.parameters())
        torch._foreach_lerp_(mean, list[Tensor](model.parameters()), 1 - decay)

    def _log(self, elapsed: float, rate: float, figures: list[Tensor]) -> None:
        mean = dict(zip(FIGURES, torch.stack(figures).mean(0).tolist(), strict=True))
        self.losses.append(mean["loss"])
        speed = self.step * self.recipe.batch / max(elapsed, 1e-9)
        row = {
            "seconds": round(elapsed),
            "step": self.step,
            "rate": round(rate, 4),
            "crops_per_s": round(speed, 1),
        }
        row |= {k: round(v, 4) for k, v in mean.items()}
        path = self.out / "curve.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)
        print(" ".join(f"{k} {v}" for k, v in row.items()), flush=True)

    def _validate(self, average: Codec, elapsed: float) -> None:
        start = time.monotonic()
        rows = validate(average, self.corpus, exact=self.recipe.exact)
        pictures = middles(self.corpus, self.device)[:8]
        dormant = dormant_units(average, pictures)
        record = {"seconds": round(elapsed), "step": self.step, "rows": rows, "dormant": dormant}
        with (self.out / "validation.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
        text = " | ".join(f"{r['bpp']:.3f} {r['psnr']:.2f}" for r in rows)
        print(f"validation: {text}; loss {np.mean([r['loss'] for r in rows]):.4f}", flush=True)
        if dormant:
            print(
                "dormant: " + ", ".join(f"{name} {n} of {of}" for name, (n, of) in dormant.items()),
                flush=True,
            )
        self.begin += time.monotonic() - start  # validation is not training: it does not count

    def _save(self, model: Codec, average: Codec, elapsed: float) -> Path:
        record = run_record(
            self.recipe,
            seconds=elapsed,
            steps=self.step,
            device=self.device,
            pictures=len(self.corpus.train),
        )
        record |= {"loss": round(self.losses[-1], 5), **self.notes}
        checkpoint = Checkpoint(
            self.recipe.system,
            {k: v.detach().cpu() for k, v in model.state_dict().items()},
            {k: v.detach().cpu() for k, v in average.state_dict().items()},
            (*self.history, record),
        )
        path = self.out / "checkpoint.safetensors"
        save_checkpoint(path, checkpoint)
        (self.out / "run.json").write_text(json.dumps(record, indent=1) + "\n")
        return path
