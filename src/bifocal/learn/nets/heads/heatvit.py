"""HeatViT: tokens that do not matter leave a vision transformer on the way, the rest of them as one package.

Dong et al., HPCA 2023 (arXiv 2211.08110): before some blocks a multi-head selector scores every token; tokens
below one half leave, their weighted mean stays as one package token. It wraps any ViT with timm's attribute
names and a class token (`learn/nets/heads/vit.py`; DeiT's two prefix tokens too).

    tokens [b,m,d] ── selector ─► score [b,m] ── >= ½ ─► kept tokens ─┬─► next blocks
                                              └─ < ½ ── Σ s·x / Σ s ──┘  one package: the next one absorbs it

In training no token is removed: decisions are sampled (Gumbel, straight-through) and the attention of pruned
tokens is multiplied by zero, which lets gradients reach the selector. At inference a decision is
``score >= 0.5``, without noise, and tokens are gathered. Both forms compute the same function of the
same decisions; pictures of a batch do not see each other.

`docs/heatvit.md` says what differs from the published code, and why.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.learn.nets.heads.polynomial import Polynomials
from bifocal.learn.nets.heads.selector import TokenSelector, decide, pack
from bifocal.learn.nets.heads.timm_names import classify, embed, run_block, use_polynomials
from bifocal.learn.nets.parameters import ParameterGroup, grouped

PREFIX, PACKAGE, PADDING = -1, -2, -3  # positions of tokens that stand for none of the map


@dataclass(frozen=True)
class HeatConfig:
    """Where selectors stand (``before`` these blocks) and what they are.

    ``shared`` gives all heads of a selector the same weights, as the published code does; ``bits`` shows it
    what each token cost in the stream.
    """

    before: tuple[int, ...] = (3, 6, 9)
    package: bool = True
    shared: bool = False
    bits: bool = False
    polynomials: Polynomials | None = None


@dataclass(frozen=True)
class Tokens:
    """Tokens on their way: ``x [b, m, d]``, ``alive [b, m]`` 0 or 1, ``position [b, m]`` in the map or a code
    below 0, ``bits [b, m]`` (a logarithm) or none."""

    x: Tensor
    alive: Tensor
    position: Tensor
    bits: Tensor | None


@dataclass(frozen=True)
class Pruned:
    """``logits [b, classes]`` and, for every stage, what stayed.

    ``keep [b, n]`` is 0 or 1 a position, with straight-through gradients; ``scores [b, n]`` are those of the
    positions still there; ``counts [b]`` are all tokens that the next block sees, class token and package
    included.
    """

    logits: Tensor
    keep: tuple[Tensor, ...]
    scores: tuple[Tensor, ...]
    counts: tuple[Tensor, ...]


class HeatViT(nn.Module):
    """A ViT whose tokens are pruned by selectors; ``backbone`` is used and trained, not copied.

    In training mode tokens are masked and decisions noisy, by ``noise``, which training lets fall to zero, so
    that in the end it decides as inference does. In evaluation mode tokens are gathered, without noise.

    :raises ValueError: if the backbone has no class token at its head, or a selector no block.
    """

    def __init__(self, backbone: Any, config: HeatConfig = HeatConfig()) -> None:
        super().__init__()
        self.prefix = int(getattr(backbone, "num_prefix_tokens", 1))
        if self.prefix < 1 or getattr(backbone, "global_pool", "token") != "token":
            raise ValueError("pruning needs a ViT that classifies by its class token (global_pool='token').")
        if not all(0 <= k < len(backbone.blocks) for k in config.before):
            raise ValueError(f"a selector before block {max(config.before)} of {len(backbone.blocks)}.")
        self.backbone, self.config, self.noise = backbone, config, 1.0
        if config.polynomials is not None:
            use_polynomials(backbone, config.polynomials)
        self.selectors = nn.ModuleDict()
        for k in config.before:
            self.selectors[str(k)] = self._selector()

    def _selector(self) -> TokenSelector:
        b, c = self.backbone, self.config
        return TokenSelector(
            b.head.in_features,
            b.blocks[0].attn.num_heads,
            shared=c.shared,
            bits=c.bits,
            polynomials=c.polynomials,
        )

    def parameter_groups(self) -> tuple[ParameterGroup, ...]:
        b = self.backbone
        return grouped(self, matrices=[b.blocks], selectors=[self.selectors], plain=[b.head])

    def insert(self, block: int) -> None:
        """Put a new selector before ``block``; multi-stage training goes from the last block to the first."""
        self.selectors[str(block)] = self._selector().to(self.backbone.head.weight.device)
        self.config = replace(self.config, before=tuple(sorted({*self.config.before, block})))

    def remove(self, block: int) -> None:
        """Take the selector before ``block`` away."""
        del self.selectors[str(block)]
        self.config = replace(self.config, before=tuple(k for k in self.config.before if k != block))

    def forward(self, x: Tensor, bits: Tensor | None = None) -> Pruned:
        """Stem input ``x`` and, if the selectors read them, ``bits [b, h, w]`` of every token's position."""
        return self.run(x, bits, masked=self.training, noise=self.noise if self.training else 0.0)

    def run(self, x: Tensor, bits: Tensor | None = None, *, masked: bool, noise: float = 0.0) -> Pruned:
        """The same with masked or gathered tokens, and decisions with noise or without, as asked."""
        tokens = start(embed(self.backbone, x), self.prefix, bits if self.config.bits else None)
        n = tokens.x.shape[1] - self.prefix
        keep, scores, counts = [], [], []
        for number, block in enumerate(self.backbone.blocks):
            if str(number) in self.selectors:
                tokens, score = self.prune(tokens, self.selectors[str(number)], n, noise=noise)
                keep.append(by_position(tokens.alive, tokens.position, n))
                scores.append(score)
                counts.append(tokens.alive.detach().sum(1).long())
                tokens = tokens if masked else compact(tokens)
            whole = bool((tokens.alive.detach() == 1).all())
            mask = None if whole and not (masked and keep) else tokens.alive
            y = run_block(block, tokens.x, mask, self.config.polynomials)
            tokens = Tokens(y, tokens.alive, tokens.position, tokens.bits)
        return Pruned(classify(self.backbone, tokens.x), tuple(keep), tuple(scores), tuple(counts))

    def prune(self, tokens: Tokens, selector: nn.Module, n: int, *, noise: float) -> tuple[Tokens, Tensor]:
        """One stage: tokens with new decisions and package, none removed yet; and scores by position."""
        p = self.prefix
        x, alive, position = tokens.x[:, p:], tokens.alive[:, p:], tokens.position[:, p:]
        bits = None if tokens.bits is None else tokens.bits[:, p:]
        score = selector(x, alive, bits)
        stay = decide(score, noise=noise) * (position != PACKAGE)  # a package always joins the next one
        out = alive * (1 - stay)
        seen = by_position(score * alive.detach(), position, n)
        alive = torch.cat([tokens.alive[:, :p], alive * stay], 1)
        if not self.config.package:
            return Tokens(tokens.x, alive, tokens.position, tokens.bits), seen
        package, some = pack(x, score, out)
        mark = torch.full_like(tokens.position[:, :1], PACKAGE)
        if tokens.bits is not None and bits is not None:
            bits = torch.cat([tokens.bits, pack(bits[..., None], score, out)[0][..., 0]], 1)
        return Tokens(
            torch.cat([tokens.x, package], 1),
            torch.cat([alive, some], 1),
            torch.cat([tokens.position, mark], 1),
            bits,
        ), seen

    def segments(self) -> list[Segment]:
        """The network cut at its selectors, in order; it should be in evaluation mode.

        >>> from bifocal.learn.nets.heads.vit import VisionTransformer, VitConfig
        >>> vit = VisionTransformer(nn.Conv2d(3, 24, 4, 4), VitConfig(dim=24, depth=3, heads=3, grid=4))
        >>> first, last = HeatViT(vit, HeatConfig(before=(1,))).eval().segments()
        >>> tokens, keep = first(torch.zeros(1, 3, 16, 16))
        >>> tokens.shape, keep.shape, last(tokens[:, :9]).shape
        (torch.Size([1, 17, 24]), torch.Size([1, 17]), torch.Size([1, 10]))
        """
        cuts = sorted(int(k) for k in self.selectors) + [len(self.backbone.blocks)]
        starts = [0, *cuts[:-1]]
        return [Segment(self, a, b, first=k == 0) for k, (a, b) in enumerate(zip(starts, cuts, strict=True))]


def start(x: Tensor, prefix: int, bits: Tensor | None) -> Tokens:
    """Tokens ``[b, prefix + n, d]`` before the first stage, all alive; ``bits [b, h, w]`` or none."""
    b, m, _ = x.shape
    position = torch.arange(-prefix, m - prefix, device=x.device).clamp_min(PREFIX).expand(b, m)
    if bits is not None:
        bits = F.pad(torch.log1p(bits.flatten(1)), (prefix, 0))
    return Tokens(x, torch.ones(b, m, device=x.device), position, bits)


def by_position(values: Tensor, position: Tensor, n: int) -> Tensor:
    """Values of tokens ``[b, m]`` put at their positions ``[b, n]``; zero where no token is."""
    real = (position >= 0).to(values.dtype)
    return values.new_zeros(len(values), n).scatter_add(1, position.clamp_min(0), values * real)


def compact(tokens: Tokens) -> Tokens:
    """Gather the living tokens; rows with fewer than the most are padded with dead ones."""
    counts = (tokens.alive > 0).sum(1)
    width = int(counts.max())
    order = torch.argsort(tokens.alive, stable=True, dim=1, descending=True)[:, :width]
    alive = tokens.alive.gather(1, order)
    position = torch.where(alive > 0, tokens.position.gather(1, order), PADDING)
    x = tokens.x.gather(1, order[..., None].expand(-1, -1, tokens.x.shape[2]))
    return Tokens(x, alive, position, None if tokens.bits is None else tokens.bits.gather(1, order))


class Segment(nn.Module):
    """The part of a pruned transformer between two selectors, for one picture: what a runtime executes.

    The first takes the stem's input (and ``bits [1, 1, h, w]`` if the selectors read them), the others tokens
    ``[1, m, d]``. All but the last return tokens and keep scores ``[1, m]`` (1 for the class token); the last
    returns logits. Between two segments the runtime drops tokens below one half and appends their package
    (`docs/heatvit.md`). Bits travel as one more channel of the tokens.
    """

    def __init__(self, model: HeatViT, begin: int, end: int, *, first: bool) -> None:
        super().__init__()
        backbone = model.backbone
        self.first, self.last = first, end == len(backbone.blocks)
        self.prefix, self.bits = model.prefix, model.config.bits
        self.polynomials = model.config.polynomials
        self.backbone = backbone
        self.begin, self.end = begin, end
        self.selector = None if self.last else model.selectors[str(end)]
        self.train(model.training)

    def forward(self, x: Tensor, bits: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
        known = None
        if self.first:
            x = embed(self.backbone, x)
            if self.bits and bits is not None:
                known = F.pad(torch.log1p(bits.flatten(1)), (self.prefix, 0))
        elif self.bits:
            x, known = x[..., :-1], x[..., -1]
        for block in self.backbone.blocks[self.begin : self.end]:
            x = run_block(block, x, None, self.polynomials)
        if self.selector is None:
            return classify(self.backbone, x)
        p = self.prefix
        score = self.selector(x[:, p:], None, None if known is None else known[:, p:])
        keep = torch.cat([torch.ones_like(x[:, :p, 0]), score], 1)
        return (x if known is None else torch.cat([x, known[..., None]], 2)), keep
