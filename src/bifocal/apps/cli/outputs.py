"""Standard input and output by the name ``-``, and documents that commands write beside their results."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bifocal.apps.cli.display import Files
from bifocal.apps.cli.options import INPUT_NAMES, OUTPUT_NAMES
from bifocal.errors import OptionError, OutputError
from bifocal.storage.filesystem import refuse_existing, write_atomically

if TYPE_CHECKING:
    from bifocal.apps.batch import FileResult

#: More than this is not read from standard input.
MAX_INPUT = 1 << 32


@contextmanager
def files_for_dashes(
    inputs: Sequence[str], output: str | None = None, *, suffix: str = "", writes: bool = False
) -> Iterator[Files]:
    """Files in place of ``-``: one with what standard input holds, and one whose content goes to standard
    output when the block ends. A command that ``writes`` sends what it makes of standard input there, too.

    :raises OptionError: if ``-`` is one of several inputs, or standard output is a terminal.
    """
    from_input = not INPUT_NAMES.isdisjoint(inputs)
    if not from_input and output not in OUTPUT_NAMES:
        yield Files(list(inputs), output)
        return
    if from_input and len(inputs) > 1:
        raise OptionError("- is standard input, which is one file: name no other input beside it.")
    to_output = output in OUTPUT_NAMES or (writes and output is None)
    if to_output and (len(inputs) > 1 or os.path.isdir(inputs[0])):
        raise OptionError("standard output takes one result. Name a folder with --out for several.")
    if to_output and sys.stdout.isatty():
        raise OptionError(
            "what is written is binary, and standard output is a terminal. Name a file with --out, or send "
            "it on with > or |."
        )
    with tempfile.TemporaryDirectory(prefix="bifocal-") as folder:
        source, target = Path(folder, "stdin"), Path(folder, f"stdout{suffix}")
        if from_input:
            _take_input(source)
        yield Files(
            [os.fspath(source)] if from_input else list(inputs),
            os.fspath(target) if to_output else output,
            lambda result: _without_folder(result, folder),
        )
        if target.exists():
            with target.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()


def _take_input(path: Path) -> None:
    with path.open("wb") as file:
        while block := sys.stdin.buffer.read(1 << 20):
            file.write(block)
            if file.tell() > MAX_INPUT:
                raise OptionError(f"standard input holds more than {MAX_INPUT} bytes: no picture does.")


def _without_folder(result: FileResult, folder: str) -> FileResult:
    prefix = os.path.join(folder, "")
    source, target = result.pair.source, result.pair.target
    return replace(
        result,
        pair=replace(
            result.pair,
            source=source.removeprefix(prefix),
            target="stdout" if target.startswith(prefix) else target,
        ),
        error=result.error.replace(prefix, ""),
        notes=tuple(note.replace(prefix, "") for note in result.notes),
    )


def check_document(path: Path | None, force: bool) -> None:
    """Refuse to write a document over a file that exists, before any work is done.

    :raises OptionError: if it exists, unless ``force``.
    """
    if path is not None and str(path) not in OUTPUT_NAMES and not force:
        try:
            refuse_existing(path)
        except OutputError as error:
            raise OptionError(str(error)) from error


def write_document(path: Path | None, data: bytes, *, force: bool) -> None:
    """Write a document to a file, or to standard output for ``-``; nothing where no file is named.

    :raises OutputError: if it exists, unless ``force``, or cannot be written.
    """
    if path is None:
        return
    if str(path) in OUTPUT_NAMES:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        write_atomically(path, data, overwrite=force)
