"""The engine for labels in this process: one run of the head for many streams.

A stream that cannot be read fails alone. ``seconds`` of a result are those since the one before it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from bifocal.apps.batch.worker import FileResult, FileTask, Worker, reason
from bifocal.runtime.heads.many import Opened, read_many
from bifocal.runtime.model import Model
from bifocal.storage import filesystem
from bifocal.stream import container
from bifocal.stream.container import Container
from bifocal.stream.source import FileBytes

#: Streams in one run of the head.
BATCH = 16


def run_batched(worker: Worker, tasks: Iterator[FileTask], threads: int = 1) -> Iterator[FileResult]:
    """Labels of the file of each task, in order; ``threads`` decode while the head runs here."""
    taken: deque[FileTask] = deque()

    def opened() -> Iterator[Opened]:
        for task in tasks:
            taken.append(task)
            yield partial(_opened, worker, task.pair.source)

    before = time.perf_counter()
    for labels in read_many(opened(), worker.head(), batch=BATCH, threads=threads):
        pair, now = taken.popleft().pair, time.perf_counter()
        seconds, before = now - before, now
        if isinstance(labels, Exception):
            yield FileResult(pair, "failed", seconds=seconds, error=reason(labels, pair))
        else:
            size = filesystem.size(pair.source)
            yield FileResult(pair, "done", bytes_in=size, seconds=seconds, labels=labels)


@contextmanager
def _opened(worker: Worker, source: str) -> Iterator[tuple[Container, Model]]:
    with filesystem.opened(source) as file:
        stream = container.read(FileBytes(file))
        yield stream, worker.model_of(stream.header)
