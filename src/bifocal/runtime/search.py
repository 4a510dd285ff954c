"""Searching for better symbols: what an encoder does with more effort, and a decoder never notices.

Rounding the analysis is only a good guess at the symbols that give the best picture for the bits. Here the
guess is improved in rounds, each with the networks that the decoder will run and the bytes that the coder
will write:

1. decode the coded latents to pixels, and ask the adjoint of synthesis, or of its linear path, how their
   squared error changes with every latent;
2. move what is to be coded next from the decoded latents against that gradient, by a Newton step: a
   synthesis that nearly keeps energy has the same curvature for every latent, which is measured on the way;
3. code that, every symbol weighed against its bits (:class:`bifocal.stream.drivers.RateDistortion`).

The best round by bits + lambda·error counts. Refining latents by gradient descent on the encoder's side is
Campos et al. (CVPR workshops 2019) and Yang et al. (arXiv 2006.04240), who anneal a relaxation of rounding
with float rates over hundreds of steps. The proximal form, which keeps the integers in the loop and needs
neither relaxation nor torch, is ours.

Tiles are searched one by one. Along a border between tiles the neighbour is not known: errors within 32
pixels of it do not count, and latents within 64 pixels keep to the analysis.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bifocal.runtime.model import Model
from bifocal.runtime.windows import windows
from bifocal.stream.drivers import BITS_PER_SQUARE, RateDistortion
from bifocal.stream.latents import CodedTile, encode_tile

#: Side of the windows in which the adjoint runs: its memory is that of every layer at once.
CORE = 1024
#: Errors this near to another tile do not count; latents twice as near keep to the analysis.
BLIND = 32
#: How far a round moves its aim towards the new one: FIRST_STEP at first, half of it PATIENCE rounds later,
#: and so on, but never less than LEAST_STEP. An average over rounds does not swing about the best integers.
FIRST_STEP, LEAST_STEP, PATIENCE = 0.8, 0.1, 3
#: What an error is worth in the rounds, times what it is worth by itself.
WORTH = 1.2


@dataclass(frozen=True)
class Aim:
    """What a tile should look like: ``pixels`` uint8 ``[h, w, 3]`` and what each counts, ``weight``
    ``[h, w]``; for each position of y ``[h/16, w/16]`` its ``share`` of it. ``inside`` says at which of the
    left, top, right and bottom edges another tile follows."""

    pixels: NDArray[np.uint8]
    weight: NDArray[np.float32]
    share: NDArray[np.float32]
    inside: tuple[bool, bool, bool, bool]


def search(
    model: Model, first: CodedTile, y: NDArray[np.float32], aim: Aim, *, rounds: int, quality: int
) -> tuple[CodedTile, NDArray[np.float32]]:
    """The best coding of a tile that is found in a number of rounds, beginning with its ``first`` one.

    ``y`` float32 ``[c, h, w]`` is the analysis of the tile. Also returns the pixels of that coding, float32
    ``[3, 16h, 16w]``, clipped and not rounded. The same on every run of one machine.

    :raises ModelError: if the model has no graph of the adjoint.
    """
    entropy = model.entropy
    quantise = RateDistortion(entropy, aim.share * np.float32(WORTH * BITS_PER_SQUARE))
    weight, kept = _blinded(aim, entropy.plan.y_stride)
    # lambda is for the mean of three colours, the adjoint sums them
    price = model.price(quality)
    energy = np.float32(3 * BITS_PER_SQUARE / price)
    best = made = first
    least, aimed = np.inf, y
    for turn in range(rounds + 1):
        last = turn == rounds
        pixels, gradient = _decoded(model, made.y, aim.pixels, weight, quality, gradient=not last)
        cost = 8 * len(made.payload) + price * _squared_error(pixels, aim.pixels, weight)
        if cost < least:
            best, best_pixels, least = made, pixels, cost
        if not last:
            newton = made.y * np.float32(2.0**-entropy.plan.fraction) - gradient / (energy * aim.share)
            step = np.float32(max(LEAST_STEP, FIRST_STEP / (1 + turn / PATIENCE)))
            aimed = np.where(kept, y, aimed + step * (newton - aimed))
            made = encode_tile(
                aimed, first.z, quality=quality, model=entropy, engine=model.engine, quantise=quantise
            )
    return best, best_pixels


def adjoint(
    model: Model,
    y: NDArray[np.int32],
    target: NDArray[np.float32],
    weight: NDArray[np.float32],
    quality: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Decoded pixels, and how half their weighted squared error changes with the latents.

    ``y`` int32 ``[c, h, w]`` as decoded, ``target`` ``[3, 16h, 16w]`` in 0..255, ``weight`` ``[16h, 16w]``.
    Returns pixels ``[3, 16h, 16w]``, clipped and not rounded, and the gradient ``[c, h, w]`` for a change of
    one step, exact or by the linear path of synthesis alone, as the model was packed. In one piece: for
    windows of a picture, not for large ones.

    :raises ModelError: if the model was packed without this graph.
    """
    feeds = {"y": model.to_float(y, quality)[None], "target": target[None], "weight": weight[None, None]}
    pixels, gradient = model.run("adjoint", ["pixels", "gradient"], feeds)
    return pixels[0], gradient[0] * model.gain("inverse_gain", quality)


def _blinded(aim: Aim, stride: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The weights without what lies near another tile, and which positions of y keep to the analysis."""
    weight, kept, near = aim.weight.copy(), np.zeros(aim.share.shape, bool), 2 * BLIND // stride
    left, top, right, bottom = aim.inside
    if left:
        weight[:, :BLIND], kept[:, :near] = 0.0, True
    if top:
        weight[:BLIND], kept[:near] = 0.0, True
    if right:
        weight[:, -BLIND:], kept[:, -near:] = 0.0, True
    if bottom:
        weight[-BLIND:], kept[-near:] = 0.0, True
    return weight, kept


def _decoded(
    model: Model,
    y: NDArray[np.int32],
    pixels: NDArray[np.uint8],
    weight: NDArray[np.float32],
    quality: int,
    *,
    gradient: bool,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the tile ``y`` int32 ``[c, h, w]`` decodes to, float32 ``[3, 16h, 16w]``; and, if wanted, the
    gradient of half its weighted squared error, summed over colours, for steps; zero otherwise."""
    stride, (_, halo) = model.entropy.plan.y_stride, model.window("synthesis")
    whole = np.empty((3, *weight.shape), np.float32)
    change = np.zeros(y.shape if gradient else (0, 0, 0), np.float32)
    for rows, columns in windows(*weight.shape, core=CORE, halo=halo, multiple=stride):
        part = rows.outer(stride), columns.outer(stride)
        if gradient:
            outer, inner = (rows.outer(1), columns.outer(1)), (rows.inner(1), columns.inner(1))
            counts = np.zeros(weight[outer].shape, np.float32)
            counts[inner] = weight[rows.core(1), columns.core(1)]
            target = np.ascontiguousarray(pixels[outer].transpose(2, 0, 1), np.float32)
            decoded, changes = adjoint(model, y[:, *part], target, counts, quality)
            change[:, *part] += changes
        else:
            feeds = {"y": model.to_float(y[:, *part], quality)[None]}
            decoded = model.run("synthesis", ["pixels"], feeds)[0][0].clip(0, 255)
        whole[:, rows.core(1), columns.core(1)] = decoded[:, rows.inner(1), columns.inner(1)]
    return whole, change


def _squared_error(
    decoded: NDArray[np.float32], pixels: NDArray[np.uint8], weight: NDArray[np.float32]
) -> float:
    """Weighted squared error, the mean of the three colours at each pixel and the sum over pixels."""
    error = sum(np.square(decoded[k] - pixels[:, :, k]) for k in range(3))
    return float(np.vdot(error, weight)) / 3
