"""What a codec costs: parameters and multiply-adds a pixel, counted part by part by running it.

torch's own counter sees every product that runs, masks not discounted (a predictor computes positions that it
then ignores, and that is work). Biases, activations and roundings are not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """One part of a codec: its parameters and its thousands of multiply-adds a pixel."""

    part: str
    parameters: int
    kmac: float


def count(model: nn.Module, run: Callable[[], object], pixels: int) -> list[Cost]:
    """Count what ``run`` (a pass of ``model`` over ``pixels`` pixels) costs in each child of ``model``.

    Products outside every child, such as fixed wavelet transforms, are the last row, ``fixed``.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter, sdpa_kernel(SDPBackend.MATH):  # a fused attention would not be seen
        run()
    flops = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    root = type(model).__name__
    rows = []
    for name, child in model.named_children():
        # a list of modules is never called itself: look for the nearest modules inside it that are
        own, inside = f"{root}.{name}", f"{root}.{name}."
        within = [k for k in flops if k.startswith(inside)]
        called = [own] if own in flops else [k for k in within if k.rpartition(".")[0] not in within]
        kmac = sum(flops[k] for k in called) / 2000 / pixels
        rows.append(Cost(name, sum(p.numel() for p in child.parameters()), kmac))
    total = flops.get("Global", 0) / 2000 / pixels
    return [*rows, Cost("fixed", 0, total - sum(r.kmac for r in rows))]
