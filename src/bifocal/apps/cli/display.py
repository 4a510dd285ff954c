"""What the user sees of a run over files: a progress bar, a line for each result, a summary, an exit status.

Result lines go to standard output, everything else to standard error.
"""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

import typer

from bifocal.apps.cli.launch import complain, printable
from bifocal.errors import BifocalError

if TYPE_CHECKING:
    from rich.progress import Progress

    from bifocal.apps.batch import FileResult
    from bifocal.storage.folders import LeftOut

#: Rows of the table of errors; ``--errors`` writes all.
ROWS = 50


@dataclass(frozen=True)
class Files:
    """Inputs and output of a run: files, also where the user named standard input or output.

    ``rename`` changes the paths in a result to what the user called them.
    """

    inputs: list[str]
    output: str | None = None
    rename: Callable[[FileResult], FileResult] = lambda result: result


@dataclass
class Display:
    """Shows a run; use it as a context around the run, which it ends with the run's exit status.

    ``doing`` and ``past`` are forms of its verb; ``line`` is what to print of a result, to ``out``. Without
    ``summary`` errors are printed as they come. ``resumable``: a stopped run can go on. Without
    ``lines`` results are not printed.
    """

    doing: str
    past: str
    kind: str
    line: Callable[[FileResult], str]
    summary: bool = True
    resumable: bool = False
    lines: bool = True
    out: TextIO = field(default_factory=lambda: sys.stdout)
    total: int = 0
    begun: float = 0.0
    counts: dict[str, int] = field(default_factory=lambda: {"done": 0, "kept": 0, "failed": 0})
    failed: list[FileResult] = field(default_factory=list)
    left_out: LeftOut | None = None
    bar: Progress | None = None

    def start(self, total: int, left_out: LeftOut) -> None:
        self.total, self.left_out, self.begun = total, left_out, time.monotonic()
        if total > 1 and self.summary and sys.stderr.isatty():
            self._start_bar()

    def show(self, result: FileResult) -> None:
        self.counts[result.state] += 1
        for note in result.notes:
            print(f"bifocal: {printable(note)}", file=sys.stderr)
        if result.state == "failed":
            self.failed.append(result)
            if not self.summary:
                print(f"bifocal: {printable(result.error)}", file=sys.stderr)
        elif result.state == "done" and self.lines:
            print(self.line(result), file=self.out, flush=True)
        if self.bar:
            rate = sum(self.counts.values()) / max(time.monotonic() - self.begun, 1e-9)
            self.bar.update(self.bar.task_ids[0], advance=1, rate=f"{rate:.1f} files/s")

    def __enter__(self) -> Display:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """:raises typer.Exit: unless all is well."""
        if self.bar:
            self.bar.stop()
        if self.summary and self.total == 1:
            for result in self.failed:
                print(f"bifocal: {printable(result.error)}", file=sys.stderr)
        elif self.summary and self.total > 1:
            self._print_table()
            print(f"bifocal: {self._counted()}", file=sys.stderr)
        self._print_left_out()
        if isinstance(error, KeyboardInterrupt):
            more = " The same command with --resume goes on." if self.total > 1 and self.resumable else ""
            print(f"bifocal: stopped.{more}", file=sys.stderr)
            raise typer.Exit(130) from None
        if isinstance(error, BifocalError | OSError) and getattr(error, "errno", 0) != errno.EPIPE:
            complain(error)
            raise typer.Exit(1 if self.total else 2) from None
        if error is None and (self.failed or (self.left_out and self.left_out.unreadable.count)):
            raise typer.Exit(1)

    def _start_bar(self) -> None:
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
        self.bar.add_task(self.doing, total=self.total, rate="")
        self.bar.start()

    def _print_table(self) -> None:
        rows = self.failed[:ROWS]
        width = min(60, max((len(result.pair.source) for result in rows), default=0))
        for result in rows:
            why = result.error.removeprefix(result.pair.source).lstrip(": ")
            print(f"  {printable(result.pair.source):<{width}}  {printable(why)}", file=sys.stderr)
        if len(self.failed) > ROWS:
            print(f"  … and {len(self.failed) - ROWS} more; --errors FILE writes all.", file=sys.stderr)

    def _counted(self) -> str:
        seconds = time.monotonic() - self.begun
        done = self.counts["done"]
        rate = f" ({done / max(seconds, 1e-9):.1f} a second)" if done else ""
        parts = [f"{done} of {self.total} files {self.past} in {seconds:.1f} s{rate}"]
        if self.counts["kept"]:
            parts.append(f"{self.counts['kept']} finished before")
        if self.failed:
            parts.append(f"{len(self.failed)} of {self.total} files failed")
        return ", ".join(parts) + "."

    def _print_left_out(self) -> None:
        if self.left_out and (skipped := self.left_out.skipped).count:
            files = "1 file is" if skipped.count == 1 else f"{skipped.count} files are"
            named = printable(str(skipped))
            print(f"bifocal: {files} skipped, being no {self.kind}: {named}.", file=sys.stderr)
        if self.left_out and (unreadable := self.left_out.unreadable).count:
            named = printable(str(unreadable))
            print(f"bifocal: {unreadable.count} not readable and passed over: {named}.", file=sys.stderr)
