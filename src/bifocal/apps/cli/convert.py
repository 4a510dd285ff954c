"""What ``encode`` and ``decode`` share: a worker over files, shown while it goes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from bifocal.apps.cli.display import Display, Files
from bifocal.apps.cli.options import STANDARD
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
    from bifocal.apps.batch import run

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
    with display, _errors_file(errors, display, force, resume), _files(inputs, output, suffix) as files:
        run(
            worker,
            files.inputs,
            files.output,
            suffix=suffix,
            keep_suffix=keep_suffix,
            jobs=jobs,
            shard=read_shard(shard),
            resume=resume,
            replace=force,
            on_start=display.start,
            on_result=lambda result: display.show(files.rename(result)),
        )


def _files(inputs: Sequence[str], output: str | None, suffix: str) -> AbstractContextManager[Files]:
    if STANDARD not in inputs and output != STANDARD:
        return nullcontext(Files(list(inputs), output))
    from bifocal.apps.cli.outputs import files_for_dashes

    return files_for_dashes(inputs, output, suffix=suffix, writes=True)


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
def _errors_file(path: Path | None, display: Display, force: bool, resume: bool) -> Iterator[None]:
    """Write the files that failed, however a run ends. What an earlier run wrote may be written anew by
    resuming it."""
    if path is None:
        yield
        return
    from bifocal.apps.batch.documents import errors_json, is_errors_json
    from bifocal.apps.cli.outputs import check_document, write_document

    force = force or (resume and path.is_file() and is_errors_json(path.read_bytes()))
    check_document(path, force)
    try:
        yield
    finally:
        if display.total:
            write_document(path, errors_json(display.failed), force=force)


def _line(result: FileResult, verb: str) -> str:
    files = f"{result.pair.source} → {result.pair.target}  "
    if verb == "encode":
        bpp = 8 * result.bytes_out / (result.width * result.height)
        return f"{files}{result.bytes_out:,} bytes  {bpp:.3f} bpp"
    return f"{files}{result.width}×{result.height}{' gray' if result.gray else ''}"
