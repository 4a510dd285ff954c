"""The two phases of training a joint codec (``systems/joint.py``), their losses, and what it is judged by.

The first phase has no entropy model: latents pass unrounded, and the loss is cross-entropy + 1e-3·MSE. The
second trains everything with the rate: alpha·cross-entropy + lambda·MSE + bits a pixel, alpha = 100·lambda
(arXiv 2112.09300). MSE is on 0..255.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bifocal.errors import TrainingError
from bifocal.learn.data.squares import Squares, as_tensor
from bifocal.learn.nets.codec import QUALITIES, quality_lambda
from bifocal.learn.nets.parameters import KERNELS, MATRICES
from bifocal.learn.recipe import JointPhases, Recipe
from bifocal.learn.systems.joint import Joint, JointConfig
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.fit import Loss
from bifocal.learn.training.optimisers import Rates
from bifocal.learn.training.validation import VALIDATION_QUALITIES
from bifocal.stream.limits import TILE_UNIT

FIGURES = ("loss", "bpp", "psnr", "accuracy")
#: (pixels [b, 3, s, s] in 0..255, labels [b]) -> the loss, and FIGURES.
LabelledLoss = Callable[[Tensor, Tensor], Loss]


def joint_settings(recipe: Recipe) -> tuple[JointPhases, JointConfig]:
    """What a recipe says of a joint codec.

    :raises TrainingError: if it is for another codec, or its crops do not fit.
    """
    if recipe.joint is None or not hasattr(recipe.system, "classes"):
        raise TrainingError(
            f'recipe {recipe.name} trains no joint codec: that needs codec = "joint" and a table [joint].'
        )
    if recipe.crop % TILE_UNIT:
        raise TrainingError(f"crop is {recipe.crop}; the joint codec needs a multiple of {TILE_UNIT}.")
    return recipe.joint, cast(JointConfig, recipe.system)


@dataclass(frozen=True)
class Phase:
    """A part of a training with a budget and learning rates of its own."""

    name: str
    budget: Budget
    rates: Rates


def joint_phases(plan: JointPhases, recipe: Recipe, budget: Budget) -> list[Phase]:
    """The phases of a recipe that have any length."""

    def rates(share: float, decay: float) -> Rates:
        return Rates(share * recipe.lr, decay, (KERNELS, MATRICES), share * recipe.kernel_lr, decay)

    first, second = rates(1.0, plan.weight_decay), rates(plan.second, 0.0)
    if plan.first <= 0:
        return [Phase("second", budget, second)]
    if plan.first >= 1:
        return [Phase("first", budget, first)]
    parts = budget.split(plan.first)
    return [Phase("first", parts[0], first), Phase("second", parts[1], second)]


def first_loss(model: Joint, plan: JointPhases) -> LabelledLoss:
    """Cross-entropy + 1e-3·MSE of latents that nothing has rounded."""

    def loss(pixels: Tensor, labels: Tensor) -> Loss:
        y = model.analyse(pixels).float()
        logits, mse = model.labels(y).float(), (model.synthesise(y).float() - pixels).square().mean((1, 2, 3))
        error = F.cross_entropy(logits, labels, label_smoothing=plan.smoothing, reduction="none")
        each = error + plan.picture * mse
        return Loss(each.mean(), _figures(each, torch.zeros_like(mse), mse, logits, labels))

    return loss


def second_loss(model: Joint, plan: JointPhases, recipe: Recipe) -> LabelledLoss:
    """Alpha·cross-entropy + lambda·MSE + bits a pixel, at a random quality for each picture."""
    config = model.config

    def loss(pixels: Tensor, labels: Tensor) -> Loss:
        quality = torch.randint(1, QUALITIES + 1, (len(pixels),), device=pixels.device)
        lam = quality_lambda(config, quality)
        coded = model(pixels, quality, exact=recipe.exact, noise=True)
        logits, mse = model.labels(coded.y_hat).float(), (coded.output - pixels).square().mean((1, 2, 3))
        bpp = coded.bits / (pixels.shape[2] * pixels.shape[3])
        error = F.cross_entropy(logits, labels, label_smoothing=plan.smoothing, reduction="none")
        each = config.label_weight * lam * error + lam * mse + bpp
        each = each * (config.lambda_min / lam) ** recipe.balance
        return Loss(each.mean(), _figures(each, bpp, mse, logits, labels))

    return loss


def _figures(loss: Tensor, bpp: Tensor, mse: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        psnr = 10 * torch.log10(255**2 / mse.clamp_min(1e-3))
        right = (logits.argmax(1) == labels).float()
        return torch.stack([loss.mean(), bpp.mean(), psnr.mean(), right.mean()])


@torch.no_grad()
def validate_joint(model: Joint, held: Squares, *, exact: bool, batch: int = 100) -> list[dict[str, float]]:
    """Rounded rate, PSNR (mean over pictures) and accuracy on ``held``, a row for each of eight qualities."""
    rows = []
    for q in VALIDATION_QUALITIES:
        seen = []
        for i in range(0, len(held.labels), batch):
            part = held.take(np.arange(i, min(i + batch, len(held.labels))))
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
