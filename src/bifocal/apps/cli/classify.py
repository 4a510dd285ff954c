"""``bifocal classify``: labels of streams, with no picture rebuilt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bifocal.apps.cli.many import Display, Jobs, watch

if TYPE_CHECKING:
    from bifocal.apps.batch import Outcome


def classify(
    inputs: Annotated[
        list[str], typer.Argument(help="Streams, or folders of them; URLs too.", show_default=False)
    ],
    json: Annotated[
        Path | None, typer.Option("--json", "-o", help="Write the labels of every file to this file.")
    ] = None,
    head: Annotated[
        str, typer.Option(help="What reads the streams: a shipped head, or a .bfh file of your own.")
    ] = "imagenette",
    top: Annotated[int, typer.Option("--top", "-k", min=1, help="How many labels a file gets.")] = 5,
    model: Annotated[
        str | None,
        typer.Option(
            help="The folder of a packed model; by default the installed one that the stream names."
        ),
    ] = None,
    jobs: Jobs = 1,
    explain: Annotated[
        Path | None,
        typer.Option(help="Draw where a head with selectors looked, for one stream, as a picture."),
    ] = None,
) -> None:
    """Label .bfc streams from their latents, without decoding a picture."""
    from bifocal.apps import batch
    from bifocal.storage.whole_files import write_atomically

    worker = batch.Worker("analyse", {"head": head}, model=model)

    def line(outcome: Outcome) -> str:
        told = outcome.labels.top(top) if outcome.labels else []
        return f"{outcome.pair.source}  " + ", ".join(f"{name} {100 * p:.1f} %" for name, p in told)

    def work() -> None:
        if explain is not None:
            from bifocal.measure.explain import explain_file

            explain_file(inputs, explain, head=head, model=model)
        done = batch.label(worker, inputs, jobs=jobs, on_start=display.start, on_outcome=display.show)
        if json is not None:
            write_atomically(json, batch.labels_json(done, worker.head().name, top))

    display = Display("classifying", "classified", line)
    if status := watch(display, work):
        raise typer.Exit(status)
