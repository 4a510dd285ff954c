"""Bits of activations in training: the coders of `hardware/cost/coders.py` as differentiable estimates.

A codec trained with them has activations that take little memory traffic (arXiv 2309.02855: the length of the
codes of all activations joins the loss). The paper quantises with 8 bits between smallest and largest value
and straight-through gradients. Here, each tensor has a step that is learned with the codec, and noise of a
step in place of rounding, as latents have: what a step costs and what it spoils are then in one loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from bifocal.learn.nets.entropy.exact import ExactConv
from bifocal.learn.nets.transforms.blocks import ResidualBlock
from bifocal.learn.nets.transforms.two_paths import TwoPaths

#: A step begins as this share of its tensor's deviation.
FIRST_STEP = 1 / 8


def gaussian_bits(x: Tensor) -> Tensor:
    """Bits of integers-to-be ``[b, c, h, w]`` in all, ``[b]``, by a Gaussian for each picture and channel.

    ``½ log2(1 + 2πe σ²)`` a value: the entropy of the rounded Gaussian where deviations are large, and 0
    where they vanish.
    """
    variance = x.flatten(2).var(2, correction=0)
    bits = 0.5 * torch.log2(1 + 2 * math.pi * math.e * variance)
    return bits.sum(1) * (x.shape[2] * x.shape[3])


def golomb_bits(x: Tensor) -> Tensor:
    """Bits of integers-to-be ``[b, c, h, w]`` in all, ``[b]``, by exponential Golomb around the median.

    The length of the code of the rounded value, ``2⌊log2(n / 2^k + 1)⌋ + 1 + k`` for its fold n; its
    gradient is that without the floor, n = 2|r|, as in the paper's code. k is the best of 0 to 6 for each
    picture and channel.
    """
    r = x.flatten(2) - x.flatten(2).detach().round().median(2, keepdim=True).values
    with torch.no_grad():
        whole = r.round()
        n = torch.where(whole > 0, 2 * whole - 1, -2 * whole)
        orders = torch.arange(7, device=x.device)[:, None, None, None]
        lengths = 2 * torch.log2((n / 2.0**orders).floor() + 1).floor() + 1 + orders
        best = lengths.sum(3, keepdim=True).argmin(0, keepdim=True)
        length, k = lengths.gather(0, best.expand(1, *n.shape))[0], best[0].float()
    smooth = 2 * torch.log2(2 * r.abs() / 2**k + 1)
    return (smooth + (length - smooth).detach()).sum((1, 2))


#: Estimates by the name of their coder.
ESTIMATES: dict[str, Callable[[Tensor], Tensor]] = {"gaussian": gaussian_bits, "symmetric": golomb_bits}


def stored_outputs(network: nn.Module, *, without: nn.Module | None = None) -> list[nn.Module]:
    """The parts of a float network whose outputs go to memory, in order.

    Convolutions, but not those that end in a sum: of these the sum is stored. Exact networks are left out:
    their activations are small integers already; and ``without``, a part with all in it.
    """
    ends = set() if without is None else {id(part) for part in without.modules()}
    for part in network.modules():
        if isinstance(part, ResidualBlock):
            ends.add(id(part.second))
        elif isinstance(part, TwoPaths):
            ends.add(id(part.tail) if part.deep else id(part))
    kinds = (nn.Conv2d, nn.ConvTranspose2d, ResidualBlock, TwoPaths)
    exact = {id(part) for m in network.modules() if isinstance(m, ExactConv) for part in m.modules()}
    return [m for m in network.modules() if isinstance(m, kinds) and id(m) not in ends | exact]


class ActivationBits(nn.Module):
    """Counts the bits of what some parts of a network give, and puts noise of a step there.

    ``log_steps`` are learned with the network; a step that has seen no activation yet is found from the
    first.

    >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    >>> count = ActivationBits(stored_outputs(network))
    >>> with count.counting():
    ...     _ = network(torch.randn(2, 3, 8, 8))
    >>> count.bits().shape
    torch.Size([2])
    """

    started: Tensor

    def __init__(self, parts: list[nn.Module], coder: str = "gaussian") -> None:
        super().__init__()
        self._parts = parts  # not its own: a list is not registered
        self._estimate = ESTIMATES[coder]
        self.log_steps = nn.Parameter(torch.zeros(len(parts)))
        self.register_buffer("started", torch.zeros(len(parts), dtype=torch.bool))
        self._bits: list[Tensor] = []

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Within, every pass of the parts is counted and changed."""
        self._bits = []
        hooks = [part.register_forward_hook(self._hook(i)) for i, part in enumerate(self._parts)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def bits(self) -> Tensor:
        """Bits of each picture ``[b]`` in the last passes."""
        return torch.stack(self._bits).sum(0)

    def _hook(self, i: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        def hook(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if not self.started[i]:
                with torch.no_grad():
                    self.log_steps[i] = torch.log(output.float().std().clamp_min(1e-6) * FIRST_STEP)
                    self.started[i] = True
            step = self.log_steps[i].exp()
            self._bits.append(self._estimate(output.float() / step))
            return output + (torch.rand_like(output) - 0.5) * step

        return hook
