"""The arms of run.py: how each is built, fine-tuned and judged."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bifocal.learn.nets.heads.heatvit import HeatConfig, HeatViT, Pruned
from bifocal.learn.nets.heads.selector import TokenSelector
from bifocal.learn.nets.heads.vit import VisionTransformer, VitConfig
from bifocal.learn.training.pruning.latency import LatencyTable
from bifocal.learn.training.pruning.objective import Batch, calibrate, pruning_objective
from bifocal.learn.training.soft_labels import soft_cross_entropy
from bifocal.learn.training.tasks.prune import train_pruned
from bifocal.measure import MeasureError
from studies.heatvit.data import CHANNELS, GRID, Coded
from studies.heatvit.other_methods import BitsThreshold, FixedConfig, FixedPruning, MergedViT
from studies.heatvit.token_cost import selector_mac, transformer_mac

CLASSES = 10
CONFIG = VitConfig(dim=96, depth=6, heads=3, mlp_ratio=4.0, grid=GRID, classes=CLASSES)
BEFORE, RATES = (1, 2, 4), (0.7, 0.49, 0.343)
ARMS = {
    "dense": "dense",
    "heatvit": "HeatViT",
    "no-package": "HeatViT without package",
    "heatvit-bits": "HeatViT that sees bits per token",
    "bits": "threshold on bits per token (ours)",
    "bits-package": "threshold on bits, with package (ours)",
    "tome": "ToMe-style merging",
    "attention": "class attention",
    "attention-package": "class attention, with package (EViT)",
    "random": "random",
}


class Standardise(nn.Module):
    """Fixed shift and scale a channel."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean[:, None, None])
        self.register_buffer("std", std[:, None, None])

    mean: Tensor
    std: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def dense_model(y: Tensor) -> VisionTransformer:
    """Two 3×3 convolutions on the low band as stem, one token for each position of the latents, six blocks.

    ``y [n, c, h, w]`` are latents to take the scale of channels from.
    """
    stem = nn.Sequential(
        Standardise(y.mean((0, 2, 3)), y.std((0, 2, 3))),
        nn.Conv2d(CHANNELS, CONFIG.dim, 3, 1, 1, bias=False),
        nn.BatchNorm2d(CONFIG.dim),
        nn.GELU(),
        nn.Conv2d(CONFIG.dim, CONFIG.dim, 3, 1, 1, bias=False),
        nn.BatchNorm2d(CONFIG.dim),
    )
    return VisionTransformer(stem, CONFIG)


def plain_objective(model: nn.Module, batch: Batch, done: float) -> Tensor:
    """Cross-entropy of a dense model or of an arm without anything to learn about pruning."""
    if isinstance(model, HeatViT):  # nothing is sampled: train on gathered tokens
        return soft_cross_entropy(model.run(batch.inputs, batch.bits, masked=False).logits, batch.targets)
    made = (
        model(batch.inputs, batch.bits) if not isinstance(model, VisionTransformer) else model(batch.inputs)
    )
    return soft_cross_entropy(made.logits if isinstance(made, Pruned) else made, batch.targets)


def thresholds(coded: Coded, rows: Any, shares: list[float]) -> list[float]:
    """Thresholds on log(1 + bits) that keep these shares of the positions of pictures ``rows``."""
    bits = np.log1p(coded.bits[rows].astype(np.float32))
    return [float(np.quantile(bits, 1 - share)) for share in shares]


def merges(dense: VisionTransformer, target: float) -> tuple[int, ...]:
    """Numbers of tokens to merge in each block, as even as possible, that come closest to ``target`` MAC."""

    def cost(total: int) -> tuple[float, tuple[int, ...]]:
        plan = tuple(
            (total * (k + 1)) // CONFIG.depth - (total * k) // CONFIG.depth for k in range(CONFIG.depth)
        )
        moved = [1 + GRID**2 - sum(plan[: k + 1]) for k in range(CONFIG.depth)]
        return abs(transformer_mac(dense, [1 + GRID**2, *moved[:-1]], moved) - target), plan

    return min(cost(total) for total in range(60))[1]


def build(
    arm: str,
    dense: VisionTransformer,
    held: Coded,
    rows: Any,
    reference: dict[str, Any] | None,
    *,
    trained: bool = False,
) -> nn.Module:
    """The model of an arm around a copy of ``dense``; ``reference`` is what HeatViT realised.

    ``trained`` inserts all learned selectors at once, for weights that are loaded next.
    """
    vit = copy.deepcopy(dense)
    if arm == "dense":
        return vit
    if arm in ("heatvit", "no-package", "heatvit-bits"):
        before = BEFORE if trained else ()
        return HeatViT(vit, HeatConfig(before, package=arm != "no-package", bits=arm == "heatvit-bits"))
    if reference is None:
        raise MeasureError(
            "The other arms get the realised numbers of tokens of heatvit. Run that arm first."
        )
    shares = reference["rates"]
    if arm in ("bits", "bits-package"):
        model = HeatViT(vit, HeatConfig(BEFORE, package=arm == "bits-package", bits=True))
        for k, threshold in zip(BEFORE, thresholds(held, rows, shares), strict=True):
            model.selectors[str(k)] = BitsThreshold(threshold)
        return model
    if arm == "tome":
        return MergedViT(vit, merges(vit, reference["transformer_mac"]))
    keep = tuple(round(share * GRID**2) for share in shares)
    return FixedPruning(vit, FixedConfig(BEFORE, keep, arm.split("-")[0], arm.endswith("package")))


def finetune(
    model: nn.Module, feed: Iterator[Batch], table: LatencyTable, *, steps: int, lr: float, report: Any
) -> nn.Module:
    """HeatViT's selectors enter from the last to the first, each with a part of the steps; others at once."""
    if not (isinstance(model, HeatViT) and not model.config.before):
        return train_pruned(
            model, feed, plain_objective, steps=steps, lr=lr, report=report, every=25, average=0.98
        )
    objective = pruning_objective(RATES, table)
    parts = [steps // 5, steps // 5, steps - 2 * (steps // 5)]
    for block, part in zip(reversed(BEFORE), parts, strict=True):
        assert isinstance(model, HeatViT)
        model.requires_grad_(True)
        model.insert(block)
        model = train_pruned(model, feed, objective, steps=part, lr=lr, report=report, every=25, average=0.95)
    return model


def match(model: HeatViT, coded: Coded, rows: Any, rates: list[float]) -> None:
    """Shift learned selectors so that they keep these shares of the pictures ``rows``, for equal cost."""
    if isinstance(model.selectors[str(BEFORE[0])], TokenSelector):
        y, bits = (torch.from_numpy(a[rows[:400]].astype(np.float32)) for a in (coded.y, coded.bits))
        calibrate(model, y, bits, rates)


@torch.no_grad()
def judge(model: nn.Module, coded: Coded, rows: Any, stem: float) -> dict[str, Any]:
    """Accuracy on ``rows``, realised shares of positions and multiply-adds, means over pictures."""
    right, rates, macs, tokens = [], [], [], []
    torch.manual_seed(0)  # random pruning draws here
    for i in range(0, len(rows), 100):
        part = rows[i : i + 100]
        y, bits = (torch.from_numpy(a[part].astype(np.float32)) for a in (coded.y, coded.bits))
        made = Pruned(model(y), (), (), ()) if isinstance(model, VisionTransformer) else model(y, bits)
        right.append(made.logits.argmax(1).numpy() == coded.labels[part])
        rates.append([float(k.sum()) / GRID**2 for k in made.keep])
        mac, seen = realised(model, made)
        macs.append(np.broadcast_to(np.asarray(mac, np.float64), len(part)))
        tokens.append(seen)
    mac = float(np.concatenate(macs).mean())
    return {
        "accuracy": float(np.concatenate(right).mean()),
        "rates": [float(r) / len(rows) for r in np.sum(rates, 0)] if rates[0] else [],
        "transformer_mac": mac,
        "mac": mac + stem,
        "tokens": [float(t) for t in np.mean(tokens, 0)],
    }


def realised(model: nn.Module, made: Pruned) -> tuple[Any, list[float]]:
    """Multiply-adds of every picture (stem not counted), and the mean number of tokens of each MLP."""
    dense: list[Any] = [float(1 + GRID**2)] * CONFIG.depth
    if isinstance(model, VisionTransformer):
        return transformer_mac(model, dense, dense), dense
    if isinstance(model, MergedViT):
        moved: list[Any] = [c.float() for c in made.counts]
        mac = transformer_mac(model.backbone, [torch.full_like(moved[0], 1 + GRID**2), *moved[:-1]], moved)
        return mac.numpy(), [float(m.mean()) for m in moved]
    assert isinstance(model, HeatViT | FixedPruning)
    counts: list[Any] = []
    for block in range(CONFIG.depth):
        stage = sum(k <= block for k in BEFORE)
        counts.append(
            made.counts[stage - 1].float() if stage else torch.full((len(made.logits),), 1.0 + GRID**2)
        )
    mac = transformer_mac(model.backbone, counts, counts)
    if isinstance(model, HeatViT) and not isinstance(model.selectors[str(BEFORE[0])], BitsThreshold):
        inputs = [torch.full_like(counts[0], GRID**2), *(c.float() - 1 for c in made.counts[:-1])]
        mac = mac + sum(selector_mac(n, CONFIG.dim, CONFIG.heads) for n in inputs)
    return mac.numpy(), [float(c.mean()) for c in counts]
