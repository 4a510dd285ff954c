"""A trained codec made larger without changing what it computes: how a small start goes on to learn.

At equal steps networks of all sizes lose alike at first, so a small one, whose steps are cheap, comes first;
it is grown when its curve flattens (the idea is Net2Net's, Chen, Goodfellow and Shlens, arXiv 1511.05641).
What is added starts from random weights and counts nothing yet: the last layer of a new block or deep path,
and the columns of wider layers that read new channels, are zero.
"""

from __future__ import annotations

import dataclasses
from typing import Any, cast

import torch
from torch import Tensor, nn

from bifocal.errors import TrainingError
from bifocal.learn.checkpoint import Checkpoint, Weights
from bifocal.learn.nets.codec import Codec, CodecConfig
from bifocal.learn.nets.transforms.blocks import ResidualBlock
from bifocal.learn.nets.transforms.two_paths import TwoPaths
from bifocal.learn.systems.registry import system_of

#: What may grow: widths and blocks of deep paths, and the hidden channels of predictors.
GROWS = ("width", "blocks", "context")


def grow(checkpoint: Checkpoint, config: CodecConfig, *, seed: int = 0) -> Checkpoint:
    """``checkpoint`` as one of ``config``, a larger configuration of the same system.

    Weights and their average get the same new parameters; the optimiser starts anew.

    :raises TrainingError: if ``config`` is of another system, is smaller somewhere, or differs in anything
        but :data:`GROWS`.
    """
    _check(checkpoint.config, config)
    torch.manual_seed(seed)
    model = system_of(config).codec(config)
    _silence(model, checkpoint.average)
    fresh = {name: value.detach() for name, value in model.state_dict().items()}
    return Checkpoint(
        config,
        _merged(fresh, checkpoint.weights),
        _merged(fresh, checkpoint.average),
        (*checkpoint.history, {"grown": dataclasses.asdict(cast(Any, config))}),
    )


def _check(old: CodecConfig, new: CodecConfig) -> None:
    if type(old) is not type(new):
        raise TrainingError(
            f"a {type(old).__name__} cannot grow to a {type(new).__name__}: give a recipe of the same codec."
        )
    before, after = (dataclasses.asdict(cast(Any, config)) for config in (old, new))
    for name, size in before.items():
        if after[name] != size and not (name.endswith(GROWS) and after[name] > size):
            raise TrainingError(
                f"{name} cannot go from {size} to {after[name]}: only {', '.join(GROWS)} grow, and nothing "
                "shrinks."
            )


def _silence(model: Codec, old: Weights) -> None:
    """Let everything that ``old`` has not begin without a say."""
    for name, part in model.named_modules():
        last: nn.Conv2d | None = None
        if isinstance(part, TwoPaths) and part.deep:
            last, key = part.tail, f"{name}.tail.weight"
        elif isinstance(part, ResidualBlock):
            last, key = part.second, f"{name}.second.weight"
        if last is not None and key not in old:
            nn.init.zeros_(last.weight)
            if last.bias is not None:
                nn.init.zeros_(last.bias)


def _merged(fresh: Weights, old: Weights) -> Weights:
    """``fresh`` with ``old`` in the first rows and columns; old rows read nothing from new columns."""
    merged: Weights = {}
    for name, value in fresh.items():
        merged[name] = value.clone()
        if name in old:
            _put(merged[name], old[name])
    return merged


def _put(whole: Tensor, part: Tensor) -> None:
    inside = tuple(slice(0, side) for side in part.shape)
    if whole.ndim == 4:
        whole[: len(part), part.shape[1] :] = 0
    whole[inside] = part
