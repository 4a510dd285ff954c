"""A tiny configuration of every registered system, for the contract tests: add yours here, one entry.

As few channels as show every part once. The weights are random, so the smaller the better; only the strides
and the order of the groups should be those of the real thing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bifocal.learn.nets.codec import Codec
from bifocal.runtime.model import Model

#: System: the numbers of its tiny configuration.
TINY: dict[str, dict[str, Any]] = {
    "lowfirst": {
        "analysis_width": 8,
        "analysis_blocks": 1,
        "synthesis_width": 8,
        "synthesis_blocks": 1,
        "half_width": 8,
        "half_blocks": 1,
        "thumb_width": 8,
        "latent": 8,
        "hyper": 4,
        "features": 8,
        "context": 8,
        "anchors": 4,
    },
    "lapped": {
        "latent": 8,
        "synthesis_width": 8,
        "synthesis_blocks": 1,
        "half_width": 8,
        "half_blocks": 1,
        "thumb_width": 8,
        "hyper": 4,
        "features": 8,
        "context": 8,
        "anchors": 4,
    },
    "dual": {
        "stem": 8,
        "trunk": 8,
        "low_width": 8,
        "low_up": 4,
        "fused": 10,
        "blocks": 1,
        "high": 8,
        "low": 8,
        "high_slices": 2,
        "hyper": 4,
        "features": 8,
        "context": 8,
    },
    "selic": {
        "text": 12,
        "condition": 4,
        "fusion": 8,
        "stem": 8,
        "trunk": 8,
        "fused": 10,
        "blocks": 1,
        "high": 8,
        "high_slices": 2,
        "hyper": 4,
        "features": 8,
        "context": 8,
    },
    "feds": {
        "width_2": 8,
        "width_4": 8,
        "width_8": 12,
        "blocks_4": 1,
        "latent": 12,
        "slices": 3,
        "hyper": 4,
        "features": 8,
        "context": 8,
    },
    "joint": {
        "stages": 4,
        "width": 8,
        "latent": 8,
        "dim": 12,
        "depth": 1,
        "heads": 2,
        "grid": 4,
        "aggregated": 2,
        "hyper": 4,
        "features": 8,
        "context": 8,
    },
    "weconvene": {
        "width": 8,
        "fine_width": 6,
        "latent": 8,
        "slices": 2,
        "prior_width": 4,
        "prior_hidden_1": 8,
        "prior_hidden_2": 8,
        "hyper": 4,
        "features": 8,
        "context": 8,
        "anchors": 4,
    },
    "weconvene3d": {
        "wavelet": "5/3",  # half the steps of 9/7, and exporting takes half as long
        "width": 8,
        "fine_width": 6,
        "latent": 8,
        "slices": 2,
        "prior_width": 4,
        "prior_hidden_1": 8,
        "prior_hidden_2": 8,
        "hyper": 4,
        "features": 8,
        "context": 8,
        "anchors": 4,
    },
}

#: System: what the plain objective does not train, by the beginning of its name.
ELSEWHERE: dict[str, tuple[str, ...]] = {
    "joint": ("trunk.norm.", "trunk.head."),  # they make labels
    "selic": ("condition.project.",),  # it reads captions, which no picture here has
}


@dataclass(frozen=True)
class Packed:
    """A tiny codec with random weights in torch, and the same packed and opened."""

    codec: Codec
    model: Model
