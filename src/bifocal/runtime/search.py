"""Searching for better symbols: what an encoder does with more effort, and a decoder never notices.

Rounding the analysis is only a good guess at the symbols that give the best picture for the bits. Here the
guess is improved in rounds, each with the networks that the decoder will run and the bytes that the coder
will write:

1. code the latents, every symbol weighed against its bits (:class:`bifocal.stream.rdo.Thrifty`);
2. decode to pixels, and ask the adjoint of synthesis how their squared error changes with every latent;
3. move what is to be coded next from the decoded latents against that gradient, by a Newton step: a
   synthesis that nearly keeps energy has the same curvature for every latent, which is measured on the way.

The best round by bits + lambda·error counts. Refining latents by gradient descent on the encoder's side is
Campos et al. (CVPR workshops 2019) and Yang et al. (arXiv 2006.04240), who anneal a relaxation of rounding
with float rates over hundreds of steps. The proximal form, which keeps the integers in the loop and needs
neither relaxation nor torch, is ours.

Tiles are searched one by one. Along a border between tiles the neighbour is not known: errors within 32
pixels of it do not count, and latents within 64 pixels keep to the analysis.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import index
from typing import NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import OptionError
from bifocal.runtime.model import HALO, FloatLatents, Model
from bifocal.runtime.windows import Box, cut_padded, windows
from bifocal.stream.drivers import Quantise, nearest
from bifocal.stream.latents import CodedTile, encode_tile
from bifocal.stream.rdo import BITS_PER_SQUARE, Thrifty

#: Side of the windows in which the adjoint runs: its memory is that of every layer at once.
CORE = 1024
#: Errors this near to another tile do not count; latents twice as near keep to the analysis.
BLIND = 32
#: How far a round moves its aim towards the new one: FIRST_STEP at first, half of it PATIENCE rounds later,
#: and so on, but never less than LEAST_STEP. An average over rounds does not swing about the best integers.
FIRST_STEP, LEAST_STEP, PATIENCE = 0.8, 0.1, 3
#: No place counts less than this beside one of full weight, so that nothing is divided by zero.
LEAST_SHARE = 0.05


@dataclass(frozen=True)
class Level:
    """What an effort does: whether it ``weighs`` symbols or rounds, and how many ``rounds`` of the adjoint
    follow. A level with more rounds begins with those of the one below: it never finds anything worse."""

    weighs: bool
    rounds: int = 0


#: By effort 0 to 9.
LEVELS = (Level(False), *(Level(True, rounds) for rounds in (0, 1, 2, 3, 5, 8, 12, 18, 30)))

#: What an error is worth in the first coding and in the rounds, times what it is worth by itself: choosing
#: one symbol after the other overlooks that a cheap symbol misleads the prediction of later ones.
FIRST_WORTH, WORTH = 4.0, 1.2

#: The effort that an encoder makes unless told otherwise.
EFFORT = 1


def check_effort(effort: SupportsIndex) -> int:
    """``effort`` as a whole number.

    :raises OptionError: if there is no such effort.
    """
    try:
        known = index(effort)
    except TypeError:
        known = -1
    if not 0 <= known < len(LEVELS):
        raise OptionError(
            f"effort is {effort!r}; choose a whole number from 0 (fastest) to {len(LEVELS) - 1} (smallest)."
        )
    return known


class Aim(NamedTuple):
    """What a tile should look like: ``pixels`` uint8 ``[h, w, 3]`` and what each counts, ``weight``
    ``[h, w]``; for places of y ``[h/16, w/16]`` their ``share`` of it, and which are ``kept`` as analysed."""

    pixels: NDArray[np.uint8]
    weight: NDArray[np.float32]
    share: NDArray[np.float32]
    kept: NDArray[np.bool_]


def search_tile(
    latents: FloatLatents,
    pixels: NDArray[np.uint8],
    box: Box,
    level: Level,
    weights: NDArray[np.float32] | None = None,
    *,
    quality: int,
    model: Model,
) -> CodedTile:
    """The best coding that ``level`` finds of the tile at ``box`` of a padded picture.

    ``latents`` are the tile's; ``pixels`` uint8 ``[h, w, 3]`` or ``[h, w]`` and ``weights`` float32
    ``[h, w]`` in 0..1, what an error counts there, are the whole picture's. The same on every run of one
    machine.

    :raises ModelError: if the level has rounds and the model no graph of the adjoint.
    """
    plan = model.entropy.plan
    if not level.weighs:
        return _code(latents.y, latents.z, nearest, quality, model)
    aim = _aim_at(pixels, box, plan.y_stride, weights)
    first, quantise = (
        Thrifty(model.entropy.tables, aim.share * np.float32(worth * BITS_PER_SQUARE))
        for worth in (FIRST_WORTH, WORTH)
    )
    aimed = latents.y
    best = made = _code(aimed, latents.z, first, quality, model)
    if not level.rounds:
        return best
    # lambda is for the mean of three colours, the adjoint sums them
    price = model.price(quality)
    least, energy = np.inf, np.float32(3 * BITS_PER_SQUARE / price)
    for turn in range(level.rounds + 1):
        error, gradient = _squared_error(made.y, aim, quality, model)
        cost = 8 * len(made.payload) + price * error
        if cost < least:
            best, least = made, cost
        if turn < level.rounds:
            newton = made.y * np.float32(2.0**-plan.fraction) - gradient / (energy * aim.share)
            step = np.float32(max(LEAST_STEP, FIRST_STEP / (1 + turn / PATIENCE)))
            aimed = np.where(aim.kept, latents.y, aimed + step * (newton - aimed))
            made = _code(aimed, latents.z, quantise, quality, model)
    return best


def _code(
    y: NDArray[np.float32], z: NDArray[np.float32], quantise: Quantise, quality: int, model: Model
) -> CodedTile:
    return encode_tile(y, z, quality=quality, model=model.entropy, backend=model.backend, quantise=quantise)


def _aim_at(pixels: NDArray[np.uint8], box: Box, stride: int, weights: NDArray[np.float32] | None) -> Aim:
    """The aim of the tile at ``box`` of a padded picture; padding weighs nothing."""
    left, top, right, bottom = box
    height, width = pixels.shape[:2]
    rows, columns = slice(top, bottom), slice(left, right)
    part = cut_padded(pixels, rows, columns)
    if part.ndim == 2:
        part = np.broadcast_to(part[:, :, None], (*part.shape, 3))
    weight = np.zeros((bottom - top, right - left), np.float32)
    weight[: height - top, : width - left] = 1.0 if weights is None else weights[rows, columns]
    h, w = len(weight) // stride, weight.shape[1] // stride
    share = np.maximum(weight.reshape(h, stride, w, stride).mean(axis=(1, 3)), LEAST_SHARE)
    kept, places = np.zeros((h, w), bool), 2 * BLIND // stride
    borders = (
        (top > 0, np.s_[:BLIND], np.s_[:places]),
        (bottom < height, np.s_[-BLIND:], np.s_[-places:]),
        (left > 0, np.s_[:, :BLIND], np.s_[:, :places]),
        (right < width, np.s_[:, -BLIND:], np.s_[:, -places:]),
    )
    for met, blind, near in borders:
        if met:
            weight[blind], kept[near] = 0.0, True
    return Aim(part, weight, share, kept)


def _squared_error(
    y: NDArray[np.int32], aim: Aim, quality: int, model: Model
) -> tuple[float, NDArray[np.float32]]:
    """Weighted squared error of the tile that ``y`` int32 ``[c, h, w]`` decodes to, the mean of the three
    colours at each pixel and the sum over pixels; and the gradient of half the sum over all, for steps."""
    stride, halo = model.entropy.plan.y_stride, HALO["synthesis"]
    gradient = np.zeros(y.shape, np.float32)
    total = 0.0
    h, w = aim.weight.shape
    for rows, columns in windows(h, w, core=CORE, halo=halo, multiple=stride):
        outer, inner = (rows.outer(1), columns.outer(1)), (rows.inner(1), columns.inner(1))
        weight = np.zeros(aim.weight[outer].shape, np.float32)
        weight[inner] = aim.weight[rows.core(1), columns.core(1)]
        target = np.ascontiguousarray(aim.pixels[outer].transpose(2, 0, 1), np.float32)
        places = rows.outer(stride), columns.outer(stride)
        pixels, change = model.adjoint(y[:, *places], target, weight, quality)
        gradient[:, *places] += change
        error = np.square(pixels - target).sum(axis=0)
        total += float(np.vdot(error, weight)) / 3
    return total, gradient
