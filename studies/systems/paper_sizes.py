"""Parameters and multiply-adds of the systems at a paper's size, part by part: run once on 256×256 pixels.

    python -m studies.systems.paper_sizes [SYSTEM …] > studies/systems/paper_sizes.md

WeConvene's numbers are those of its released model; the others are reconstructions from abstracts. They are
counted and run in float, never packed. Weights are random: nothing here was trained. A minute, 2 GB.
"""

from __future__ import annotations

import argparse

import torch

from bifocal.learn.nets.codec import CodecConfig
from bifocal.learn.nets.cost import count
from bifocal.learn.systems import dual, feds, selic, weconvene, weconvene3d
from bifocal.learn.systems.registry import system_of

SIDE = 256
SIZES: dict[str, CodecConfig] = {
    "weconvene": weconvene.PAPER,
    "weconvene3d": weconvene3d.PAPER,
    "dual": dual.PAPER,
    "feds-teacher": feds.PAPER_TEACHER,
    "feds-student": feds.PAPER_STUDENT,
    "selic": selic.PAPER,
}


def rows_of(name: str) -> list[str]:
    """Markdown rows of one system: its parts, then the whole."""
    config = SIZES[name]
    model = system_of(config).codec(config).eval()
    pixels, quality = torch.rand(1, 3, SIDE, SIDE) * 255, torch.tensor([50])
    costs = count(model, lambda: model(pixels, quality, exact=False, noise=False), SIDE * SIDE)
    lines = [
        f"| {name} | {c.part} | {c.parameters:,} | {c.kmac:,.1f} |"
        for c in costs
        if c.parameters or c.kmac > 0.05
    ]
    total = sum(c.parameters for c in costs), sum(c.kmac for c in costs)
    return [*lines, f"| **{name}** | all | **{total[0]:,}** | **{total[1]:,.1f}** |"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("systems", nargs="*", choices=[[], *SIZES], default=[])
    print("| system | part | parameters | kMAC a pixel |\n| --- | --- | ---: | ---: |")
    for name in parser.parse_args().systems or SIZES:
        print("\n".join(rows_of(name)), flush=True)


if __name__ == "__main__":
    main()
