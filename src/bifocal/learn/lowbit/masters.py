"""Master weights in integers: what an optimiser adds is rounded stochastically onto a power-of-two grid.

The rounding is made at the start of every forward pass. It changes nothing that is on the grid already, so it
acts once for each step, whatever optimiser made it. The default of a converted model keeps master weights and
the optimiser's state in float. With :func:`integer_masters` the weights of converted layers are whole
multiples of ``2^-e``, as if they were stored with so many bits; the state of the optimiser stays float.
Whether the paper's "integer training" includes either is not clear to us.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bifocal.errors import OptionError, TrainingError
from bifocal.learn.lowbit.layers import LowBitConv2d, LowBitLinear, noise
from bifocal.learn.nets.quantiser import fraction_bits

#: Weights may grow so many times beyond their largest at the start before they saturate.
HEADROOM = 4.0


def integer_masters(model: nn.Module, *, bits: int = 16, seed: int = 0) -> torch.utils.hooks.RemovableHandle:
    """Keep the weights of converted layers on integer grids of ``bits`` bits, from now on.

    :returns: the hook of the forward pass; ``remove()`` ends it.
    :raises OptionError: if ``bits`` is not 8 to 24: float32 holds no more exactly.
    :raises TrainingError: if no layer of the model is converted.
    """
    if not 8 <= bits <= 24:
        raise OptionError(f"master weights of {bits} bits: give 8 to 24.")
    layers = [m for m in model.modules() if isinstance(m, LowBitLinear | LowBitConv2d)]
    if not layers:
        raise TrainingError("no layer of the model is converted. Call convert first.")
    most = 2 ** (bits - 1) - 1
    grids: list[tuple[Tensor, float]] = []
    for layer in layers:
        exponent = float(fraction_bits(layer.weight.detach().abs().max() * HEADROOM, most))
        grids.append((layer.weight, 2.0**exponent))
    steps = [0]

    def settle(*_: Any) -> None:
        for number, (weight, scale) in enumerate(grids):
            u = noise(weight, seed, number, steps[0], 3)
            with torch.no_grad():
                weight.copy_(on_grid(weight, scale, most, u))
        steps[0] += 1

    settle()
    return model.register_forward_pre_hook(settle)


def on_grid(x: Tensor, scale: float, most: int, u: Tensor) -> Tensor:
    """``x`` as a whole multiple of ``1/scale`` within ``±most``, rounded up with the fraction's probability.

    What is on the grid stays, whatever ``u`` in [0, 1) is.
    """
    return torch.floor(x.double() * scale + u.double()).clamp(-most, most).div(scale).to(x.dtype)
