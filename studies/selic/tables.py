"""The table of the study: every arm against the one without captions, from the same seed."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

import torch

from bifocal.learn.nets.cost import count
from bifocal.learn.systems.selic import Selic, SelicConfig
from bifocal.measure.bdrate import bd_psnr, bd_rate, curve_of
from bifocal.measure.tables import markdown

#: Arms by name, and what they are called.
ARMS = {
    "none": "no text",
    "constant": "a learned constant",
    "shuffled": "captions of other pictures",
    "text": "true captions (SELIC)",
    "pooled": "a learned branch that pools, as large",
    "transmitted": "caption in the file, used by the decoder",
}
_SIDE = 256


def seeds_of(points: dict[str, Any], arm: str) -> list[str]:
    """The seeds from which both the arm and the one without text were measured."""
    return sorted(
        seed
        for key in points
        for name, _, seed in [key.rpartition("-")]
        if name == arm and f"none-{seed}" in points
    )


def spread(values: list[float], form: str) -> str:
    """The mean, and in brackets the smallest and the largest of several."""
    mean = format(statistics.mean(values), form)
    return mean if len(values) == 1 else f"{mean} ({min(values):{form}} to {max(values):{form}})"


def added_cost(arm: str) -> tuple[int, float]:
    """Parameters, and thousands of multiply–adds a pixel, that an arm has beyond the codec without text."""
    source = "text" if arm == "shuffled" else arm
    found = []
    for name in ("none", source):
        config = SelicConfig(source=name, text=1024 if name == "transmitted" else 384)
        model = Selic(config).eval()
        model.describe(torch.zeros(1, config.text))
        pixels, quality = torch.zeros(1, 3, _SIDE, _SIDE), torch.tensor([50])
        run = partial(model, pixels, quality, exact=False, noise=False)
        rows = count(model, run, _SIDE**2)
        found.append((sum(row.parameters for row in rows), sum(row.kmac for row in rows)))
    return found[1][0] - found[0][0], found[1][1] - found[0][1]


def table(result: dict[str, Any]) -> str:
    """Markdown; arms that are not measured yet are not in it."""
    points, rows = result["points"], []
    for arm, label in ARMS.items():
        seeds = seeds_of(points, arm)
        if not seeds:
            continue
        pairs = [(curve_of("none", points[f"none-{s}"]), curve_of(arm, points[f"{arm}-{s}"])) for s in seeds]
        rate = spread([bd_rate(*pair) for pair in pairs], "+.2f") if arm != "none" else "–"
        gain = spread([bd_psnr(*pair) for pair in pairs], "+.3f") if arm != "none" else "–"
        parameters, kmac = added_cost(arm)
        steps = result["steps"][f"{arm}-{seeds[0]}"]
        rows.append([label, f"{parameters:,}", f"{kmac:.2f}", f"{steps:,}", str(len(seeds)), rate, gain])
    head = ["arm", "parameters added", "kMAC/pixel added", "steps", "seeds", "BD-rate, %", "BD-PSNR, dB"]
    return markdown(head, rows)
