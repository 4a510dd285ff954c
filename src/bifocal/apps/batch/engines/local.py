"""The local engine: spawned processes, one file each at a time, results as they come.

A process gets its next file when it has answered for the last. So whatever the number of files, at most one
for each process is in flight, and if a process dies exactly one file has failed. Processes are spawned, never
forked (a fork copies locks that other threads hold), and end by themselves when this one is gone.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from bifocal.apps.batch.leftovers import remove_leftovers
from bifocal.apps.batch.worker import FileResult, FileTask, Worker
from bifocal.errors import BatchError

_SPAWN = multiprocessing.get_context("spawn")


@dataclass
class _Process:
    """A worker process, our end of its pipe, and the file that it works on. ``started``: it has answered."""

    process: BaseProcess
    pipe: Connection
    task: FileTask | None = None
    started: bool = False


def run_local(
    worker: Worker, tasks: Iterator[FileTask], jobs: int, *, lock: int | None = None
) -> Iterator[FileResult]:
    """Work on ``tasks`` in ``jobs`` processes; results come in the order in which files are finished.

    A process that dies is replaced, and its file has failed. ``lock`` is a file descriptor that the processes
    keep open, so that a lock on it lasts until they end. Closing the iterator kills the processes at once:
    what they were to write is whole or absent.

    :raises BatchError: if processes cannot start.
    """
    processes: list[_Process] = []
    try:
        for task in tasks:
            while len(processes) == jobs and all(one.task for one in processes):
                yield from _receive(processes)
            _assign(task, worker, processes, lock)
        while any(one.task for one in processes):
            yield from _receive(processes)
        for one in processes:
            one.pipe.close()  # they read the end, and end
        for one in processes:
            one.process.join(5)
    finally:
        for one in processes:
            if one.process.is_alive():
                one.process.kill()
            one.process.join()
            if one.task:  # also where a signal to all of us was quicker than we
                remove_leftovers(one.task.pair.target)
            one.pipe.close()


def _assign(task: FileTask, worker: Worker, processes: list[_Process], lock: int | None) -> None:
    """Give a file to a process that is free, or to a new one."""
    for one in [one for one in processes if one.task is None]:
        try:
            one.pipe.send(task)
        except OSError:  # it died while it had nothing to do
            processes.remove(one)
            one.process.join()
            one.pipe.close()
        else:
            one.task = task
            return
    processes.append(_start(worker, lock))
    processes[-1].task = task
    with suppress(OSError):  # dead already: receiving from it finds that out
        processes[-1].pipe.send(task)


def _receive(processes: list[_Process]) -> Iterator[FileResult]:
    """Wait until at least one process that has a file answers; those that died are taken from the list."""
    busy = [one for one in processes if one.task]
    ready = wait([one.pipe for one in busy])
    for one in busy:
        if one.pipe not in ready:
            continue
        try:
            result = one.pipe.recv()
        except (EOFError, OSError):
            processes.remove(one)
            yield _result_of_death(one)
            continue
        if one.started:
            one.task = None
            yield result
        one.started = True


def _result_of_death(one: _Process) -> FileResult:
    """What became of the file of a process that died.

    :raises BatchError: if it ended before it had started: the next would, too.
    """
    one.process.join()
    one.pipe.close()
    why = _reason_of_death(one.process.exitcode)
    if one.task is None or (not one.started and (one.process.exitcode or 0) >= 0):
        raise BatchError(
            f"a worker process cannot start: {why} In a script, call batch.run under "
            "if __name__ == '__main__':, as Python's multiprocessing asks."
        )
    remove_leftovers(one.task.pair.target)
    return FileResult(one.task.pair, "failed", error=f"{one.task.pair.source}: {why}")


def _start(worker: Worker, lock: int | None) -> _Process:
    ours, theirs = _SPAWN.Pipe()
    kept = None if lock is None or sys.platform == "win32" else _Inherited(lock)
    with _environment_of_children(worker.threads):
        process = _SPAWN.Process(target=_serve, args=(worker, theirs, kept), daemon=True)
        process.start()
    theirs.close()
    return _Process(process, ours)


def _serve(worker: Worker, pipe: Connection, kept: int | None) -> None:
    """A worker process: files in, results out, until the pipe ends. ``kept`` is open until then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that gives out the work
    threading.Thread(target=_die_with_parent, daemon=True).start()
    pipe.send(None)
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        pipe.send(worker.do(task))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


class _Inherited:
    """A file descriptor that goes to a process with its arguments, and is an open descriptor there."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing.reduction import DupFd

        return _opened, (DupFd(self._descriptor),)


def _opened(duplicate: Any) -> int:
    return int(duplicate.detach())


@contextmanager
def _environment_of_children(threads: int | None) -> Iterator[None]:
    """What a new process takes over from this one: no Ctrl-C, and as many threads as it was given."""
    names = [name for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS") if name not in os.environ]
    masks = threading.current_thread() is threading.main_thread() and hasattr(signal, "pthread_sigmask")
    if threads is not None:
        os.environ.update(dict.fromkeys(names, str(threads)))
    if masks:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        for name in names:
            os.environ.pop(name, None)


def _reason_of_death(status: int | None) -> str:
    if status is not None and status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        why = f"was killed ({name})"
        if name == "SIGKILL":
            return (
                f"its worker process {why}, most likely because memory ran out. Use fewer jobs and --resume."
            )
        return f"its worker process {why}. Try this file alone; if it happens again, please report it."
    return (
        f"its worker process ended with status {status}. Try this file alone; if it happens again, report it."
    )
