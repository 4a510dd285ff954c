"""The supernet: one vision transformer whose prefixes are all subnets of a space, in 4 and 8 bits.

    input ── 8 bits ─► tokens [b,n,c] ── embed ─► [b,n,d] ─ + positions, class token ─► blocks ─ norm ─ head

Blocks are pre-norm with layer scaling (Touvron et al., arXiv 2103.17239): ``x + diag(λ) f(norm(x))``. Every
product is of 8-bit activations and 4-bit or 8-bit rows, attention too, as the integer network computes it
(`learn/search/integer.py`). Embedding and last layer have 8 bits in every subnet, as is usual.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.learn.nets.heads.vit import split_heads
from bifocal.learn.nets.parameters import ParameterGroup, grouped
from bifocal.learn.search.entangled import ByteRange, EntangledLinear
from bifocal.learn.search.space import SearchSpace, Subnet

#: Fraction bits of the input's integers, and the range of attention probabilities in 8 bits without a sign.
INPUT_FRACTION, PROBABILITY = 5, 256
#: Channels are never taken for quieter: zero symbols decode to small numbers other than zero.
QUIET = 2.0**-5
EPS = 1e-6


@dataclass(frozen=True)
class InputForm:
    """What the network reads: ``reads`` "latents" or "pixels", ``channels`` of a token, tokens of at most
    ``grid`` a side; ``patch`` is the side of a token in pixels, 1 for latents."""

    reads: str
    channels: int
    grid: int
    patch: int = 1

    @property
    def tokens(self) -> int:
        """Tokens of a full grid, with the class token."""
        return self.grid**2 + 1


class Front(nn.Module):
    """Inputs ``[b, c, h, w]`` to whole numbers ``[b, channels, h, w]`` of 8 bits: exact, so alike everywhere.

    Latents are multiplied by a power of two for each channel, from ``spread``, their mean square root;
    of pixels 128 is taken, and patches become channels.
    """

    exponent: Tensor

    def __init__(self, form: InputForm, spread: Tensor | None = None) -> None:
        super().__init__()
        self.form = form
        spread = torch.ones(form.channels) if spread is None else spread
        exponent = torch.round(INPUT_FRACTION - torch.log2(spread.clamp_min(QUIET)))
        if form.reads == "pixels":
            exponent = torch.zeros(form.channels)
        self.register_buffer("exponent", exponent.clamp(-16, 16))

    def forward(self, x: Tensor) -> Tensor:
        if self.form.reads == "pixels":
            x = F.pixel_unshuffle(x.round() - 128, self.form.patch)
        x = torch.floor(x * torch.exp2(self.exponent)[:, None, None] + 0.5)
        return x.clamp(-127, 127)


class Block(nn.Module):
    """A block at its largest size; ``forward`` runs that of a subnet."""

    def __init__(self, space: SearchSpace, *, separate: bool) -> None:
        super().__init__()
        d, inner = max(space.dim), max(space.heads) * space.head_dim
        hidden = round(max(space.mlp) * d)
        self.head_dim = space.head_dim
        scale = space.layer_scale
        options: dict[str, Any] = {"separate": separate}
        self.norm1, self.norm2 = nn.LayerNorm(d, eps=EPS), nn.LayerNorm(d, eps=EPS)
        self.qkv = EntangledLinear(d, 3 * inner, parts=3, **options)
        self.proj = EntangledLinear(inner, d, scale=scale, **options)
        self.fc1 = EntangledLinear(d, hidden, **options)
        self.fc2 = EntangledLinear(hidden, d, scale=scale, **options)
        self.q_range, self.k_range, self.v_range = ByteRange(), ByteRange(), ByteRange()

    def forward(self, x: Tensor, heads: int, hidden: int, eight: tuple[float, ...]) -> Tensor:
        d, inner = x.shape[-1], heads * self.head_dim
        y = normalised(x, self.norm1)
        q, k, v = split_heads(self.qkv(y, inner, eight[0]), heads)
        q, k, v = self.q_range(q), self.k_range(k), self.v_range(v)
        weights = (q * self.head_dim**-0.5 @ k.mT).softmax(-1)
        y = (in_steps(weights) @ v).transpose(1, 2).flatten(2)
        x = x + self.proj(y, d, eight[1])
        y = F.gelu(self.fc1(normalised(x, self.norm2), hidden, eight[2]))
        return x + self.fc2(y, d, eight[3])


class Supernet(nn.Module):
    """All subnets of ``space`` in one, for inputs of ``form`` and ``classes``.

    :param spread: of latents, the root of the mean square of each channel.
    :param separate: rows of 4 bits have weights of their own.

    >>> space = SearchSpace("s", (16, 24), (1, 2), (1, 2), (2, 3), head_dim=8)
    >>> net = Supernet(space, InputForm("latents", 6, 4), 3)
    >>> net(torch.zeros(2, 6, 4, 3), space.smallest).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        space: SearchSpace,
        form: InputForm,
        classes: int,
        spread: Tensor | None = None,
        *,
        separate: bool = False,
    ) -> None:
        super().__init__()
        d = max(space.dim)
        self.space, self.form, self.classes, self.separate = space, form, classes, separate
        self.front = Front(form, spread)
        self.embed = EntangledLinear(form.channels, d)
        self.cls_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(d), std=0.02))
        self.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(form.grid, form.grid, d), std=0.02))
        self.blocks = nn.ModuleList([Block(space, separate=separate) for _ in range(max(space.depth))])
        self.norm = nn.LayerNorm(d, eps=EPS)
        self.head = EntangledLinear(d, classes)

    def parameter_groups(self) -> tuple[ParameterGroup, ...]:
        return grouped(self)

    def header(self) -> dict[str, Any]:
        """What a checkpoint says of the network."""
        return {
            "space": asdict(self.space),
            "form": asdict(self.form),
            "classes": self.classes,
            "separate": self.separate,
        }

    def forward(self, x: Tensor, subnet: Subnet) -> Tensor:
        """Logits ``[b, classes]`` of inputs ``[b, c, h, w]``, at most the grid a side, by a subnet."""
        d = subnet.dim
        tokens = self.front(x).permute(0, 2, 3, 1) * 2.0**-INPUT_FRACTION  # in 8 bits already
        h, w = tokens.shape[1:3]
        y = self.embed(tokens, d, 1.0, given=tokens) + self.positions[:h, :w, :d]
        y = torch.cat([self.cls_token[:d].expand(len(y), 1, d), y.flatten(1, 2)], 1)
        for number, block in enumerate(self.blocks[: subnet.depth]):
            y = block(y, subnet.heads[number], subnet.hidden(number), subnet.eight[number])
        return self.head(normalised(y[:, 0], self.norm), self.classes, 1.0)


def normalised(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Layer norm over the first channels of a larger one."""
    d = x.shape[-1]
    return F.layer_norm(x, (d,), norm.weight[:d], norm.bias[:d], EPS)


def in_steps(weights: Tensor) -> Tensor:
    """Attention probabilities in steps of 1/256, below 1, with straight-through gradients."""
    stepped = (torch.floor(weights.detach() * PROBABILITY + 0.5) / PROBABILITY).clamp(max=1 - 1 / PROBABILITY)
    return weights + (stepped - weights.detach())
