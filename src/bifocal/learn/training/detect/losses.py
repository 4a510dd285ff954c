"""What a detector is trained by: which cells answer for an object, and what their answers cost.

Complete IoU: Zheng et al., arXiv 1911.08287. An anchor is responsible for an object if no side of the
two differs by a factor of 4; then the cell of the object's centre is, and the two cells nearest to it (arXiv
2209.13351).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from bifocal.learn.nets.heads.detector import CELL, decode
from bifocal.learn.training.detect.recipe import DetectRecipe

#: Sides of an object and of its anchor differ by less than this factor.
MOST_RATIO = 4.0


class Assigned(NamedTuple):
    """Indices of responsible cells, each int64 ``[k]``, and the rows of the targets that they answer for."""

    view: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    target: Tensor


def assign(targets: Tensor, anchors: Tensor, h: int, w: int) -> Assigned:
    """Which anchors and cells are responsible for ``targets [m, 6]`` (view, class, centre, size in pixels of
    the network's input); ``anchors [a, 2]``.

    >>> found = assign(torch.tensor([[0, 0, 9.0, 7.0, 8, 8]]), torch.tensor([[8.0, 8.0]]), 4, 4)
    >>> sorted(zip(found.row.tolist(), found.column.tolist()))
    [(1, 1), (1, 2), (2, 2)]
    """
    ratio = targets[:, None, 4:6] / anchors
    near = torch.maximum(ratio, 1 / ratio).amax(2) < MOST_RATIO
    target, anchor = near.nonzero(as_tuple=True)
    place = targets[target, 2:4] / CELL
    cell = place.floor()
    side = torch.where(place - cell < 0.5, -1.0, 1.0)
    zero = torch.zeros_like(side[:, 0])
    steps = torch.stack(
        [torch.stack([zero, zero], 1), torch.stack([side[:, 0], zero], 1), torch.stack([zero, side[:, 1]], 1)]
    )
    cells = (cell + steps).long().flatten(0, 1)
    inside = (cells[:, 0] >= 0) & (cells[:, 0] < w) & (cells[:, 1] >= 0) & (cells[:, 1] < h)
    target, anchor, cells = target.repeat(3)[inside], anchor.repeat(3)[inside], cells[inside]
    return Assigned(targets[target, 0].long(), anchor, cells[:, 1], cells[:, 0], target)


def complete_iou(centre: Tensor, size: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and complete IoU of boxes ``[k, 2]``, ``[k, 2]`` and ``[k, 4]`` (centre and size)."""
    first, last = centre - size / 2, centre + size / 2
    their_first, their_last = other[:, :2] - other[:, 2:] / 2, other[:, :2] + other[:, 2:] / 2
    both = (torch.minimum(last, their_last) - torch.maximum(first, their_first)).clamp_min(0).prod(1)
    iou = both / (size.prod(1) + other[:, 2:].prod(1) - both + 1e-7)
    around = (torch.maximum(last, their_last) - torch.minimum(first, their_first)).square().sum(1) + 1e-7
    apart = (centre - other[:, :2]).square().sum(1)
    angle = torch.atan(other[:, 2] / other[:, 3]) - torch.atan(size[:, 0] / size[:, 1].clamp_min(1e-7))
    shape = (4 / math.pi**2) * angle.square()
    weight = (shape / (1 - iou + shape + 1e-7)).detach()
    return iou, iou - apart / around - weight * shape


def detection_loss(
    answers: Tensor, targets: Tensor, ignored: Tensor, anchors: Tensor, recipe: DetectRecipe
) -> Tensor:
    """The three parts ``[3]``: boxes, objectness, classes; each with what it counts.

    ``targets [m, 6]`` and ``ignored [k, 5]`` are in pixels of the network's input.
    """
    h, w = answers.shape[-2:]
    found = assign(targets, anchors, h, w)
    centre, size = decode(answers, anchors[None, :, :, None, None])
    at = (found.view, found.anchor, slice(None), found.row, found.column)
    wanted = torch.zeros_like(answers[:, :, 4], dtype=torch.float32)
    box = kind = answers.sum() * 0.0
    if len(found.target):
        own = targets[found.target]
        iou, complete = complete_iou(centre[at], size[at], own[:, 2:])
        box = (1 - complete).mean()
        # of several objects the one that fits best is what a cell says
        order = iou.argsort()
        cells = tuple(index[order] for index in (found.view, found.anchor, found.row, found.column))
        wanted[cells] = iou.detach().clamp(0, 1)[order]
        said = answers[at][:, 5:].float()
        truth = torch.nn.functional.one_hot(own[:, 1].long(), said.shape[1]).float()
        kind = binary_cross_entropy_with_logits(said, truth)
    each = binary_cross_entropy_with_logits(answers[:, :, 4].float(), wanted, reduction="none")
    objects = (each * _outside(ignored, wanted)).mean()
    return torch.stack([recipe.box * box, recipe.object * recipe.balance * objects, recipe.kind * kind])


def _outside(ignored: Tensor, wanted: Tensor) -> Tensor:
    """0 for cells in ignored regions that no object needs, 1 elsewhere, like ``wanted [n, a, h, w]``."""
    counted = torch.ones_like(wanted)
    for view, *corners in ignored.tolist():
        left, top, right, bottom = (side / CELL for side in corners)
        counted[int(view), :, int(top) : math.ceil(bottom), int(left) : math.ceil(right)] = 0
    return torch.where(wanted > 0, torch.ones_like(counted), counted)


def enlarging_loss(pixels: Tensor, made: Tensor) -> Tensor:
    """Mean absolute error of colour plus that of infrared, of pixels ``[n, c, h, w]`` in 0..1."""
    error = (pixels - made.float()).abs()
    parts = [error[:, :3].mean()] if error.shape[1] >= 3 else []
    if error.shape[1] != 3:
        parts.append(error[:, -1:].mean())
    return torch.stack(parts).sum()
