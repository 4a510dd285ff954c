"""Pictures that show nothing: one colour, noise, gradients, stripes. A head shall not be sure about them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: How many are made; each is one of four kinds.
COUNT = 256


def blank_picture(side: int, seed: int) -> NDArray[np.uint8]:
    """A picture without content, uint8 ``[side, side, 3]``.

    >>> float(blank_picture(64, 0).std((0, 1)).max())
    0.0
    """
    rng = np.random.default_rng(seed)
    colour, other = rng.uniform(0, 255, (2, 3))
    if rng.random() < 0.5:  # gray, often black or white
        level = rng.choice([0, 255, rng.uniform(0, 255)], 2)
        colour, other = np.full(3, level[0]), np.full(3, level[1])
    kind = seed % 4
    if kind == 0:
        pixels = np.broadcast_to(colour, (side, side, 3))
    elif kind == 1:
        channels = rng.choice([1, 3])
        pixels = colour + rng.uniform(5, 120) * rng.normal(size=(side, side, channels))
        if rng.random() < 0.5:
            pixels = np.broadcast_to(rng.uniform(0, 255, (side, side, channels)), (side, side, 3))
    else:
        angle, scale = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(np.log(0.2), np.log(16)))
        across = (np.mgrid[:side, :side] * np.array([np.sin(angle), np.cos(angle)])[:, None, None]).sum(
            0
        ) / side
        weight = (
            (across - across.min()) / np.ptp(across)
            if kind == 2
            else 0.5 + 0.5 * np.sin(2 * np.pi * scale * across)
        )
        pixels = colour + (other - colour) * weight[..., None]
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
