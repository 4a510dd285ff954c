"""The losses of a transformer with token selectors, and how its selectors are brought to what was asked for.

Of HeatViT's procedure (arXiv 2211.08110) only outlines are public; the loss of keep ratios is SPViT's (arXiv
2112.13890), the loss of latency is our reconstruction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.learn.nets.heads.heatvit import HeatViT, Pruned
from bifocal.learn.nets.heads.selector import TokenSelector
from bifocal.learn.training.pruning.latency import LatencyTable, block_tokens, latency
from bifocal.learn.training.soft_labels import soft_cross_entropy


@dataclass(frozen=True)
class Batch:
    """Inputs of a stem ``[b, c, h, w]``, bits per position ``[b, h, w]``, targets ``[b, classes]``."""

    inputs: Tensor
    bits: Tensor
    targets: Tensor


#: (model, batch, share of the steps done, 0..1) -> loss
Objective = Callable[[nn.Module, Batch, float], Tensor]


def pruning_objective(
    rates: Sequence[float],
    table: LatencyTable,
    *,
    teacher: nn.Module | None = None,
    ratio_weight: float = 2.0,
    latency_weight: float = 1.0,
) -> Objective:
    """Cross-entropy, and the pull towards the share ``rates[s]`` of positions that each stage should keep.

    SPViT's ``2·mean_s (keep_s - rate_s)²``, and ours, ``(latency / latency at the rates - 1)²``, both ramped
    up over the first fifth. The noise of decisions falls to zero over four fifths: with noise to the end,
    scores of 0.6 everywhere would keep 60 % in training and all at inference. A ``teacher`` adds half the
    Kullback-Leibler divergence to its logits.
    """

    def objective(network: nn.Module, batch: Batch, done: float) -> Tensor:
        model = cast(HeatViT, network)
        model.noise = max(0.0, 1 - done / 0.8)
        made: Pruned = model(batch.inputs, batch.bits)
        loss = soft_cross_entropy(made.logits, batch.targets)
        before, depth = sorted(model.config.before), len(model.backbone.blocks)
        wanted = list(rates)[-len(before) :]  # stages are inserted from the last towards the first
        kept = [k.mean() for k in made.keep]
        n, package = made.keep[0].shape[1], model.config.package
        ratio = torch.stack([(k - r) ** 2 for k, r in zip(kept, wanted, strict=True)]).mean()
        target = latency(table, block_tokens(before, wanted, depth, n, package))
        late = latency(table, block_tokens(before, kept, depth, n, package)) / target - 1
        loss = loss + min(1.0, done / 0.2) * (ratio_weight * ratio + latency_weight * late**2)
        if teacher is not None:
            with torch.no_grad():
                goal = F.softmax(teacher(batch.inputs).float(), 1)
            loss = loss + 0.5 * F.kl_div(F.log_softmax(made.logits.float(), 1), goal, reduction="batchmean")
        return loss

    return objective


@torch.no_grad()
def calibrate(
    model: HeatViT, inputs: Tensor, bits: Tensor | None, rates: Sequence[float], *, rounds: int = 10
) -> None:
    """Shift the biases of learned selectors, first to last, so that stages keep ``rates`` of these positions.

    Training pulls towards a rate and rarely meets it; this does, on ``inputs``, and nearly so on others.
    """
    model.eval()
    for stage, (block, rate) in enumerate(zip(sorted(model.config.before), rates, strict=True)):
        bias = cast(TokenSelector, model.selectors[str(block)]).judge.bias
        begin, low, high = bias.clone(), -8.0, 8.0
        for _ in range(rounds):
            bias[..., 0] = begin[..., 0] + (low + high) / 2
            kept = float(model.run(inputs, bits, masked=False).keep[stage].mean())
            low, high = (low, (low + high) / 2) if kept > rate else ((low + high) / 2, high)
