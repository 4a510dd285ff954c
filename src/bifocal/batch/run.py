"""A run over many files: pairs them, feeds them to a worker, and counts what became of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bifocal.batch.worker import Outcome, Task, Worker
from bifocal.pictures.files import is_picture_name
from bifocal.pictures.paths import is_stream_name, pair_paths
from bifocal.runtime.registry import model_folder


@dataclass(frozen=True)
class Report:
    """How a run went. ``failed`` holds an outcome for each file that failed; ``kept`` were finished before.

    ``bytes_in`` and ``bytes_out`` are those of the files done, ``seconds`` of the whole run.
    """

    done: int
    kept: int
    failed: tuple[Outcome, ...]
    seconds: float
    bytes_in: int
    bytes_out: int


def run(
    worker: Worker,
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None = None,
    *,
    suffix: str = "",
    replace: bool = False,
    on_start: Callable[[int], None] = lambda total: None,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> Report:
    """Work on every file of ``inputs``; which becomes which is :func:`bifocal.pictures.paths.pair_paths`'s.

    :raises OptionError: if the files or options contradict each other; then nothing was tried.
    """
    begun = time.perf_counter()
    if worker.model is not None:
        model_folder(worker.model)
    encoding = worker.verb == "encode"
    pairs = pair_paths(
        inputs,
        output,
        wanted=is_picture_name if encoding else is_stream_name,
        suffix=suffix or (".bfc" if encoding else ".png"),
        replace=replace,
    )
    on_start(len(pairs))
    done, failed, bytes_in, bytes_out = 0, [], 0, 0
    for pair in pairs:
        outcome = worker.do(Task(pair))
        if outcome.state == "failed":
            failed.append(outcome)
        done += outcome.state == "done"
        bytes_in, bytes_out = bytes_in + outcome.bytes_in, bytes_out + outcome.bytes_out
        on_outcome(outcome)
    return Report(done, 0, tuple(failed), time.perf_counter() - begun, bytes_in, bytes_out)
