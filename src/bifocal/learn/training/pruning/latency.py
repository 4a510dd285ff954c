"""What a block of a transformer costs at each number of tokens, measured or modelled (arXiv 2211.08110)."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


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


def block_tokens(
    before: Sequence[int], shares: Sequence[Any], depth: int, positions: int, package: bool
) -> list[Any]:
    """Tokens of every block when ``shares[s]`` of the positions stay from block ``before[s]`` on."""
    counts: list[Any] = []
    for number in range(depth):
        stage = sum(k <= number for k in before)
        counts.append(1 + positions if stage == 0 else 1 + package + shares[stage - 1] * positions)
    return counts


def latency(table: LatencyTable, counts: Sequence[Any]) -> Tensor:
    """The sum over blocks of the cost of their tokens."""
    return torch.stack([table.at(torch.as_tensor(n, dtype=torch.float32)) for n in counts]).sum()
