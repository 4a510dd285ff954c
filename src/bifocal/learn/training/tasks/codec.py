"""Task: a codec, at all its qualities at once, by rate and distortion: every crop draws its own quality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from bifocal.errors import TrainingError
from bifocal.learn.checkpoint import Checkpoint, codec_header, load_resumed
from bifocal.learn.data.crops import Corpus, load_corpus
from bifocal.learn.nets.codec import QUALITIES, Codec
from bifocal.learn.nets.parameters import KERNELS
from bifocal.learn.recipe import Recipe
from bifocal.learn.systems.registry import system_of
from bifocal.learn.training.average import Average
from bifocal.learn.training.described import Describe, described_batches
from bifocal.learn.training.dormant import dormant_units
from bifocal.learn.training.fit import Job, Loss, print_now
from bifocal.learn.training.optimisers import Rates
from bifocal.learn.training.parts import own_objective
from bifocal.learn.training.precision import find_precision, late_float32
from bifocal.learn.training.rate_distortion import Objective, rate_distortion
from bifocal.learn.training.run_folder import RunFolder
from bifocal.learn.training.schedule import Every, Schedule
from bifocal.learn.training.validation import FIGURES, draw_curve, middles, validate, write_samples


def codec_job(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    resume: Path | None = None,
    device: str = "cpu",
    objective: Objective = rate_distortion,
    beside: nn.Module | None = None,
    facts: Mapping[str, Any] | None = None,
    describe: Describe | None = None,
) -> Job[Tensor]:
    """A codec trained on crops of the pictures in ``data``, which leaves its files in ``out``.

    ``beside`` is what the objective learns with the codec and is not saved; ``facts`` join the run record.
    ``describe`` gives, for the names of the training pictures, features of their captions ``[pictures, n]``,
    for a codec that has a method of this name (`learn/systems/selic.py`).

    :raises TrainingError: when recipe, pictures or the checkpoint to ``resume`` do not fit.
    """
    if recipe.distil and beside is None:
        raise TrainingError(f"{recipe.name} is for a student. Run bifocal-train distil, with a --teacher.")
    torch.manual_seed(recipe.seed)
    old = load_resumed(resume, recipe.system, recipe.name)
    corpus = load_corpus(data, exclude=recipe.exclude, validation=recipe.validation)
    model, average = _networks(recipe, old, device)
    if beside is None:
        objective, beside = own_objective(recipe, model) or (objective, None)
    history = old.history if old else ()
    seed = recipe.seed + 1000 * len(history)
    record = {"recipe": asdict(recipe), "pictures": len(corpus.train), **(facts or {})}
    corpus = corpus.varied(smallest=recipe.smallest, drawn=recipe.drawn, side=recipe.crop, seed=seed)
    folder = RunFolder(out, codec_header(recipe.system), history=history, facts=record)

    def loss(pixels: Tensor, done: float) -> Loss:
        quality = torch.randint(1, QUALITIES + 1, (len(pixels),), device=device)
        with late_float32(done, recipe.float32_from, pixels):
            return objective(model, pixels, quality, recipe, done)

    return Job(
        model,
        described_batches(model, corpus, recipe, seed, device, describe),
        loss,
        Rates(recipe.lr, muon=(KERNELS,), muon_lr=recipe.kernel_lr, kernels=recipe.kernel_optimiser),
        Schedule(recipe.warmup, recipe.cooldown),
        figures=FIGURES,
        beside=beside,
        average=average,
        precision=find_precision(recipe.precision),
        clip=recipe.clip,
        accumulate=recipe.accumulate,
        validate=lambda now: _validate(cast(Codec, average.model), corpus, recipe),
        validate_every=Every(seconds=600),
        folder=folder,
        state=old.optimiser if old else None,
        examples=recipe.batch,
        finish=lambda: _draw(cast(Codec, average.model), corpus, recipe, out),
    )


def _networks(recipe: Recipe, old: Checkpoint | None, device: str) -> tuple[Codec, Average]:
    """The codec and its average, fresh or from a checkpoint."""
    if old is None:
        model = system_of(recipe.system).codec(recipe.system)
        average = Average.of(model, recipe.ema)
    else:
        model = old.model(average=False)
        average = Average(old.model(), recipe.ema, updates=None)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average.model.to(device)
    return model, average


def _validate(average: Codec, corpus: Corpus, recipe: Recipe) -> Mapping[str, Any]:
    rows = validate(average, corpus, exact=recipe.exact)
    text = " | ".join(f"{row['bpp']:.3f} {row['psnr']:.2f}" for row in rows)
    print_now(f"validation: {text}; loss {sum(row['loss'] for row in rows) / len(rows):.4f}")
    dormant = dormant_units(average, middles(corpus, next(average.parameters()).device)[:8])
    if dormant:
        print_now("dormant: " + ", ".join(f"{name} {n} of {of}" for name, (n, of) in dormant.items()))
    return {"rows": rows, "dormant": dormant}


def _draw(average: Codec, corpus: Corpus, recipe: Recipe, out: Path) -> None:
    draw_curve(out / "curve.csv", out / "curve.png")
    write_samples(average, corpus.validation, out / "samples.png", exact=recipe.exact)
