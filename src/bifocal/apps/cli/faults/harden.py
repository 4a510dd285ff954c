"""``bifocal faults harden``: triplicate the worst cells of a design and measure what that gains."""

from __future__ import annotations

from pathlib import Path

from bifocal.apps.cli.faults import options as cli
from bifocal.apps.cli.faults.progress import progress_bar
from bifocal.apps.cli.options import Force
from bifocal.hardware.faults.options import HardeningOptions


@cli.with_options(HardeningOptions)
def harden(
    design: cli.Design,
    options: HardeningOptions,
    force: Force = False,
    out: cli.Out = Path("hardened"),
) -> None:
    """Triplicate the worst LUTs and flip-flops, and simulate all faults of the result, voters included."""
    from bifocal.hardware import harden

    report = harden(design, options, out=out, overwrite=force, log=print, progress=progress_bar())
    print(report.summary())
    print(f"\nwritten   {out}: hardened.v, hardened.json, before.json, after.json, report.html")
