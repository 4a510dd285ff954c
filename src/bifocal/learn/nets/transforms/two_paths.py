"""A linear lapped path and a deep path side by side, on one low resolution.

The linear one carries what a transform codec would; the deep one adds what that cannot say and starts near
zero (AuxT, ICLR 2025, has wavelet shortcuts beside its transforms).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bifocal.learn.nets.transforms.blocks import ResidualBlock, conv3, full_precision, rectify


class TwoPaths(nn.Module):
    """``linear(x) + tail(blocks(stem(x·scale)))`` on ``[b, inputs, h, w]``, to ``[b, outputs, h, w]``.

    The linear path, 3×3, starts as the identity, and is float32 under autocast too: it carries the picture,
    of which bfloat16 keeps no more than 50 dB. ``scale`` ``[inputs]`` brings inputs of the deep path to
    order one; ``slope`` is that of its units below zero. With ``width`` 0 there is no deep path.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, blocks: int, scale: Tensor, *, slope: float = 0.0
    ) -> None:
        super().__init__()
        self.slope, self.deep = slope, width > 0
        self.linear = nn.Conv2d(inputs, outputs, 3, 1, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)  # type: ignore[arg-type]
        n = min(inputs, outputs)
        self.linear.weight.data[:n, :n, 1, 1] = torch.eye(n)
        self.register_buffer("scale", scale.reshape(1, -1, 1, 1).clone())  # a caller may use it twice
        if self.deep:
            self.stem = conv3(inputs, width)
            self.blocks = nn.Sequential(*[ResidualBlock(width, slope=slope) for _ in range(blocks)])
            self.tail = conv3(width, outputs, gain=0.05)

    scale: Tensor

    @property
    def residual_blocks(self) -> list[ResidualBlock]:
        """The blocks of the deep path, in order; none without it."""
        return [block for block in self.blocks if isinstance(block, ResidualBlock)] if self.deep else []

    def rectified(self) -> list[nn.Module]:
        """Layers whose outputs pass the activation: the first of every block, then all blocks together."""
        return [*(block.first for block in self.residual_blocks), self.blocks] if self.deep else []

    @torch.no_grad()
    def revive(self, firing: list[Tensor], threshold: float) -> int:
        """Start units that fire at less than ``threshold`` of positions afresh, as in ReDo (Sokar et al.,
        arXiv 2302.12902): new incoming weights, outgoing weights zero. Returns how many.

        Where the whole deep path is dormant, its constant output moves into the bias of the linear path.
        """
        if bool((firing[-1] < threshold).all()):
            self._restart()
            return len(firing[-1]) * len(firing)
        count = 0
        for block, rate in zip(self.residual_blocks, firing, strict=False):
            dead = (rate < threshold).nonzero()[:, 0]
            if not block.slope and len(dead):
                fresh = conv3(block.first.in_channels, block.first.out_channels)
                block.first.weight[dead] = fresh.weight[dead].to(block.first.weight)
                block.first.bias[dead] = 0  # type: ignore[index]
                block.second.weight[:, dead] = 0
                count += len(dead)
        return count

    def _restart(self) -> None:
        """A new deep path that adds nothing yet, in place of one that adds a constant."""
        self.linear.bias += self.tail.bias  # type: ignore[operator]
        for conv in (m for m in (self.stem, *self.blocks.modules()) if isinstance(m, nn.Conv2d)):
            conv.load_state_dict(conv3(conv.in_channels, conv.out_channels).state_dict())
        for block in self.residual_blocks:
            block.second.weight *= 0.2
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        with full_precision(x):
            linear: Tensor = self.linear(x.float())
        if not self.deep:
            return linear
        return linear + self.tail(rectify(self.blocks(self.stem(x * self.scale)), self.slope))
