"""What ``encode`` and ``decode`` share: a worker over files, shown while it goes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bifocal.apps.cli.display import Display
from bifocal.apps.cli.outputs import STANDARD, check_document, files_for_dashes, write_document
from bifocal.errors import OptionError

if TYPE_CHECKING:
    from bifocal.apps.batch import FileResult, Worker


def convert_files(
    worker: Worker,
    inputs: Sequence[str],
    output: str | None,
    *,
    suffix: str,
    keep_suffix: bool = False,
    jobs: int,
    resume: bool,
    shard: str,
    force: bool,
    errors: Path | None,
) -> None:
    """Run a worker over files and print what became of them.

    :raises typer.Exit: unless all is well.
    """
    from bifocal.apps import batch

    verb = worker.verb
    to_output = output == STANDARD or (STANDARD in inputs and output is None)
    display = Display(
        f"{verb.removesuffix('e')}ing",
        f"{verb}d",
        "pictures" if verb == "encode" else "streams",
        lambda result: _line(result, verb),
        resumable=output is not None,
        out=sys.stderr if to_output else sys.stdout,
    )
    may_replace = force or (resume and _is_errors_file(errors))
    with display, files_for_dashes(inputs, output, suffix=suffix, writes=True) as (names, out, rename):
        check_document(errors, may_replace)
        try:
            batch.run(
                worker,
                names,
                out,
                suffix=suffix,
                keep_suffix=keep_suffix,
                jobs=jobs,
                shard=read_shard(shard),
                resume=resume,
                replace=force,
                on_start=display.start,
                on_result=lambda result: display.show(rename(result)),
            )
        finally:
            if errors is not None and display.total:
                from bifocal.apps.batch.documents import errors_json

                write_document(errors, errors_json(display.failed), force=may_replace)


def read_shard(text: str) -> tuple[int, int]:
    """
    :raises OptionError: if the text is not like 1/4.

    >>> read_shard("2/8")
    (2, 8)
    """
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal()):
        raise OptionError(f"--shard is '{text}'; say 1/4 for the first of four parts.")
    return int(part), int(parts)


def _is_errors_file(path: Path | None) -> bool:
    """Whether an earlier run wrote this file, so that resuming that run may write it anew."""
    if path is None or not path.is_file():
        return False
    from bifocal.apps.batch.documents import is_errors_json

    return is_errors_json(path.read_bytes())


def _line(result: FileResult, verb: str) -> str:
    files = f"{result.pair.source} → {result.pair.target}  "
    if verb == "encode":
        bpp = 8 * result.bytes_out / (result.width * result.height)
        return f"{files}{result.bytes_out:,} bytes  {bpp:.3f} bpp"
    return f"{files}{result.width}×{result.height}{' gray' if result.gray else ''}"
