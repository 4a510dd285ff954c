"""What ``encode``, ``decode`` and ``classify`` share: a progress bar, a line for a result, and an exit status
that tells.

0: all is well. 1: files failed. 2: nothing was tried, since the command line or its files contradict each
other. 130: stopped by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bifocal.apps.cli.launch import complain
from bifocal.errors import BifocalError, OptionError

if TYPE_CHECKING:
    from rich.progress import Progress

    from bifocal.apps.batch import Outcome, Worker

#: Rows of the table of errors; ``--errors`` writes all.
ROWS = 50

Jobs = Annotated[
    int, typer.Option("--jobs", "-j", min=1, help="Processes to work with; they share the processors.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with a run that was stopped: finished files are kept.")
]
Shard = Annotated[str, typer.Option(help="Work on the i-th of n parts, such as 2/8.", metavar="I/N")]
Errors = Annotated[
    Path | None, typer.Option("--errors", help="Write the files that failed, and why, to this JSON file.")
]


@dataclass
class Display:
    """What the user sees of a run while it goes. ``doing`` and ``past`` are forms of its verb; ``line`` tells
    what became of a file."""

    doing: str
    past: str
    line: Callable[[Outcome], str]
    total: int = 0
    begun: float = 0.0
    counts: dict[str, int] = field(default_factory=lambda: {"done": 0, "kept": 0, "failed": 0})
    failed: list[Outcome] = field(default_factory=list)
    bar: Progress | None = None

    def start(self, total: int) -> None:
        self.total, self.begun = total, time.monotonic()
        if total > 1 and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                redirect_stdout=sys.stdout.isatty(),  # piped lines stay in the pipe
            )
            self.bar.add_task(self.doing, total=total, rate="")
            self.bar.start()

    def show(self, outcome: Outcome) -> None:
        self.counts[outcome.state] += 1
        for note in outcome.notes:
            print(f"bifocal: {note}", file=sys.stderr)
        if outcome.state == "failed":
            self.failed.append(outcome)
        elif outcome.state == "done":
            print(self.line(outcome), flush=True)
        if self.bar:
            rate = sum(self.counts.values()) / max(time.monotonic() - self.begun, 1e-9)
            self.bar.update(self.bar.task_ids[0], advance=1, rate=f"{rate:.1f} files/s")

    def stop(self) -> None:
        if self.bar:
            self.bar.stop()
        if self.total == 1:
            for outcome in self.failed:
                print(f"bifocal: {outcome.error}", file=sys.stderr)
        elif self.total > 1:
            self._table()
            print(f"bifocal: {self._summary()}", file=sys.stderr)

    def _table(self) -> None:
        rows = self.failed[:ROWS]
        width = min(60, max((len(outcome.pair.source) for outcome in rows), default=0))
        for outcome in rows:
            why = outcome.error.removeprefix(outcome.pair.source).lstrip(": ")
            print(f"  {outcome.pair.source:<{width}}  {why}", file=sys.stderr)
        if len(self.failed) > ROWS:
            print(f"  … and {len(self.failed) - ROWS} more; --errors FILE writes all.", file=sys.stderr)

    def _summary(self) -> str:
        seconds = time.monotonic() - self.begun
        told = [f"{self.counts['done']} of {self.total} files {self.past} in {seconds:.1f} s"]
        if self.counts["done"]:
            told[0] += f" ({self.counts['done'] / max(seconds, 1e-9):.1f} a second)"
        if self.counts["kept"]:
            told.append(f"{self.counts['kept']} finished before")
        if self.failed:
            told.append(f"{len(self.failed)} of {self.total} files failed")
        return ", ".join(told) + "."


def run_many(
    worker: Worker,
    inputs: Sequence[str],
    output: str | None,
    *,
    suffix: str = "",
    keep_suffix: bool = False,
    jobs: int,
    resume: bool,
    shard: str,
    replace: bool,
    errors: Path | None,
) -> None:
    """Run a worker over files, print what became of them, and leave with a status that tells."""
    from bifocal.apps import batch

    verb = worker.verb
    display = Display(f"{verb.removesuffix('e')}ing", f"{verb}d", lambda outcome: _line(outcome, verb))

    def work() -> None:
        batch.run(
            worker,
            inputs,
            output,
            jobs=jobs,
            shard=_shard(shard),
            resume=resume,
            suffix=suffix,
            keep_suffix=keep_suffix,
            replace=replace,
            on_start=display.start,
            on_outcome=display.show,
        )

    status = watch(display, work, resumable=output is not None)
    if errors is not None and status != 2:
        _write_errors(errors, display.failed)
    if status:
        raise typer.Exit(status)


def watch(display: Display, work: Callable[[], None], *, resumable: bool = False) -> int:
    """Do ``work`` while the user looks on; returns the exit status. It may be stopped, cleanly."""
    # SIGTERM is what stops jobs on clusters: as clean as Ctrl-C
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    status = 0
    try:
        work()
        status = 1 if display.failed else 0
    except (BifocalError, OSError) as error:
        status = 1 if display.total else 2
        complain(error)
    except KeyboardInterrupt:
        status = 130
    finally:
        signal.signal(signal.SIGTERM, before)
        display.stop()
    if status == 130:
        more = " The same command with --resume goes on." if display.total > 1 and resumable else ""
        print(f"bifocal: stopped.{more}", file=sys.stderr)
    return status


def _shard(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal()):
        raise OptionError(f"--shard is '{text}'; say 1/4 for the first of four parts.")
    return int(part), int(parts)


def _line(outcome: Outcome, verb: str) -> str:
    told = f"{outcome.pair.source} → {outcome.pair.target}  "
    if verb == "encode":
        bpp = 8 * outcome.bytes_out / (outcome.width * outcome.height)
        return f"{told}{outcome.bytes_out:,} bytes  {bpp:.3f} bpp"
    return f"{told}{outcome.width}×{outcome.height}{' gray' if outcome.gray else ''}"


def _write_errors(path: Path, failed: Sequence[Outcome]) -> None:
    rows = [
        {"file": outcome.pair.source, "target": outcome.pair.target, "error": outcome.error}
        for outcome in failed
    ]
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
