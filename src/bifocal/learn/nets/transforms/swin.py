"""Swin Transformer V2 window attention on feature maps of any size; float, for teachers only.

Liu et al., arXiv 2111.09883: cosine attention with a learned temperature for each head, a position bias that
a small network computes from log-spaced offsets, and layer normalisation *after* each branch. Two choices are
ours. A shift is done by padding instead of rolling the map round and masking what came round: the windows at
the borders are then smaller, which is the same attention, pixel for pixel, and needs no table of regions.
Padding is never attended to, so that any size works.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAX_TEMPERATURE = 100.0
BIAS_RANGE = 16.0
OFFSET_RANGE = 8.0


def log_offsets(window: int) -> Tensor:
    """Signed log-spaced offsets from every position of a window to every other: ``[n, n, 2]``, n = window².

    ``sign(d)·log2(1 + |d|)/log2(8)`` (rows, columns) of offsets ``d`` scaled to ±8: the paper's equation 4,
    so normalised.

    >>> log_offsets(2)[0, 3]  # from the top left to the bottom right
    tensor([-1.0566, -1.0566])
    """
    axis = torch.arange(window, dtype=torch.float32)
    position = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    offset = (position[:, None] - position[None]) * (OFFSET_RANGE / max(window - 1, 1))
    return offset.sign() * torch.log2(1 + offset.abs()) / math.log2(OFFSET_RANGE)


class WindowAttention(nn.Module):
    """Cosine self-attention among the tokens of each window: ``[n, t, c]`` to the same, t = window²."""

    def __init__(self, channels: int, heads: int, window: int, *, bias_hidden: int = 512) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels do not divide into {heads} heads")
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels, bias=False)  # under a cosine the paper gives keys none
        self.value = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)
        self.log_temperature = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.bias = nn.Sequential(
            nn.Linear(2, bias_hidden), nn.ReLU(), nn.Linear(bias_hidden, heads, bias=False)
        )
        self.register_buffer("offsets", log_offsets(window), persistent=False)

    offsets: Tensor

    def position_bias(self) -> Tensor:
        """``[heads, t, t]``, between 0 and 16."""
        return BIAS_RANGE * torch.sigmoid(self.bias(self.offsets).permute(2, 0, 1).float())

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """``x [b, n, t, c]``: n windows of each picture; ``seen [n, t]`` is false for padding."""
        b, n, t, c = x.shape
        query, key, value = (
            part(x).reshape(b, n, t, self.heads, c // self.heads).transpose(2, 3)
            for part in (self.query, self.key, self.value)
        )
        temperature = self.log_temperature.clamp(max=math.log(MAX_TEMPERATURE)).exp()
        query = F.normalize(query.float(), dim=-1) * temperature
        scores = query.to(value.dtype) @ F.normalize(key.float(), dim=-1).to(value.dtype).transpose(-1, -2)
        hidden = torch.zeros(n, 1, 1, t, device=x.device).masked_fill(~seen[:, None, None], -torch.inf)
        weights = (scores.float() + self.position_bias() + hidden).softmax(-1)
        return self.out((weights.to(value.dtype) @ value).transpose(2, 3).reshape(b, n, t, c))


class SwinBlock(nn.Module):
    """Attention in windows, then two layers a token, each normalised and added: ``[b, c, h, w]`` to the same.

    :param shift: how far the windows stand off the origin; half a window in every other block.
    :param expand: hidden units of the second branch, times the channels.

    >>> SwinBlock(8, heads=2, window=4, shift=2)(torch.zeros(1, 8, 5, 9)).shape
    torch.Size([1, 8, 5, 9])
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int,
        window: int = 8,
        shift: int = 0,
        expand: int = 4,
        bias_hidden: int = 512,
    ) -> None:
        super().__init__()
        if not 0 <= shift < window:
            raise ValueError(f"windows of {window} cannot be shifted by {shift}")
        self.window, self.shift = window, shift
        self.attention = WindowAttention(channels, heads, window, bias_hidden=bias_hidden)
        self.attention_norm = nn.LayerNorm(channels)
        self.mix = nn.Sequential(
            nn.Linear(channels, expand * channels), nn.GELU(), nn.Linear(expand * channels, channels)
        )
        self.mix_norm = nn.LayerNorm(channels)
        for norm in (self.attention_norm, self.mix_norm):
            nn.init.constant_(norm.weight, 0.1)  # ours: close to the identity at the start, like our blocks

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[-2:]
        x = x.permute(0, 2, 3, 1)
        x = x + self.attention_norm(self._attend(x, h, w))
        x = x + self.mix_norm(self.mix(x))
        return x.permute(0, 3, 1, 2)

    def _attend(self, x: Tensor, h: int, w: int) -> Tensor:
        size, before = self.window, -self.shift % self.window
        rows, columns = -(-(h + before) // size), -(-(w + before) // size)
        after = rows * size - h - before, columns * size - w - before
        x = F.pad(x, (0, 0, before, after[1], before, after[0]))
        seen = F.pad(x.new_ones(1, h, w, 1), (0, 0, before, after[1], before, after[0])) > 0
        y = self.attention(_windows(x, size), _windows(seen, size)[0, ..., 0])
        y = y.reshape(-1, rows, columns, size, size, y.shape[-1]).transpose(2, 3)
        y = y.reshape(-1, rows * size, columns * size, y.shape[-1])
        return y[:, before : before + h, before : before + w]


def _windows(x: Tensor, size: int) -> Tensor:
    """``[b, h, w, c]`` to ``[b, windows, size², c]``, row by row."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // size, size, w // size, size, c).transpose(2, 3)
    return x.reshape(b, (h // size) * (w // size), size * size, c)
