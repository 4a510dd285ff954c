"""HeatViT's token selector and token packager (arXiv 2211.08110), and how scores become decisions.

Ours: heads are independent (the published code repeats one object, so that all share weights; an option
here), the package is a normalised mean, and one score serves both the decision and the package. More in
`docs/heatvit.md`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bifocal.learn.nets.heads.polynomial import Polynomials, plan_sigmoid, poly_gelu, poly_softmax


class GroupedLinear(nn.Module):
    """One linear layer a head, ``[b, heads, n, i]`` to ``[b, heads, n, o]``; or the same for all heads."""

    def __init__(self, heads: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(heads, inputs, outputs) * inputs**-0.5)
        self.bias = nn.Parameter(torch.zeros(heads, 1, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias


class TokenSelector(nn.Module):
    """Keep scores ``[b, n]``, 0..1, of tokens ``[b, n, d]``: heads judge their slices and are weighed.

    A head: layer norm, a local feature of half its width, the mean of that over living tokens as global
    feature, three more layers, softmax. The score is the mean of the heads, weighted by attention over heads.

    :raises ValueError: if ``dim / heads`` is not a multiple of 4.

    >>> TokenSelector(24, 3)(torch.zeros(2, 5, 24)).shape
    torch.Size([2, 5])
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        shared: bool = False,
        bits: bool = False,
        polynomials: Polynomials | None = None,
    ) -> None:
        super().__init__()
        d = dim // heads
        if dim % heads or d % 4:
            raise ValueError(f"{dim} dimensions in {heads} heads: a head's width has to be a multiple of 4.")
        made = 1 if shared else heads
        self.heads, self.polynomials = heads, polynomials
        self.norm_weight = nn.Parameter(torch.ones(made, 1, d))
        self.norm_bias = nn.Parameter(torch.zeros(made, 1, d))
        self.local = GroupedLinear(made, d, d // 2)
        self.hidden = nn.ModuleList([GroupedLinear(made, d, d // 2), GroupedLinear(made, d // 2, d // 4)])
        self.judge = GroupedLinear(made, d // 4, 2)
        self.judge.bias.data[..., 0] = 1.0  # begin by keeping all that is not sampled away
        inner = max(1, heads // 2)
        self.head_in, self.head_out = nn.Linear(heads, inner), nn.Linear(inner, heads)
        self.bits = nn.Linear(1, dim) if bits else None

    def forward(self, x: Tensor, alive: Tensor | None = None, bits: Tensor | None = None) -> Tensor:
        if self.bits is not None:
            assert bits is not None, "this selector reads bits per token"
            x = x + self.bits(bits[..., None])
        x = x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # [b, heads, n, d/heads]
        f = F.layer_norm(x, x.shape[-1:], eps=1e-6) * self.norm_weight + self.norm_bias
        f = self._gelu(self.local(f))
        if alive is None:
            whole = f.mean(2, keepdim=True)
        else:
            m = alive[:, None, :, None]
            whole = (f * m).sum(2, keepdim=True) / m.sum(2, keepdim=True).clamp_min(1.0)
        f = torch.cat([f, whole.expand_as(f)], 3)
        for layer in self.hidden:
            f = self._gelu(layer(f))
        t = self.judge(f)
        weight = self.head_out(self._gelu(self.head_in(x.mean(3).transpose(1, 2)))).transpose(1, 2)
        if self.polynomials is None:
            keep, weight = t.softmax(3)[..., 0], weight.sigmoid()
        else:
            keep, weight = poly_softmax(t)[..., 0], plan_sigmoid(weight)
        weight = weight.float().clamp_min(1e-6)  # PLAN is exactly zero far down
        return (keep * weight).sum(1) / weight.sum(1)

    def _gelu(self, x: Tensor) -> Tensor:
        return F.gelu(x) if self.polynomials is None else poly_gelu(x, self.polynomials.delta1)


def decide(score: Tensor, *, noise: float = 0.0) -> Tensor:
    """0 or 1 a token from keep scores: ``score >= 0.5``, or sampled with ``noise`` in ``(0, 1]``.

    With noise 1 a token is kept as often as its score says (Gumbel-max of two outcomes: a logistic variable),
    with less the decision is surer. Gradients pass straight through; the values are exactly 0 and 1.
    """
    soft = score
    if noise:
        odds = torch.logit(score, eps=1e-6)
        u = torch.rand_like(odds).clamp(1e-6, 1 - 1e-6)
        soft = torch.sigmoid(odds + noise * torch.logit(u))
    hard = (soft >= 0.5).to(score.dtype)
    return hard + (soft - soft.detach())


def pack(x: Tensor, score: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    """The package of tokens ``x [b, m, d]`` that leave (``out [b, m]`` 1): ``Σ score·x / Σ score``.

    The plain mean if the scores vanish. Returns ``[b, 1, d]`` and ``[b, 1]``, 0 where no token leaves.
    """
    weight = score * out
    total = weight.sum(1, keepdim=True)
    weight = torch.where(total < 1e-6, out, weight)
    total = weight.sum(1, keepdim=True)
    some = (out.detach().sum(1, keepdim=True) > 0).to(x.dtype)
    # a sum, not a matrix product, which autocast would round
    return (x * (weight / total.clamp_min(1e-6))[..., None]).sum(1, keepdim=True), some
