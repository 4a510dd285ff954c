"""``bifocal bench``: Bifocal and other codecs on pictures."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from bifocal.apps.cli import options
from bifocal.apps.cli.launch import complain
from bifocal.apps.cli.outputs import check_document, write_document


def bench(
    inputs: options.PictureFiles,
    qualities: options.Qualities = "",
    peers: options.Peers = "jpeg,webp,avif",
    model: options.Model = None,
    backend: options.Backend = None,
    csv: options.Csv = None,
    analyse: options.Analyse = False,
    head: options.HeadName = "imagenette",
    against: options.Against = None,
    repeats: options.Repeats = 5,
    force: options.Force = False,
) -> None:
    """Measure size, PSNR, MS-SSIM and time on pictures; or how long answers take from a stream's bytes."""
    from bifocal.measure.bench import csv_bytes
    from bifocal.runtime.engines.onnxruntime import REFERENCE

    check_document(csv, force)
    backend = backend or REFERENCE
    curve = read_qualities(qualities)
    rows: Sequence[object]
    if analyse:
        from bifocal.measure.answers import answer_table, time_answers

        rows = times = time_answers(
            inputs,
            head=head,
            against=against,
            model=model,
            backend=backend,
            qualities=curve or (60,),
            repeats=repeats,
        )
        print(answer_table(times))
        write_document(csv, csv_bytes(rows), force=force)
        return
    rows, failed = _compare(inputs, [] if peers == "none" else peers.split(","), curve, model, backend)
    write_document(csv, csv_bytes(rows), force=force)
    if failed:
        raise typer.Exit(1)


def _compare(
    inputs: Sequence[Path], peers: Sequence[str], curve: tuple[int, ...], model: str | None, backend: str
) -> tuple[Sequence[object], int]:
    """Measure, and print rows as they come: all of them where one picture is measured or nobody looks on,
    else the last, and the means over pictures at the end. Pictures that cannot be read are named and counted.

    :raises OptionError: if there is no such picture or peer.
    """
    from bifocal.errors import OptionError, PictureError
    from bifocal.measure import MeasureError
    from bifocal.measure.bench import Measurement, bench, find_pictures, summarise
    from bifocal.measure.tables import NAMED_HEADER, named_line, table

    unreadable: list[PictureError] = []

    def skip(error: PictureError) -> None:
        unreadable.append(error)
        complain(error)

    try:
        pictures = find_pictures(inputs)
        measured = bench(
            pictures,
            qualities=curve,
            peers=peers,
            model=model,
            backend=backend,
            notify=lambda sentence: print(sentence, file=sys.stderr),
            skip=skip,
        )
    except MeasureError as error:
        raise OptionError(str(error)) from error
    lasting = len(pictures) == 1 or not sys.stdout.isatty()
    if lasting:
        print(NAMED_HEADER, flush=True)
    rows: list[Measurement] = []
    for row in measured:
        rows.append(row)
        if lasting:
            print(named_line(row), flush=True)
        elif sys.stderr.isatty():
            print(f"\r\033[K{named_line(row)[:78]}", end="", file=sys.stderr, flush=True)
    if not lasting and sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    if (read := len(pictures) - len(unreadable)) > 1:
        print(f"\nmeans of {read} pictures\n{table(summarise(rows))}")
    return rows, len(unreadable)


def read_qualities(text: str) -> tuple[int, ...]:
    """
    :raises OptionError: if the text is not like 10,50,90.

    >>> read_qualities("10,50"), read_qualities("")
    ((10, 50), ())
    """
    from bifocal.errors import OptionError

    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise OptionError(f"--qualities is '{text}'; give whole numbers such as 10,50,90.") from error
