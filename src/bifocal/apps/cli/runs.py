"""Many files, or standard input and output: a worker over files, shown while it goes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bifocal.apps.batch import Worker, run
from bifocal.apps.batch.documents import errors_json, is_errors_json
from bifocal.apps.cli.display import Display
from bifocal.apps.cli.options import INPUT_NAMES, OUTPUT_NAMES
from bifocal.apps.cli.outputs import check_document, files_for_dashes, write_document
from bifocal.errors import OptionError

if TYPE_CHECKING:
    from bifocal.apps.batch import FileResult, Pair
    from bifocal.apps.cli.convert import Conversion


def run_files(asked: Conversion, line: Callable[[Pair, int, int, bool, int], str]) -> None:
    """Run a worker over files and print what became of them: ``line`` of each pair, its width and height in
    pixels, whether it is gray, and the bytes of a stream.

    :raises typer.Exit: unless all is well.
    """
    encoding = asked.verb == "encode"
    to_output = asked.output in OUTPUT_NAMES or (
        asked.output is None and not INPUT_NAMES.isdisjoint(asked.inputs)
    )
    display = Display(
        "encoding" if encoding else "decoding",
        "encoded" if encoding else "decoded",
        "pictures" if encoding else "streams",
        lambda done: line(done.pair, done.width, done.height, done.gray, done.bytes_out * encoding),
        resumable=asked.output is not None,
        out=sys.stderr if to_output else sys.stdout,
    )
    captions, sources = asked.options.get("captions"), list[str]()

    def take(result: FileResult) -> None:
        if captions is not None:
            sources.append(result.pair.source)
        display.show(files.rename(result))

    dashes = files_for_dashes(asked.inputs, asked.output, suffix=asked.suffix, writes=True)
    with display, _errors_file(asked, display), dashes as files:
        run(
            Worker(asked.verb, asked.options, model=asked.model, threads=asked.threads),
            files.inputs,
            files.output,
            suffix=asked.suffix,
            keep_suffix=asked.keep_suffix,
            jobs=asked.jobs,
            engine=asked.engine,
            address=asked.address,
            shard=read_shard(asked.shard),
            resume=asked.resume,
            replace=asked.force,
            on_start=display.start,
            on_result=take,
        )
        if captions is not None:
            from bifocal.apps.cli.captions import report_unmatched

            report_unmatched(captions, sources, whole=asked.shard == "1/1")


def read_shard(text: str) -> tuple[int, int]:
    """
    :raises OptionError: if the text is not like 1/4.

    >>> read_shard("2/8")
    (2, 8)
    """
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal()):
        raise OptionError(f"--shard is '{text}'; give 1/4 for the first of four parts.")
    return int(part), int(parts)


@contextmanager
def _errors_file(asked: Conversion, display: Display) -> Iterator[None]:
    """Write the files that failed, however a run ends. What an earlier run wrote may be written anew by
    resuming it."""
    path = asked.errors
    force = asked.force or (asked.resume and _is_errors_file(path))
    check_document(path, force)
    try:
        yield
    finally:
        if display.total:
            write_document(path, errors_json(display.failed), force=force)


def _is_errors_file(path: Path | None) -> bool:
    return path is not None and path.is_file() and is_errors_json(path.read_bytes())
