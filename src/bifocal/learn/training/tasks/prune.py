"""Training of pruned transformers: one loop, what pruning may cost, and insertion of stages one by one.

HeatViT (arXiv 2211.08110) trains its selectors from the last block towards the first, with a table of what a
block costs at each keep ratio and a loss that pulls towards a latency. Of its procedure only outlines are
public; the loss of keep ratios is SPViT's (arXiv 2112.13890), the loss of latency and the rules for inserting
and dropping stages are our reconstruction.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.learn.nets.heads.heatvit import HeatViT, Pruned
from bifocal.learn.nets.heads.selector import TokenSelector
from bifocal.learn.training.optimiser import Muon


@dataclass(frozen=True)
class Batch:
    """Inputs of a stem ``[b, c, h, w]``, bits per place ``[b, h, w]``, targets ``[b, classes]``."""

    inputs: Tensor
    bits: Tensor
    targets: Tensor


#: Selectors start from nothing, while the rest is trained: their learning rate is so many times higher.
SELECTOR_RATE = 10.0
#: (model, batch, share of the steps done, 0..1) -> loss
Objective = Callable[[nn.Module, Batch, float], Tensor]


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of ``logits [b, classes]`` against rows of probabilities."""
    return -(targets * F.log_softmax(logits.float(), 1)).sum(1).mean()


# -- what a block costs ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class LatencyTable:
    """What a block costs at some numbers of tokens, in ``unit``, measured or modelled (its Table IV)."""

    tokens: tuple[int, ...]
    cost: tuple[float, ...]
    unit: str

    def at(self, n: Tensor) -> Tensor:
        """Cost at ``n`` tokens, of any shape, linear between entries; differentiable.

        >>> LatencyTable((10, 20), (1.0, 3.0), "ms").at(torch.tensor([10.0, 15.0, 20.0])).tolist()
        [1.0, 2.0, 3.0]
        """
        x = torch.tensor(self.tokens, dtype=torch.float32, device=n.device)
        y = torch.tensor(self.cost, dtype=torch.float32, device=n.device)
        k = torch.searchsorted(x, n.detach().float().contiguous()).clamp(1, len(x) - 1)
        return y[k - 1] + (n - x[k - 1]) * (y[k] - y[k - 1]) / (x[k] - x[k - 1])

    def markdown(self) -> str:
        """A table: keep ratio, tokens, cost."""
        rows = [
            f"| {n / self.tokens[-1]:.2f} | {n} | {c:.4g} |"
            for n, c in zip(self.tokens, self.cost, strict=True)
        ]
        return "\n".join([f"| keep ratio | tokens | {self.unit} a block |", "| ---: | ---: | ---: |", *rows])


@torch.no_grad()
def measure_latency(block: nn.Module, dim: int, tokens: Sequence[int], *, repeats: int = 30) -> LatencyTable:
    """Milliseconds of ``block`` for one picture at each number of ``tokens``: the fastest of ``repeats``."""
    cost = []
    for n in sorted(tokens):
        x, best = torch.randn(1, n, dim), math.inf
        for _ in range(repeats):
            begin = time.perf_counter()
            block(x)
            best = min(best, time.perf_counter() - begin)
        cost.append(1000 * best)
    return LatencyTable(tuple(sorted(tokens)), tuple(cost), "ms")


def modelled_latency(
    dim: int,
    hidden: int,
    heads: int,
    tokens: Sequence[int],
    *,
    multipliers: int = 1024,
    tile: tuple[int, int] = (32, 32),
    bytes_per_cycle: float = 80.0,
    control: float = 500.0,
) -> LatencyTable:
    """Thousands of cycles of a block on an 8-bit array: the larger of computing and moving, and control.

    Each product ``[m, k]·[k, n]`` takes ``⌈m/tm⌉·⌈n/tn⌉·(tm·k·tn/multipliers)`` cycles or moves its operands,
    weights once for each row of tiles; LayerNorm, softmax and GELU are not counted. A model, for ratios: its
    absolute numbers mean nothing (95 % of the time of one real accelerator was tile control).
    """

    def product(m: int, k: int, n: int) -> float:
        rows, columns = -(-m // tile[0]), -(-n // tile[1])
        computing = rows * columns * tile[0] * k * tile[1] / multipliers
        moving = (k * n * rows + m * k + m * n) / bytes_per_cycle
        return max(computing, moving) + control

    cost = []
    for n in sorted(tokens):
        attention = heads * (product(n, dim // heads, n) + product(n, n, dim // heads))
        linear = (
            product(n, dim, 3 * dim)
            + product(n, dim, dim)
            + product(n, dim, hidden)
            + product(n, hidden, dim)
        )
        cost.append((attention + linear) / 1000)
    return LatencyTable(tuple(sorted(tokens)), tuple(cost), "kilocycles (modelled)")


# -- losses ----------------------------------------------------------------------------------------------


def block_tokens(
    before: Sequence[int], shares: Sequence[Any], depth: int, places: int, package: bool
) -> list[Any]:
    """Tokens of every block when ``shares[s]`` of the places stay from block ``before[s]`` on."""
    counts: list[Any] = []
    for number in range(depth):
        stage = sum(k <= number for k in before)
        counts.append(1 + places if stage == 0 else 1 + package + shares[stage - 1] * places)
    return counts


def latency(table: LatencyTable, counts: Sequence[Any]) -> Tensor:
    """The sum over blocks of the cost of their tokens."""
    return torch.stack([table.at(torch.as_tensor(n, dtype=torch.float32)) for n in counts]).sum()


def pruning_objective(
    rates: Sequence[float],
    table: LatencyTable,
    *,
    teacher: nn.Module | None = None,
    ratio_weight: float = 2.0,
    latency_weight: float = 1.0,
) -> Objective:
    """Cross-entropy, and the pull towards the share ``rates[s]`` of places that each stage should keep.

    SPViT's ``2·mean_s (keep_s - rate_s)²``, and ours, ``(latency / latency at the rates - 1)²``, both ramped
    up over the first fifth. The noise of decisions falls to zero over four fifths: with noise to the end,
    scores of 0.6 everywhere would keep 60 % in training and all at inference. A ``teacher`` adds half the
    Kullback-Leibler divergence to its logits.
    """

    def objective(model: nn.Module, batch: Batch, done: float) -> Tensor:
        assert isinstance(model, HeatViT)
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


# -- the loop --------------------------------------------------------------------------------------------


def fit(
    model: nn.Module,
    batches: Iterator[Batch],
    objective: Objective,
    *,
    steps: int,
    lr: float,
    average: float = 0.998,
    report: Callable[[int, float, nn.Module], None] | None = None,
    every: int = 200,
) -> nn.Module:
    """Train for ``steps`` batches and return the moving average of the model, in evaluation mode.

    Muon on the matrices of blocks, AdamW on the rest, a cosine from ``lr`` to zero after a short warm-up;
    bf16 autocast. ``report`` gets the step, the mean loss since the last report and the average.
    """
    model.train()
    mean = copy.deepcopy(model).eval().requires_grad_(False)
    matrices, selectors, rest = list[nn.Parameter](), list[nn.Parameter](), list[nn.Parameter]()
    for name, p in model.named_parameters():
        if p.requires_grad:
            matrix = p.ndim == 2 and "blocks." in name
            (matrices if matrix else selectors if "selectors." in name else rest).append(p)
    groups = [{"params": p, "lr": r} for p, r in ((rest, lr), (selectors, SELECTOR_RATE * lr)) if p]
    optimisers: list[torch.optim.Optimizer] = []
    if groups:
        optimisers.append(torch.optim.AdamW(groups, lr, betas=(0.9, 0.99), weight_decay=0.05))
    if matrices:
        optimisers.append(Muon(matrices, 2 * lr, weight_decay=0.05))
    rates = [[group["lr"] for group in o.param_groups] for o in optimisers]
    losses, warm = list[float](), max(1, min(30, steps // 5))
    for step in range(steps):
        done = step / steps
        rate = min(1.0, (step + 1) / warm) * (0.5 + 0.5 * math.cos(math.pi * done))
        for optimiser, full in zip(optimisers, rates, strict=True):
            for group, value in zip(optimiser.param_groups, full, strict=True):
                group["lr"] = value * rate
            optimiser.zero_grad(set_to_none=True)
        batch = next(batches)
        with torch.autocast(batch.inputs.device.type, torch.bfloat16):
            loss = objective(model, batch, done)
        loss.backward()
        nn.utils.clip_grad_norm_([*matrices, *selectors, *rest], 5.0)
        for optimiser in optimisers:
            optimiser.step()
        losses.append(float(loss.detach()))
        with torch.no_grad():
            keep = min(average, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(mean.parameters()), list(model.parameters()), 1 - keep)
            for old, new in zip(mean.buffers(), model.buffers(), strict=True):
                old.copy_(new)
        if report is not None and (step + 1) % every == 0:
            report(step + 1, sum(losses) / len(losses), mean)
            losses.clear()
    return mean


@torch.no_grad()
def calibrate(
    model: HeatViT, inputs: Tensor, bits: Tensor | None, rates: Sequence[float], *, rounds: int = 10
) -> None:
    """Shift the biases of learned selectors, first to last, so that stages keep ``rates`` of these places.

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


# -- insertion stage by stage ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """A selector before ``block`` that keeps about ``rate`` of all places."""

    block: int
    rate: float


def search_stages(
    model: HeatViT,
    blocks: Sequence[int],
    rates: Sequence[float],
    *,
    train: Callable[[HeatViT, list[Stage]], None],
    accuracy: Callable[[HeatViT], float],
    limit: float = 0.005,
    useless: float = 0.85,
    alike: float = 0.05,
) -> list[Stage]:
    """Insert selectors from the last of ``blocks`` to the first, each as hard as accuracy allows.

    For every block, ``train`` is called with the stages so far and ever lower ``rates`` until ``accuracy``
    falls more than ``limit`` below what it was at the start; the model then goes back to the last rate that
    held. A stage that keeps ``useless`` or more is dropped; of neighbours within ``alike`` only the first
    stays.
    """
    least, found = accuracy(model) - limit, list[Stage]()
    for block in sorted(blocks, reverse=True):
        before = copy.deepcopy(model.state_dict()), model.config
        held: tuple[dict[str, Tensor], float] | None = None
        model.insert(block)
        # an earlier stage never keeps less than a later one: it would prune for it
        for rate in sorted((r for r in rates if not found or r >= found[0].rate), reverse=True):
            train(model, [Stage(block, rate), *found])
            if accuracy(model) < least:
                break
            held = copy.deepcopy(model.state_dict()), rate
        if held is None or held[1] >= useless:
            model.remove(block)
            model.load_state_dict(before[0])
            continue
        model.load_state_dict(held[0])
        if found and abs(found[0].rate - held[1]) < alike:
            model.remove(found.pop(0).block)
        found.insert(0, Stage(block, held[1]))
    return found
