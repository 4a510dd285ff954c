"""How near group scales come to the best grouping, on activations and gradients of a trained network.

    python -m studies.lowbit.run --data IMAGENETTE/train [--steps 300] [--bits 4] [--docs]

Trains ResNet-20 in float32 on 32×32 squares, and looks at one batch: the inputs of every convolution but the
first, and the gradients of their outputs. Each is quantised along the inner dimension of the product that it
enters: activations and gradients by channel, gradients also by position (512 positions, drawn). Activations
are rounded to nearest, gradients stochastically. The figure is the mean square error over that of a scale for
each channel, as a geometric mean over layers. `any` is the best grouping into as many groups with scales of
any size (`optimum.py`), which power-of-two groups are to approach.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import reporting
from bifocal.learn.data.labelled import find_labelled, load_squares
from bifocal.learn.data.squares import Squares, shifted
from bifocal.learn.nets.heads.resnet20 import ResNet20
from bifocal.learn.nets.quantiser import CHANNEL, Quantiser, channel_ranges
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.fit import fit
from bifocal.learn.training.tasks.lowbit import classifier_job, normalised
from bifocal.measure.tables import markdown
from studies.lowbit.optimum import best_ranges

GROUPS = (1, 2, 4, 8)
POSITIONS = 512
SIDE, MARGIN = 32, 4
Tensors = dict[str, dict[str, Tensor]]


def recorded(model: nn.Module, pixels: Tensor, labels: Tensor) -> Tensors:
    """Inputs and gradients of the outputs of every convolution but the first, by layer."""
    seen: Tensors = {}
    hooks = []
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.Conv2d) and name != "stem":

            def enter(_: nn.Module, given: Any, result: Tensor, name: str = name) -> None:
                seen[name] = {"activations by channel": given[0].detach()}
                result.register_hook(lambda g: seen[name].update({"gradients by channel": g.detach()}))

            hooks.append(layer.register_forward_hook(enter))
    F.cross_entropy(model(normalised(pixels)), labels).backward()
    for hook in hooks:
        hook.remove()
    rng = torch.Generator().manual_seed(0)
    for found in seen.values():
        rows = found["gradients by channel"].permute(1, 0, 2, 3).flatten(1)  # channels × positions
        drawn = torch.randperm(rows.shape[1], generator=rng)[:POSITIONS]
        found["gradients by position"] = rows[:, drawn]
        found |= {k: v.transpose(0, 1).flatten(1).T for k, v in found.items() if v.ndim == 4}
    return seen


def error(x: Tensor, values: Tensor) -> float:
    return float((x - values).double().square().mean())


def errors(x: Tensor, bits: int, noise: Tensor | None) -> dict[str, float]:
    """Mean square errors of ``x [rows, channels]`` under every policy, with these bits."""
    found = {}
    for groups in (*GROUPS, CHANNEL):
        found[str(groups)] = error(x, Quantiser(bits, groups)(x, (1,), noise=noise).values)
    ranges = channel_ranges(x, (1,)).flatten().double().numpy()
    for groups in GROUPS[1:]:
        scale = torch.from_numpy(best_ranges(ranges, groups)).to(x.dtype).clamp_min(1e-30)
        scale = scale / (2 ** (bits - 1) - 1)
        whole = torch.floor(x / scale + (0.5 if noise is None else noise))
        found[f"any {groups}"] = error(x, whole * scale)
    return found


def measured(seen: Tensors, bits: int) -> dict[str, dict[str, float]]:
    """For each kind of tensor, errors over those of a scale for each channel: geometric means over layers."""
    rng = torch.Generator().manual_seed(1)
    rows: dict[str, list[dict[str, float]]] = {}
    for tensors in seen.values():
        for kind, x in tensors.items():
            noise = None if kind.startswith("activations") else torch.rand(x.shape, generator=rng)
            found = errors(x, bits, noise)
            if found["channel"] > 0:
                rows.setdefault(kind, []).append({k: v / found["channel"] for k, v in found.items()})
    return {
        kind: {k: float(np.exp(np.mean([np.log(layer[k]) for layer in layers]))) for k in layers[0]}
        for kind, layers in rows.items()
    }


def table(found: dict[str, dict[str, float]]) -> str:
    """Rows of tensors, columns of policies."""
    names = {"1": "one scale", "2": "shift 2", "any 2": "any 2", "4": "shift 4", "any 4": "any 4"}
    names |= {"8": "shift 8", "any 8": "any 8", "channel": "channel"}
    rows = [[kind, *(f"{row[key]:.2f}" for key in names)] for kind, row in found.items()]
    return markdown(["tensor", *names.values()], rows)


def trained_network(squares: Squares, steps: int, seed: int) -> nn.Module:
    """ResNet-20 in float32 after so many batches of 32."""
    torch.manual_seed(seed)
    model = ResNet20()
    job = classifier_job(model, squares, side=SIDE, batch=32, lr=2e-3, decay=0.05, seed=seed)
    fit(job, Budget(steps=steps))
    return model


def main() -> None:
    """Train, record, measure."""
    parser: argparse.ArgumentParser = reporting.parser(__doc__ or "", Path(__file__).parent)
    parser.add_argument("--data", type=Path, required=True, help="folder with a subfolder for each class")
    parser.add_argument("--steps", type=int, default=300, help="batches of 32 (default: %(default)s)")
    parser.add_argument("--bits", type=int, default=4, help="of all tensors (default: %(default)s)")
    parser.add_argument("--pictures", type=int, default=2000, help="to train on (default: %(default)s)")
    given = parser.parse_args()
    begun = time.process_time()
    labelled = find_labelled(given.data)
    rows = np.arange(0, len(labelled.files), max(1, len(labelled.files) // given.pictures))
    labelled = labelled.without({"not needed": np.setdiff1d(np.arange(len(labelled.files)), rows).tolist()})
    labelled, pixels = load_squares(labelled, SIDE + MARGIN)
    squares = Squares(pixels, labelled.labels)
    model = trained_network(squares, given.steps, seed=0)
    batch = next(shifted(squares, SIDE, 64, 1, torch.device("cpu")))
    found = measured(recorded(model, *batch), given.bits)
    spent = time.process_time() - begun
    text = (
        f"{given.bits} bits, ResNet-20 after {given.steps} batches of 32 from {len(labelled.files):,} "
        f"pictures, seed 0, one batch of 64; {spent:.0f} processor seconds in all.\n\n{table(found)}"
    )
    result = {"bits": given.bits, "steps": given.steps, "errors": found, "text": text}
    result |= {"machine": reporting.machine(), "processor_seconds": round(spent, 1)}
    reporting.publish(given, "lowbit-errors", text, result)


if __name__ == "__main__":
    reporting.run(main)
