"""Multiply-adds of a transformer whose blocks see fewer and fewer tokens, picture by picture.

Counts are realised ones: tokens that a block really saw, class token and package included. Products only, as
in `learn/nets/cost.py`, whose counter agrees with these formulas (a test says so).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

Number = Tensor | float


def attention_mac(n: Number, dim: int) -> Any:
    """Queries, keys, values, two products between tokens, projection, for ``n`` tokens.

    >>> attention_mac(197, 192) + mlp_mac(197, 192, 768)  # a block of DeiT-T
    102049152
    """
    return n * 4 * dim * dim + 2 * n * n * dim


def mlp_mac(n: Number, dim: int, hidden: int) -> Any:
    """Both layers of an MLP for ``n`` tokens."""
    return n * 2 * dim * hidden


def selector_mac(n: Number, dim: int, heads: int) -> Any:
    """A token selector (`learn/nets/heads/selector.py`) for ``n`` tokens.

    >>> [round(selector_mac(196, d, d // 64) / 1e6, 1) for d in (192, 384, 768)]  # DeiT-T, -S, -B
    [2.7, 5.5, 10.9]
    """
    d, inner = dim // heads, max(1, heads // 2)
    return n * (heads * (d * d // 2 + d * d // 2 + d * d // 8 + d // 2) + 2 * heads * inner)


def transformer_mac(backbone: Any, attended: Sequence[Number], moved: Sequence[Number]) -> Any:
    """All blocks and the head of ``backbone`` (timm's names); block ``k`` attends over ``attended[k]`` tokens
    and its MLP moves ``moved[k]``. Numbers, or tensors ``[b]`` for every picture of a batch."""
    dim = backbone.head.in_features
    total: Any = dim * backbone.head.out_features
    for block, a, m in zip(backbone.blocks, attended, moved, strict=True):
        total = total + attention_mac(a, dim) + mlp_mac(m, dim, block.mlp.fc1.out_features)
    return total
