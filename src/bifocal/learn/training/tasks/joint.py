"""Task: a joint codec (``systems/joint.py``) on labelled pictures, in two phases (after arXiv 2112.09300).

Ours: a quality is drawn for every picture, so that one model has all rates; errors of pixels are measured on
clean crops (the paper's first phase rebuilds mixed and erased pictures); between the phases gains are set so
that a latent spans a few steps; the second phase trains the entropy networks on their integers. Each phase
has its cosine. AdamW everywhere, as in the paper, if ``kernel_lr`` is 0; Muon for kernels and matrices
learned faster in short trials.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from bifocal.learn.checkpoint import codec_header, load_resumed
from bifocal.learn.data.squares import LabelledSquares, Squares, as_tensor, load_labelled_squares, shifted
from bifocal.learn.recipe import Recipe
from bifocal.learn.systems.joint import Joint
from bifocal.learn.training import joint_codec as joint
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.fit import Job, fit, print_now
from bifocal.learn.training.run_folder import RunFolder
from bifocal.learn.training.schedule import Schedule
from bifocal.learn.training.validation import draw_curve, write_samples


def joint_data(recipe: Recipe, data: Path, names: Path | None = None) -> LabelledSquares:
    """The labelled pictures of ``data``, a subfolder a class, about ``recipe.validation`` of them held out.

    ``names`` may give the classes better names, see :func:`~bifocal.learn.data.labelled.find_labelled`.

    :raises TrainingError: if they, or the recipe, are not fit for it.
    """
    plan, _ = joint.joint_settings(recipe)
    sizes = {"side": recipe.crop, "margin": plan.margin, "held": recipe.validation}
    found = load_labelled_squares(data, **sizes, seed=recipe.seed, names=names)
    for warning in found.warnings:
        print_now(f"warning: {warning}")
    return found


def phase_job(
    model: Joint,
    train: Squares,
    loss: joint.LabelledLoss,
    phase: joint.Phase,
    recipe: Recipe,
    folder: RunFolder | None,
) -> Job[tuple[Tensor, Tensor]]:
    """One phase on random shifts and mirrors of ``train``. No average: the learning rate ends at zero."""
    device = next(model.parameters()).device
    return Job(
        model,
        shifted(train, recipe.crop, recipe.batch, recipe.seed, device),
        lambda batch, done: loss(*batch),
        phase.rates,
        Schedule(recipe.warmup, cosine=True),
        figures=joint.FIGURES,
        clip=recipe.clip,
        accumulate=recipe.accumulate,
        folder=folder,
        examples=recipe.batch,
        phase=phase.name,
    )


def train_joint(
    recipe: Recipe,
    squares: LabelledSquares,
    out: Path,
    budget: Budget,
    *,
    resume: Path | None = None,
    device: str = "cpu",
) -> Path:
    """Train for a budget that both phases share, also on ``resume``; return the checkpoint.

    :raises TrainingError: when recipe or checkpoint do not fit, before any step is made.
    """
    plan, config = joint.joint_settings(recipe)
    config = replace(config, classes=len(squares.classes))
    torch.manual_seed(recipe.seed)
    old = load_resumed(resume, config, recipe.name)
    model = cast(Joint, old.model()) if old else Joint(config)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    history = old.history if old else ()
    recipe = replace(recipe, system=config, seed=recipe.seed + 1000 * len(history))
    facts = {"recipe": asdict(recipe), "pictures": len(squares.train.labels), "classes": squares.classes}
    folder = RunFolder(out, codec_header(config), history=history, facts=facts)
    state, phases = old.optimiser if old else None, joint.joint_phases(plan, recipe, budget)
    for phase in phases:
        loss = joint.first_loss(model, plan)
        if phase.name == "second":
            loss = joint.second_loss(model, plan, recipe)
            if not old:
                model.scale_gains(as_tensor(squares.train.middle(recipe.crop).some(256).pixels, device))
        job = phase_job(model, squares.train, loss, phase, recipe, folder)
        job.state, state = state, None
        if phase is phases[-1]:
            job.validate = lambda now: _validate(model, squares.held, recipe, folder)
        if fit(job, phase.budget).stopped:
            break
    draw_curve(out / "curve.csv", out / "curve.png")
    write_samples(model, tuple(squares.held.pixels), out / "samples.png", exact=recipe.exact)
    return folder.checkpoint


def _validate(model: Joint, held: Squares, recipe: Recipe, folder: RunFolder) -> dict[str, Any]:
    rows = joint.validate_joint(model, held, exact=recipe.exact)
    folder.facts["validation"] = rows
    print_now(
        "validation: " + " | ".join(f"{r['bpp']:.3f} {r['psnr']:.2f} {r['accuracy']:.3f}" for r in rows)
    )
    return {"rows": rows, "of": len(held.labels)}
