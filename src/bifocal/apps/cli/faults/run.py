"""``bifocal faults run``: simulate every fault of a design and write a report."""

from __future__ import annotations

from pathlib import Path

import typer

from bifocal.apps.cli.faults import options as cli
from bifocal.apps.cli.faults.progress import progress_bar
from bifocal.apps.cli.options import Force
from bifocal.hardware.faults.options import AnalysisOptions


@cli.with_options(AnalysisOptions)
def run(
    design: cli.Design,
    options: AnalysisOptions,
    resume: cli.Resume = False,
    force: Force = False,
    out: cli.Out = Path("fault-report"),
) -> None:
    """Simulate every fault of a design and write a report."""
    from bifocal.hardware import analyse

    report = analyse(
        design, options, out=out, resume=resume, overwrite=force, log=print, progress=progress_bar()
    )
    print(report.summary())
    print(f"report    {out / 'report.html'}")
    if report.is_contradicted:
        raise typer.Exit(1)
