"""The steps of training a head on cached latents: a quality for each picture, and a moving average.

The recipe (mixup, CutMix, label smoothing, Muon for matrices, a cosine) is standard; that quantisation is
done to latents which were analysed once, so that a step costs the head alone, is ours.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.learn.data.views import GIVEN, Streams, Views, coded
from bifocal.learn.nets.heads.heatvit import Pruned
from bifocal.learn.nets.heads.latent_stem import (
    LatentClassifierConfig,
    LatentResNet,
    LatentResNetConfig,
    latent_classifier,
)
from bifocal.learn.training.head_start import RATE, take_over
from bifocal.learn.training.optimiser import Muon
from bifocal.learn.training.tasks.prune import soft_cross_entropy
from bifocal.runtime.heads.windows import read_latents
from bifocal.runtime.model import Model

#: The streams that the curve is drawn from while training, and how often they are looked at.
WATCHED, WATCHES = "q60", 12


@dataclass(frozen=True)
class HeadRecipe:
    """Every number of a run. ``channels`` 0 reads the first group of the codec's channels: the cheapest.

    ``views`` of ``side`` pixels are made of each picture; ``held`` is the share that is judged on; ``plain``
    the share of plain pictures in a batch; ``mixed`` and ``cut`` are shares of the batches that mixup or
    CutMix, or a crop of the latents, is done to. ``keep`` has, for a transformer alone, the share of places
    that each token selector keeps (`learn/training/head_selectors.py`).
    """

    classifier: LatentResNetConfig | LatentClassifierConfig = LatentResNetConfig()
    keep: tuple[float, ...] = ()
    channels: int = 0
    window: int = 0  # places of y a side that the head sees at once; 0: three times those of a view
    side: int = 128
    views: int = 8
    held: float = 0.1
    batch: int = 128
    lr: float = 2e-3  # AdamW: norms, biases, positions, the last layer
    matrix_lr: float = 5e-3  # Muon: kernels and matrices
    decay: float = 0.05
    smoothing: float = 0.1
    plain: float = 0.2
    mixed: float = 0.5
    cut: float = 0.3
    warmup: int = 60
    ema: float = 0.998
    seed: int = 0


#: Latents before gains to what a decoder would have of them.
Code = Callable[[Tensor, np.random.Generator], Tensor]
#: (model, y, target, share of the training done) -> loss
Objective = Callable[[nn.Module, Tensor, Tensor, float], Tensor]


def coding(model: Model, device: str) -> Code:
    """Coding at a random quality for each picture, and all of them rounded in one of three ways."""
    gain, inverse = (torch.from_numpy(model.gains[name]).to(device) for name in ("gain", "inverse_gain"))

    def code(y: Tensor, rng: np.random.Generator) -> Tensor:
        quality = torch.from_numpy(rng.integers(0, 100, len(y))).to(device)
        return coded(y, quality, (gain, inverse), int(rng.integers(3)))

    return code


@dataclass(frozen=True)
class Feed:
    """Batches of ``rows`` of views: mixed, cut, and by ``code`` made what a decoder has (:func:`coding`)."""

    recipe: HeadRecipe
    views: Views
    rows: NDArray[np.int64]
    code: Code
    device: str = "cpu"
    unit: int = 1  # crops are of multiples of so many values a side

    def __call__(self, rows: NDArray[np.int64], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Inputs ``[b, c, h, w]`` and smoothed targets ``[b, classes]`` of pictures ``rows``."""
        recipe, classes = self.recipe, int(self.views.labels.max()) + 1
        y = self.views.take(rows, rng, recipe.plain).to(self.device)
        target = F.one_hot(torch.from_numpy(self.views.labels[rows]).to(self.device), classes).float()
        if rng.random() < recipe.mixed:
            y, target = _mixed(y, target, rng)
        target = target * (1 - recipe.smoothing) + recipe.smoothing / classes
        if rng.random() < recipe.cut:
            y = _cut(y, rng, self.unit)
        return self.code(y, rng).contiguous(memory_format=torch.channels_last), target


def plain_objective(model: nn.Module, y: Tensor, target: Tensor, done: float) -> Tensor:
    """Cross-entropy of the logits of ``y`` against ``target``."""
    return soft_cross_entropy(model(y), target)


@dataclass
class HeadRun:
    """One run's network, what it learns from and how, judges and clock."""

    recipe: HeadRecipe
    model: nn.Module
    average: nn.Module
    optimisers: list[torch.optim.Optimizer]
    feed: Feed
    judged: list[tuple[Tensor, int]]
    say: Callable[[str], None]
    objective: Objective = plain_objective
    curve: list[dict[str, float]] = field(default_factory=list)
    step: int = 0


def start_run(
    recipe: HeadRecipe,
    classes: int,
    views: Views,
    rows: NDArray[np.int64],
    streams: Streams,
    model: Model,
    say: Callable[[str], None],
    device: str = "cpu",
    start: str | os.PathLike[str] | None = None,
) -> HeadRun:
    """A network for ``views`` of ``classes`` classes, of which ``rows`` are trained on: fresh, or with the
    convolutions of the head ``start``, which a residual network of its sizes may take over."""
    sample = views.y[rows[:: max(1, len(rows) // 500)], 0].astype(np.float32)
    spread = (torch.from_numpy(f(sample, axis=(0, 2, 3))) for f in (np.mean, np.std))
    plan, config = model.entropy.plan, recipe.classifier
    sizes = {"channels": recipe.channels, "low": plan.groups[0].stop, "classes": classes}
    network: nn.Module
    if isinstance(config, LatentResNetConfig):
        network = LatentResNet(dataclasses.replace(config, **sizes), *spread)
        if start is not None:
            take_over(network, start, model, torch.from_numpy(sample))
            recipe = dataclasses.replace(recipe, lr=RATE * recipe.lr, matrix_lr=RATE * recipe.matrix_lr)
    else:
        grid = recipe.side // plan.y_stride
        network = latent_classifier(dataclasses.replace(config, grid=grid, **sizes), *spread)
    watched = streams.get(WATCHED) or streams[GIVEN]
    judged = []
    for data, label in watched:
        y = read_latents(data, model, recipe.channels).y
        top, left = (max(0, side - recipe.window) // 2 for side in y.shape[1:])
        middle = y[:, top : top + recipe.window, left : left + recipe.window]
        judged.append((torch.from_numpy(np.ascontiguousarray(middle)), label))
    return make_run(recipe, network, Feed(recipe, views, rows, coding(model, device), device), judged, say)


def make_run(
    recipe: HeadRecipe,
    network: nn.Module,
    feed: Feed,
    judged: list[tuple[Tensor, int]],
    say: Callable[[str], None],
) -> HeadRun:
    """A run of any network that ends in a linear layer ``head``: Muon for matrices, AdamW for the rest."""
    network = network.to(feed.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(network).requires_grad_(False).eval()
    matrices = [
        p for name, p in network.named_parameters() if p.ndim in (2, 4) and not name.startswith("head.")
    ]
    taken = {id(p) for p in matrices}
    rest = [p for p in network.parameters() if id(p) not in taken]
    optimisers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, recipe.lr, betas=(0.9, 0.99), weight_decay=0.0),
        Muon(matrices, recipe.matrix_lr, weight_decay=recipe.decay),
    ]
    return HeadRun(recipe, network, average, optimisers, feed, judged, say)


def train_steps(run: HeadRun, budget: float, steps: int) -> None:
    """Steps until the time or their number is over; Ctrl-C ends the training, not the run."""
    recipe, rng, rows = run.recipe, np.random.default_rng(run.recipe.seed), run.feed.rows
    base = [[group["lr"] for group in o.param_groups] for o in run.optimisers]
    batch = min(recipe.batch, max(2, len(rows) * run.feed.views.y.shape[1]))
    order = np.empty(0, np.int64)
    losses: list[float] = []
    begin, watched, first = time.monotonic(), 0.0, run.step
    try:
        while True:
            elapsed = time.monotonic() - begin
            done = max(elapsed / budget, (run.step - first) / steps if steps else 0.0)
            if done >= 1:
                break
            while len(order) < batch:
                order = np.concatenate([order, rng.permutation(rows)])
            taken, order = order[:batch], order[batch:]
            warm = min(1.0, (run.step - first + 1) / recipe.warmup)
            rate = warm * (0.5 + 0.5 * math.cos(math.pi * done))
            for o, rates in zip(run.optimisers, base, strict=True):
                for group, lr in zip(o.param_groups, rates, strict=True):
                    group["lr"] = lr * rate
            losses.append(_step(run, *run.feed(taken, rng), done))
            if done - watched > 1 / WATCHES:
                watched = done
                start = time.monotonic()
                _watch(run, elapsed, losses)
                losses, begin = [], begin + time.monotonic() - start  # judging does not count
    except KeyboardInterrupt:
        run.say("stopped early; packing what there is")
    _watch(run, time.monotonic() - begin, losses)


def _step(run: HeadRun, y: Tensor, target: Tensor, done: float) -> float:
    for o in run.optimisers:
        o.zero_grad(set_to_none=True)
    with torch.autocast(torch.device(run.feed.device).type, dtype=torch.bfloat16):
        loss = run.objective(run.model, y, target, done)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), 5.0)
    if bool(norm.isfinite()):  # a batch that overflows is skipped, not learned
        for o in run.optimisers:
            o.step()
    run.step += 1
    decay = min(run.recipe.ema, (1 + run.step) / (10 + run.step))
    with torch.no_grad():
        mean: list[Tensor] = list(run.average.parameters())
        torch._foreach_lerp_(mean, list[Tensor](run.model.parameters()), 1 - decay)
        for kept, new in zip(run.average.buffers(), run.model.buffers(), strict=True):
            kept.copy_(new)
    return float(loss.detach())


def _mixed(y: Tensor, target: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mixup (arXiv 1710.09412) or CutMix (arXiv 1905.04899) with the same batch in another order."""
    other = torch.from_numpy(rng.permutation(len(y))).to(y.device)
    side = y.shape[2]
    if rng.random() < 0.5:
        share = float(rng.beta(0.4, 0.4))
        y = share * y + (1 - share) * y[other]
    else:
        edge = round(side * math.sqrt(1 - rng.uniform()))
        top, left = (int(place) for place in rng.integers(0, side - edge + 1, 2))
        part = slice(top, top + edge), slice(left, left + edge)
        y = y.clone()
        y[:, :, *part] = y[other][:, :, *part]
        share = 1 - edge**2 / side**2
    return y, share * target + (1 - share) * target[other]


def _cut(y: Tensor, rng: np.random.Generator, unit: int = 1) -> Tensor:
    """A window of the latents of five eighths of a side at least: pictures have all shapes."""
    side = y.shape[2] // unit
    h, w = (int(n) for n in rng.integers(-(-5 * side // 8), side + 1, 2))
    top, left = int(rng.integers(0, side - h + 1)), int(rng.integers(0, side - w + 1))
    return y[:, :, unit * top : unit * (top + h), unit * left : unit * (left + w)]


@torch.no_grad()
def _watch(run: HeadRun, elapsed: float, losses: list[float]) -> None:
    """Accuracy of the average on the latents of real streams; batches of equal shapes."""
    groups: dict[torch.Size, list[tuple[Tensor, int]]] = {}
    for y, label in run.judged:
        groups.setdefault(y.shape, []).append((y, label))
    right = 0
    for pairs in groups.values():
        for start in range(0, len(pairs), 128):
            part = pairs[start : start + 128]
            y = torch.stack([y for y, _ in part]).to(run.feed.device, memory_format=torch.channels_last)
            labels = torch.tensor([label for _, label in part], device=run.feed.device)
            with torch.autocast(torch.device(run.feed.device).type, dtype=torch.bfloat16):
                made = run.average(y)
                logits = made.logits if isinstance(made, Pruned) else made
                right += int((logits.argmax(1) == labels).sum())
    row = {
        "minutes": elapsed / 60,
        "step": run.step,
        "loss": float(np.mean(losses)) if losses else float("nan"),
        "accuracy": right / len(run.judged),
    }
    run.curve.append(row)
    run.say(
        f"{row['minutes']:.1f} minutes, step {run.step}: loss {row['loss']:.3f}, {row['accuracy']:.1%} right"
    )
