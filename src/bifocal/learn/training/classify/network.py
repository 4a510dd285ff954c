"""The network of a new head: fresh, or with the convolutions of another."""

from __future__ import annotations

import os
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bifocal.learn.data.views import Views
from bifocal.learn.nets.heads.latent_stem import LatentResNet
from bifocal.learn.training.classify.recipe import HeadRecipe
from bifocal.learn.training.classify.start import take_over
from bifocal.runtime.model import Model

#: Pictures whose latents give the scale of each channel.
SAMPLE = 500


def new_network(
    recipe: HeadRecipe,
    classes: int,
    views: Views,
    rows: NDArray[np.int64],
    model: Model,
    start: str | os.PathLike[str] | None = None,
) -> nn.Module:
    """A network for ``views`` of ``classes`` classes, of which ``rows`` are trained on.

    With ``start``, a residual network takes over the convolutions of that head.

    :raises HeadError: if they do not fit.
    """
    sample = views.y[rows[:: max(1, len(rows) // SAMPLE)], 0, : recipe.channels].astype(np.float32)
    if recipe.whole:
        sample = np.concatenate([sample, np.abs(sample)], axis=1)
    spread = (torch.from_numpy(f(sample, axis=(0, 2, 3))) for f in (np.mean, np.std))
    plan = model.entropy.plan
    network = recipe.classifier.network(
        *spread,
        channels=sample.shape[1],
        low=plan.groups[0].stop,
        classes=classes,
        grid=recipe.side // plan.y_stride,
    )
    if start is not None:
        take_over(cast(LatentResNet, network), start, model, torch.from_numpy(sample))
    return network
