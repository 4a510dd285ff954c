"""The float L1 norm as compiled loops: statistics, result and gradients while a channel is in the cache.

Needs Numba (extra ``hardware``). Sums are float32 along a plane and float64 over planes, in any order, so
results differ in the last bits from those of `norms.py`, of which this is the faster version on a CPU.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from bifocal.hardware.jit import compiled

Array = NDArray[np.float32]
_compiled = partial(compiled, reorder=True)


@_compiled
def _forward(x: Array, affine: Array, eps: float, y: Array, seen: Array) -> None:
    """``affine`` and ``seen`` are ``[2, c]``: γ and β, and mean and σ + ε, which are written."""
    n, channels, size = x.shape
    count = n * size
    for c in range(channels):
        total = 0.0
        for i in range(n):
            part: Any = np.float32(0)
            for j in range(size):
                part += x[i, c, j]
            total += part
        mean = np.float32(total / count)
        total = 0.0
        for i in range(n):
            spread: Any = np.float32(0)
            for j in range(size):
                spread += abs(x[i, c, j] - mean)
            total += spread
        scale = np.float32(total / count + eps)
        seen[0, c], seen[1, c] = mean, scale
        gain = affine[0, c] / scale
        for i in range(n):
            for j in range(size):
                y[i, c, j] = (x[i, c, j] - mean) * gain + affine[1, c]


@_compiled
def _backward(g: Array, x: Array, affine: Array, seen: Array, dx: Array, dp: Array) -> None:
    """``dp [2, c]`` are the gradients of γ and β: the two sums that the gradient of x needs, too."""
    n, channels, size = g.shape
    count = n * size
    for c in range(channels):
        mean, factor = seen[0, c], np.float32(1) / seen[1, c]
        total, product, signs = 0.0, 0.0, 0.0
        for i in range(n):
            part: Any = np.float32(0)
            both: Any = np.float32(0)
            side: Any = np.float32(0)
            for j in range(size):
                d = x[i, c, j] - mean
                part += g[i, c, j]
                both += g[i, c, j] * d
                side += np.float32(d > 0) - np.float32(d < 0)
            total += part
            product += both
            signs += side
        product *= factor
        dp[0, c], dp[1, c] = product, total
        gain = affine[0, c] * factor
        common = gain * np.float32(product / count)
        offset = gain * np.float32(total / count) - np.float32(signs / count) * common
        for i in range(n):
            for j in range(size):
                d = x[i, c, j] - mean
                sign = np.float32(d > 0) - np.float32(d < 0)
                dx[i, c, j] = g[i, c, j] * gain - offset - sign * common


class FusedNorm(torch.autograd.Function):
    """L1 norm of float32 ``x [n, c, ..]`` on the CPU, each channel over all else, with γ and β ``[c]``.

    Also gives mean and ``σ + ε``, ``[c]``.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        planes = x.detach().contiguous().reshape(x.shape[0], x.shape[1], -1)
        affine = torch.stack([weight.detach(), bias.detach()])
        y, seen = torch.empty_like(planes), torch.empty_like(affine)
        _forward(planes.numpy(), affine.numpy(), eps, y.numpy(), seen.numpy())
        ctx.save_for_backward(planes, affine, seen)
        mean, scale = seen.unbind()
        ctx.mark_non_differentiable(mean, scale)
        return y.reshape(x.shape), mean, scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, affine, seen = ctx.saved_tensors
        dx, dp = torch.empty_like(x), torch.empty_like(affine)
        given = g.contiguous().reshape(x.shape)
        _backward(*(t.numpy() for t in (given, x, affine, seen, dx, dp)))
        return dx.reshape(g.shape), dp[0], dp[1], None
