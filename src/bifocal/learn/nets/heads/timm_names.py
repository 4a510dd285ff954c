"""What a vision transformer does, by timm's attribute names alone: for timm's models and for ours.

Masked attention, a block, the way from input to tokens and from tokens to logits. timm is not imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bifocal.learn.nets.heads.polynomial import PolyGELU, Polynomials, poly_exp
from bifocal.learn.nets.heads.vit import split_heads


def attend(
    attn: Any,
    x: Tensor,
    alive: Tensor | None = None,
    polynomials: Polynomials | None = None,
    see: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """What ``attn`` computes on ``x [b, m, d]`` when only ``alive`` tokens (and each itself) can be seen.

    ``see`` is called with the attention weights ``[b, heads, m, m]``.
    """
    q, k, v = split_heads(attn.qkv(x), attn.num_heads)
    q, k = getattr(attn, "q_norm", nn.Identity())(q), getattr(attn, "k_norm", nn.Identity())(k)
    s = (q * attn.scale @ k.mT).float()
    allowed = None
    if alive is not None:
        own = torch.eye(s.shape[-1], device=s.device)
        allowed = alive[:, None, None, :].float()
        allowed = allowed + (1 - allowed) * own
        top = s.detach().masked_fill(allowed == 0, -torch.inf).amax(-1, keepdim=True)
    else:
        top = s.detach().amax(-1, keepdim=True)
    # above zero only tokens that are not seen: a ceiling keeps their gradient finite
    e = (s - top).clamp(max=5.0).exp() if polynomials is None else poly_exp((s - top).clamp(max=0.0))
    e = e if allowed is None else e * allowed
    weights = e / e.sum(-1, keepdim=True) * (1.0 if polynomials is None else polynomials.delta2)
    if see is not None:
        see(weights)
    return attn.proj((weights.to(v.dtype) @ v).transpose(1, 2).flatten(2))


def run_block(
    block: Any,
    x: Tensor,
    alive: Tensor | None = None,
    polynomials: Polynomials | None = None,
    see: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """One block by timm's names; without a mask or polynomials the block's own forward."""
    if alive is None and polynomials is None and see is None:
        return block(x)
    same = nn.Identity()
    y = getattr(block, "ls1", same)(attend(block.attn, block.norm1(x), alive, polynomials, see))
    x = x + getattr(block, "drop_path1", same)(y)
    y = getattr(block, "ls2", same)(block.mlp(block.norm2(x)))
    return x + getattr(block, "drop_path2", same)(y)


def embed(backbone: Any, x: Tensor) -> Tensor:
    """Tokens before the first block, class token first, by timm's names."""
    tokens = backbone.patch_embed(x)
    if hasattr(backbone, "_pos_embed"):
        tokens = backbone._pos_embed(tokens)
    else:
        tokens = torch.cat([backbone.cls_token.expand(len(tokens), -1, -1), tokens], 1) + backbone.pos_embed
    return getattr(backbone, "norm_pre", nn.Identity())(tokens)


def classify(backbone: Any, tokens: Tensor) -> Tensor:
    """Logits of the class token after the last block, by timm's names."""
    return backbone.head(getattr(backbone, "fc_norm", nn.Identity())(backbone.norm(tokens)[:, 0]))


def use_polynomials(backbone: Any, polynomials: Polynomials) -> None:
    """Put the polynomial GELU into every block, and ``1 / delta2`` into the projection after its attention.

    So delta2 alone changes no output; delta1 < 1 does, and asks for fine-tuning.
    """
    for block in backbone.blocks:
        block.mlp.act = PolyGELU(polynomials.delta1)
        block.attn.proj.weight.data /= polynomials.delta2
