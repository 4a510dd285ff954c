"""Other ways to spend less on tokens, to compare HeatViT with: by a fixed number, by bits, by merging.

`FixedPruning` keeps a given number of tokens at every stage: at random, by the class token's attention (as
EViT, arXiv 2202.07800, with a package its fused token) or by bits. `BitsThreshold` is our own idea: the
entropy decoder knows what each position of the picture cost, so a threshold on that is a selector without a
single multiply-add; it stands where a `TokenSelector` stands. `MergedViT` is ToMe (arXiv 2210.09461).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.learn.nets.heads.heatvit import Pruned, by_position
from bifocal.learn.nets.heads.selector import pack
from bifocal.learn.nets.heads.timm_names import classify, embed, run_block
from bifocal.learn.nets.heads.vit import split_heads
from bifocal.learn.nets.parameters import ParameterGroup, grouped


class BitsThreshold(nn.Module):
    """A selector that costs nothing: keep a token if the logarithm of its bits reaches ``threshold``.

    The score is a sigmoid around the threshold, so that a package weighs tokens that nearly stayed more.
    ``threshold`` is of ``log(1 + bits)``, as :class:`~bifocal.learn.nets.heads.heatvit.HeatViT` hands bits
    on.
    """

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.register_buffer("threshold", torch.tensor(float(threshold)))

    threshold: Tensor

    def forward(self, x: Tensor, alive: Tensor | None = None, bits: Tensor | None = None) -> Tensor:
        assert bits is not None, "a threshold on bits needs bits"
        return torch.sigmoid(4 * (bits - self.threshold))


@dataclass(frozen=True)
class FixedConfig:
    """``keep[k]`` positions stay before block ``before[k]``; ``by`` is random, attention or bits."""

    before: tuple[int, ...]
    keep: tuple[int, ...]
    by: str = "random"
    package: bool = False


class FixedPruning(nn.Module):
    """A ViT that keeps the best so many tokens at each stage; the same for every picture.

    :raises ValueError: if ``by`` is unknown, or attention is asked for before the first block.
    """

    def __init__(self, backbone: Any, config: FixedConfig) -> None:
        super().__init__()
        if config.by not in ("random", "attention", "bits") or (
            config.by == "attention" and 0 in config.before
        ):
            raise ValueError(f"tokens cannot be chosen by {config.by} before block {config.before[0]}.")
        self.backbone, self.config = backbone, config

    def parameter_groups(self) -> tuple[ParameterGroup, ...]:
        return grouped(self, matrices=[self.backbone.blocks], plain=[self.backbone.head])

    def forward(self, x: Tensor, bits: Tensor | None = None) -> Pruned:
        c, x = self.config, embed(self.backbone, x)
        b, n = len(x), x.shape[1] - 1
        k, p = n, 0  # tokens are the class token, k positions, p packages
        position = torch.arange(n, device=x.device).expand(b, -1)
        cost = x.new_zeros(b, n) if bits is None else torch.log1p(bits.flatten(1))
        weights: list[Tensor] = []
        keep, scores, counts = [], [], []
        for number, block in enumerate(self.backbone.blocks):
            if number in c.before:
                cls, spatial, package = x.split([1, k, p], 1)
                score = self._score(b, k, weights, cost.gather(1, position))
                k = min(c.keep[c.before.index(number)], k)
                best, rest = score.argsort(1, descending=True).tensor_split([k], 1)
                if c.package and rest.shape[1] + p:
                    mean = score.mean(1, keepdim=True).expand(
                        b, p
                    )  # no score of its own: a package is as good as any
                    weight = torch.cat([score.gather(1, rest), mean], 1)
                    package, _ = pack(
                        torch.cat([_take(spatial, rest), package], 1), weight, torch.ones_like(weight)
                    )
                    p = 1
                x, position = torch.cat([cls, _take(spatial, best), package], 1), position.gather(1, best)
                keep.append(by_position(torch.ones_like(position, dtype=x.dtype), position, n))
                scores.append(score)
                counts.append(torch.full((b,), 1 + k + p))
            weights.clear()
            x = run_block(block, x, see=weights.append if c.by == "attention" else None)
        return Pruned(classify(self.backbone, x), tuple(keep), tuple(scores), tuple(counts))

    def _score(self, b: int, k: int, weights: list[Tensor], cost: Tensor) -> Tensor:
        if self.config.by == "random":
            return torch.rand(b, k, device=cost.device)
        return cost if self.config.by == "bits" else weights[0][:, :, 0, 1 : 1 + k].float().mean(1)


def _take(x: Tensor, rows: Tensor) -> Tensor:
    return x.gather(1, rows[..., None].expand(-1, -1, x.shape[2]))


class MergedViT(nn.Module):
    """ToMe: in block ``k``, between attention and MLP, the ``merge[k]`` most similar pairs become one token.

    Bipartite soft matching by the cosine of keys, means weighted by how many patches a token stands for, and
    that number's logarithm added to attention, all as in the paper. The class token is never merged.
    """

    def __init__(self, backbone: Any, merge: tuple[int, ...]) -> None:
        super().__init__()
        self.backbone, self.merge = backbone, merge

    def parameter_groups(self) -> tuple[ParameterGroup, ...]:
        return grouped(self, matrices=[self.backbone.blocks], plain=[self.backbone.head])

    def forward(self, x: Tensor, bits: Tensor | None = None) -> Pruned:
        x = embed(self.backbone, x)
        size = torch.ones_like(x[..., :1])
        counts = []
        for block, r in zip(self.backbone.blocks, self.merge, strict=True):
            y, metric = sized_attention(block.attn, block.norm1(x), size)
            x = x + y
            if r:
                x, size = merge_tokens(x, size, metric, r)
            counts.append(torch.full((len(x),), x.shape[1]))
            x = x + block.mlp(block.norm2(x))
        return Pruned(classify(self.backbone, x), (), (), tuple(counts))


def sized_attention(attn: Any, x: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Attention in which a token counts ``size [b, m, 1]`` times; and the mean of the heads' keys."""
    q, k, v = split_heads(attn.qkv(x), attn.num_heads)
    s = (q * attn.scale @ k.mT).float() + size.log().transpose(1, 2)[:, None]
    return attn.proj((s.softmax(-1).to(v.dtype) @ v).transpose(1, 2).flatten(2)), k.mean(1).float()


def merge_tokens(x: Tensor, size: Tensor, metric: Tensor, r: int) -> tuple[Tensor, Tensor]:
    """Merge ``r`` tokens of ``x [b, m, d]`` into others, by similar ``metric [b, m, e]``; and their sizes.

    Every second token is a source, the rest are targets; at most all sources but the class token go.
    """
    metric = F.normalize(metric, dim=-1)
    alike = metric[:, ::2] @ metric[:, 1::2].mT
    alike[:, 0] = -torch.inf  # the class token stays
    best, target = alike.max(-1)
    order = best.argsort(1, descending=True)
    r = min(r, order.shape[1] - 1)
    gone, stay = order.tensor_split([r], 1)
    stay = stay.sort(1).values  # the class token first again
    weighted, d = x * size, x.shape[2]
    source, into = weighted[:, ::2], weighted[:, 1::2]
    goal = target.gather(1, gone)[..., None]
    into = into.scatter_add(1, goal.expand(-1, -1, d), _take(source, gone).to(into.dtype))
    grown = size[:, 1::2].scatter_add(1, goal, _take(size[:, ::2], gone))
    size = torch.cat([_take(size[:, ::2], stay), grown], 1)
    return torch.cat([_take(source, stay), into], 1) / size, size
