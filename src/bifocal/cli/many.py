"""What ``encode`` and ``decode`` share: a progress bar, a line for a result, and an exit status that tells.

0: all done. 1: files failed. 2: nothing was tried, since the command line or its files contradict each other.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import typer

from bifocal.cli.launch import complain
from bifocal.errors import BifocalError

if TYPE_CHECKING:
    from bifocal.batch import Outcome, Worker


def run_many(
    worker: Worker, inputs: Sequence[str], output: str | None, *, replace: bool, suffix: str = ""
) -> None:
    """Run a worker over files and print what became of them; leave with status 1 or 2 if not all is well."""
    from bifocal import batch

    started = False

    def start(total: int) -> None:
        nonlocal started
        started = True
        bar.__enter__()

    bar: AbstractContextManager[Any] = nullcontext()
    try:
        report = batch.run(
            worker, inputs, output, suffix=suffix, replace=replace, on_start=start, on_outcome=_show
        )
    except BifocalError as error:
        complain(error)
        raise typer.Exit(1 if started else 2) from error
    if report.failed:
        total = report.done + report.kept + len(report.failed)
        if total > 1:
            print(f"bifocal: {len(report.failed)} of {total} files failed.", file=sys.stderr)
        raise typer.Exit(1)


def _show(outcome: Outcome) -> None:
    pair = outcome.pair
    for note in outcome.notes:
        print(f"bifocal: {note}", file=sys.stderr)
    if outcome.state == "failed":
        print(f"bifocal: {outcome.error}", file=sys.stderr)
    elif pair.target.endswith(".bfc"):
        bpp = 8 * outcome.bytes_out / (outcome.width * outcome.height)
        print(f"{pair.source} → {pair.target}  {outcome.bytes_out:,} bytes  {bpp:.3f} bpp", flush=True)
    else:
        kind = " gray" if outcome.gray else ""
        print(f"{pair.source} → {pair.target}  {outcome.width}×{outcome.height}{kind}", flush=True)
