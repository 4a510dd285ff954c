"""A small plain vision transformer with timm's attribute names, over tokens from any stem.

Dosovitskiy et al. (arXiv 2010.11929), pre-norm, with a class token. The names are those of the `timm` library
(``patch_embed``, ``cls_token``, ``pos_embed``, ``blocks[i].norm1/attn.qkv/attn.proj/norm2/mlp.fc1/mlp.fc2``,
``norm``, ``head``), so that what works on our transformer (token pruning, `learn/nets/heads/heatvit.py`)
works on any ViT with those names. Ours: the stem is any module that makes a map, pixels or latents, and
positions are always interpolated to its size.

    input ── patch_embed ─► [b,h,w,d] ── + positions, class token ─► [b,1+hw,d] ─ blocks ─ norm ─ head
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.learn.nets.parameters import ParameterGroup, grouped


@dataclass(frozen=True)
class VitConfig:
    """Sizes of a transformer: ``grid`` is the side of the token map that its positions are learned for."""

    dim: int = 96
    depth: int = 6
    heads: int = 3
    mlp_ratio: float = 4.0
    grid: int = 8
    classes: int = 10


class Attention(nn.Module):
    """Self-attention over all tokens, ``[b, n, d]`` to ``[b, n, d]``."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = heads, dim // heads
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = split_heads(self.qkv(x), self.num_heads)
        # written out: torch's fused product is many times slower in training on a CPU, at these sizes
        weights = (q * self.scale @ k.mT).softmax(-1)
        return self.proj((weights.to(v.dtype) @ v).transpose(1, 2).flatten(2))


def split_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values ``[b, heads, n, d/heads]`` of the output of ``attn.qkv``, ``[b, n, 3d]``."""
    q, k, v = qkv.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
    return q, k, v


class Mlp(nn.Module):
    """Two linear layers with GELU between, ``[b, n, d]`` to ``[b, n, d]``."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act: nn.Module = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """``x + attn(norm(x))``, then ``x + mlp(norm(x))``, on tokens ``[b, n, d]``."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """Any stem as a source of tokens: ``proj`` makes ``[b, d, h, w]``, the result is ``[b, h, w, d]``."""

    def __init__(self, proj: nn.Module) -> None:
        super().__init__()
        self.proj = proj

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).permute(0, 2, 3, 1)


class VisionTransformer(nn.Module):
    """``stem(x)``, a map ``[b, dim, h, w]`` of any size, to logits ``[b, classes]``.

    :raises ValueError: if the heads do not divide the dimension.

    >>> model = VisionTransformer(nn.Conv2d(3, 48, 16, 16), VitConfig(dim=48, depth=2, heads=3, grid=8))
    >>> model(torch.zeros(2, 3, 96, 160)).shape
    torch.Size([2, 10])
    """

    def __init__(self, stem: nn.Module, config: VitConfig = VitConfig()) -> None:
        super().__init__()
        c = self.config = config
        if c.dim % c.heads:
            raise ValueError(f"{c.heads} heads do not divide {c.dim} dimensions.")
        self.patch_embed = PatchEmbed(stem)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, c.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + c.grid**2, c.dim))
        self.blocks = nn.ModuleList([Block(c.dim, c.heads, c.mlp_ratio) for _ in range(c.depth)])
        self.norm = nn.LayerNorm(c.dim, eps=1e-6)
        self.head = nn.Linear(c.dim, c.classes)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        for module in [*self.blocks.modules(), self.head]:
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def _pos_embed(self, x: Tensor) -> Tensor:
        """Tokens ``[b, 1 + h·w, d]`` of a map ``[b, h, w, d]``: positions added, class token first."""
        c, (b, h, w, d) = self.config, x.shape
        cls, grid = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        grid = grid.reshape(1, c.grid, c.grid, d).permute(0, 3, 1, 2)
        # without a branch on the size, which an exported graph could not take; the same size is the identity
        grid = F.interpolate(grid, size=(h, w), mode="bicubic", align_corners=False)
        tokens = x.reshape(b, h * w, d) + grid.flatten(2).transpose(1, 2)
        return torch.cat([(self.cls_token + cls).expand(b, -1, -1), tokens], 1)

    def parameter_groups(self) -> tuple[ParameterGroup, ...]:
        return grouped(self, matrices=[self.blocks], plain=[self.head])

    def embed(self, x: Tensor) -> Tensor:
        """Tokens before the first block, ``[b, 1 + h·w, d]``, class token first."""
        return self._pos_embed(self.patch_embed(x))

    def classify(self, tokens: Tensor) -> Tensor:
        """Logits ``[b, classes]`` of the tokens after the last block: the class token's, normalised."""
        return self.head(self.norm(tokens)[:, 0])

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x)
        for block in self.blocks:
            tokens = block(tokens)
        return self.classify(tokens)
