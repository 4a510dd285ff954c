"""Which file becomes which: inputs, folders and ``-o`` to pairs of paths, before any work begins."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bifocal.errors import OptionError


@dataclass(frozen=True)
class Pair:
    """One input file and the file it becomes."""

    source: Path
    target: Path


def is_stream_name(path: Path) -> bool:
    """Whether a file's name says that it is a stream."""
    return path.suffix.lower() == ".bfc"


def pair_paths(
    inputs: Sequence[Path],
    output: Path | None,
    *,
    wanted: Callable[[Path], bool],
    suffix: str,
    replace: bool = False,
) -> list[Pair]:
    """Pair every input with its output.

    A folder stands for the files under it for which ``wanted`` says yes. Without ``output`` a result stands
    beside its source with ``suffix``. One file may name its ``output`` file, and then replaces what is there;
    for several, or for a folder, ``output`` is a folder, made if need be, where subfolders are kept. A name
    that we derive never replaces an existing file unless ``replace``; no output ever replaces an input.

    :raises OptionError: if an input does not exist, nothing is found, or two results would share a name.
    """
    for path in inputs:
        if not path.exists():
            raise OptionError(f"{path} does not exist. Check the spelling.")
    single = len(inputs) == 1 and not inputs[0].is_dir()
    if single and output is not None and not _is_folder(output):
        pairs, named = [Pair(inputs[0], output)], True
    else:
        if output is not None and output.exists() and not output.is_dir():
            raise OptionError(f"{output} is a file; several results need a folder after -o.")
        pairs, named = list(_pair_all(inputs, output, wanted, suffix)), False
    if not pairs:
        raise OptionError(f"no files to work on under {', '.join(map(str, inputs))}.")
    _refuse_collisions(pairs, named or replace)
    return pairs


def _is_folder(path: Path) -> bool:
    return path.is_dir() or str(path).endswith(os.sep)


def _pair_all(
    inputs: Sequence[Path], output: Path | None, wanted: Callable[[Path], bool], suffix: str
) -> Iterable[Pair]:
    for path in inputs:
        if path.is_dir():
            for source in sorted(p for p in path.rglob("*") if p.is_file() and wanted(p)):
                place = source if output is None else output / source.relative_to(path)
                yield Pair(source, place.with_suffix(suffix))
        else:
            place = path if output is None else output / path.name
            yield Pair(path, place.with_suffix(suffix))


def _refuse_collisions(pairs: Sequence[Pair], replace: bool) -> None:
    sources = {pair.source.resolve(): pair.source for pair in pairs}
    targets: dict[Path, Path] = {}
    for pair in pairs:
        target = pair.target.resolve()
        if target in sources:
            raise OptionError(
                f"{pair.target} is an input and would be overwritten. Name another output with -o."
            )
        if target in targets:
            raise OptionError(
                f"{targets[target]} and {pair.source} would both become {pair.target}. Rename one, or "
                "encode them apart."
            )
        if pair.target.is_dir():
            raise OptionError(f"{pair.target} is a folder. Name another output with -o.")
        if pair.target.exists() and not replace:
            raise OptionError(
                f"{pair.target} exists already. Say --force to replace it, or name an output with -o."
            )
        targets[target] = pair.source
