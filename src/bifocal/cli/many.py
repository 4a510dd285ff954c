"""One action on many files: a progress bar, a line for each result, and no file stops the others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import typer

from bifocal.cli.launch import complain
from bifocal.errors import BifocalError
from bifocal.pictures.paths import Pair


def run_all(pairs: Sequence[Pair], action: Callable[[Pair], str], *, verb: str) -> None:
    """Do ``action`` for every pair and print the line it returns; exit with status 1 if any failed."""
    if len(pairs) > 1 and sys.stderr.isatty():
        failed = _with_progress(pairs, action, verb)
    else:
        failed = sum(not _one(pair, action) for pair in pairs)
    if failed:
        if len(pairs) > 1:
            print(f"bifocal: {failed} of {len(pairs)} files failed.", file=sys.stderr)
        raise typer.Exit(1)


def _one(pair: Pair, action: Callable[[Pair], str]) -> bool:
    try:
        pair.target.parent.mkdir(parents=True, exist_ok=True)
        print(action(pair), flush=True)
    except (BifocalError, OSError) as error:
        complain(error)
        return False
    return True


def _with_progress(pairs: Sequence[Pair], action: Callable[[Pair], str], verb: str) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    failed = 0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(verb, total=len(pairs))
        for pair in pairs:
            failed += not _one(pair, action)
            progress.advance(task)
    return failed
