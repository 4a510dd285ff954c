"""Selectors put in one by one, from the last block towards the first, as in HeatViT (arXiv 2211.08110).

The rules for inserting and dropping stages are our reconstruction.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from bifocal.learn.nets.heads.heatvit import HeatViT


@dataclass(frozen=True)
class Stage:
    """A selector before ``block`` that keeps about ``rate`` of all positions."""

    block: int
    rate: float


def search_stages(
    model: HeatViT,
    blocks: Sequence[int],
    rates: Sequence[float],
    *,
    train: Callable[[HeatViT, list[Stage]], None],
    accuracy: Callable[[HeatViT], float],
    limit: float = 0.005,
    useless: float = 0.85,
    alike: float = 0.05,
) -> list[Stage]:
    """Insert selectors from the last of ``blocks`` to the first, each as hard as accuracy allows.

    For every block, ``train`` is called with the stages so far and ever lower ``rates`` until ``accuracy``
    falls more than ``limit`` below what it was at the start; the model then goes back to the last rate that
    held. A stage that keeps ``useless`` or more is dropped; of neighbours within ``alike`` only the first
    stays.
    """
    least, found = accuracy(model) - limit, list[Stage]()
    for block in sorted(blocks, reverse=True):
        before = copy.deepcopy(model.state_dict()), model.config
        held: tuple[dict[str, Tensor], float] | None = None
        model.insert(block)
        # an earlier stage never keeps less than a later one: it would prune for it
        for rate in sorted((r for r in rates if not found or r >= found[0].rate), reverse=True):
            train(model, [Stage(block, rate), *found])
            if accuracy(model) < least:
                break
            held = copy.deepcopy(model.state_dict()), rate
        if held is None or held[1] >= useless:
            model.remove(block)
            model.load_state_dict(before[0])
            continue
        model.load_state_dict(held[0])
        if found and abs(found[0].rate - held[1]) < alike:
            model.remove(found.pop(0).block)
        found.insert(0, Stage(block, held[1]))
    return found
