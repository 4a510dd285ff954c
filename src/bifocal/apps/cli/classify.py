"""``bifocal classify``: labels of streams, with no picture rebuilt."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bifocal.apps.cli import options
from bifocal.apps.cli.display import Display
from bifocal.apps.cli.outputs import check_document, files_for_dashes, write_document

if TYPE_CHECKING:
    from bifocal.apps.batch import FileResult, Worker
    from bifocal.types import Labels


def classify(
    inputs: options.StreamsOrNone = None,
    json: options.LabelsFile = None,
    head: options.HeadName = "imagenette",
    top: options.Top = 5,
    at_least: options.AtLeast = 0.0,
    examples: options.Examples = None,
    classes: options.Classes = False,
    explain: options.Explain = None,
    model: options.StreamModel = None,
    jobs: options.Jobs = 1,
    threads: options.Threads = None,
    force: options.Force = False,
) -> None:
    """Label .bfc streams from their latents, without decoding a picture.

    A head knows the classes that it was trained on, and calls everything one of them: --classes lists them.
    Labels that it cannot be trusted in are marked as unsure; --at-least calls them unknown.
    """
    from bifocal.apps import batch
    from bifocal.apps.batch.documents import labels_json, likely

    asked = {"head": head} if examples is None else {"head": head, "examples": str(examples)}
    worker = batch.Worker("analyse", asked, model=model, threads=threads)
    if examples is not None:
        _check_examples(examples, worker)
    if classes:
        print("\n".join(worker.head().spec.classes))
        return
    if not inputs:
        raise typer.BadParameter("name streams or folders of them.", param_hint="INPUTS...")

    def line(result: FileResult) -> str:
        named = likely(result.labels, top, at_least) if result.labels else []
        return f"{result.pair.source}  {_in_words(result.labels, named)}"

    display = Display("classifying", "classified", "streams", line)
    if str(json) in options.OUTPUT_NAMES:
        display.out = sys.stderr
    with display, files_for_dashes(inputs) as files:
        for path in (json, explain):
            check_document(path, force)
        if explain is not None:
            from bifocal.measure.explain import explain_file

            explain_file(batch.find_streams(files.inputs), explain, head=head, model=model)
        results = batch.read(
            worker,
            files.inputs,
            jobs=jobs,
            on_start=display.start,
            on_result=lambda result: display.show(files.rename(result)),
        )
        renamed = [files.rename(result) for result in results]
        write_document(json, labels_json(renamed, worker.head().name, top, at_least), force=force)


def _in_words(labels: Labels | None, named: list[tuple[str, float]]) -> str:
    text = ", ".join(f"{name} {100 * value:.1f} %" for name, value in named)
    return (text or "unknown") + " (unsure)" * bool(text and labels and not labels.confident)


def _check_examples(folder: Path, worker: Worker) -> None:
    """Read the examples: what is wrong with them ends the run before any stream is tried."""
    from bifocal.api.examples import kept_examples
    from bifocal.runtime.model import loaded_model

    kept_examples(str(folder), worker.head(), None if worker.model is None else loaded_model(worker.model))
