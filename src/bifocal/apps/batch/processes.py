"""The local engine: spawned processes, one file each at a time, results as they come.

A process is handed its next file when it has answered for the last, so whatever the number of files, at most
one for each process is in flight and a death is the outcome of exactly one file. Processes are spawned, never
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

from bifocal.apps.batch.parts import remove_parts
from bifocal.apps.batch.worker import Outcome, Task, Worker
from bifocal.errors import BatchError

_SPAWN = multiprocessing.get_context("spawn")


@dataclass
class _Hand:
    """A worker process, our end of its pipe, and the file that it has now. ``up``: it has started."""

    process: BaseProcess
    pipe: Connection
    task: Task | None = None
    up: bool = False


def outcomes(
    worker: Worker, tasks: Iterator[Task], jobs: int, *, hold: int | None = None
) -> Iterator[Outcome]:
    """Work on ``tasks`` in ``jobs`` processes; outcomes come in the order in which files are finished.

    A process that dies is replaced, and its file has failed. ``hold`` is a file descriptor that the processes
    keep open, with the lock on it. Closing the iterator kills the processes at once: results are whole or
    absent.

    :raises BatchError: if processes cannot start.
    """
    hands: list[_Hand] = []
    try:
        for task in tasks:
            while len(hands) == jobs and all(hand.task for hand in hands):
                yield from _next(hands)
            _give(task, worker, hands, hold)
        while any(hand.task for hand in hands):
            yield from _next(hands)
        for hand in hands:
            hand.pipe.close()  # they read the end, and end
        for hand in hands:
            hand.process.join(5)
    finally:
        for hand in hands:
            if hand.process.is_alive():
                hand.process.kill()
            hand.process.join()
            if hand.task:  # also where a signal to all of us was quicker than we
                remove_parts(hand.task.pair.target)
            hand.pipe.close()


def _give(task: Task, worker: Worker, hands: list[_Hand], hold: int | None) -> None:
    """Hand a file to a process that is free, or to a new one."""
    for hand in [hand for hand in hands if hand.task is None]:
        try:
            hand.pipe.send(task)
        except OSError:  # it died while it had nothing to do
            hands.remove(hand)
            hand.process.join()
            hand.pipe.close()
        else:
            hand.task = task
            return
    hands.append(_start(worker, hold))
    hands[-1].task = task
    with suppress(OSError):  # dead already: the next look at it tells
        hands[-1].pipe.send(task)


def _next(hands: list[_Hand]) -> Iterator[Outcome]:
    """Wait until a busy hand has something to say; the dead are taken from the list."""
    busy = [hand for hand in hands if hand.task]
    ready = wait([hand.pipe for hand in busy])
    for hand in busy:
        if hand.pipe not in ready:
            continue
        try:
            outcome = hand.pipe.recv()
        except (EOFError, OSError):
            hands.remove(hand)
            yield _mourn(hand)
            continue
        if hand.up:
            hand.task = None
            yield outcome
        hand.up = True


def _mourn(hand: _Hand) -> Outcome:
    """What became of the file of a process that died.

    :raises BatchError: if it gave up before it was up: the next would, too.
    """
    hand.process.join()
    hand.pipe.close()
    why = _epitaph(hand.process.exitcode)
    if hand.task is None or (not hand.up and (hand.process.exitcode or 0) >= 0):
        raise BatchError(
            f"a worker process cannot start: {why} In a script, call batch.run under "
            "if __name__ == '__main__':, as Python's multiprocessing asks."
        )
    remove_parts(hand.task.pair.target)
    return Outcome(hand.task.pair, "failed", error=f"{hand.task.pair.source}: {why}")


def _start(worker: Worker, hold: int | None) -> _Hand:
    ours, theirs = _SPAWN.Pipe()
    kept = None if hold is None or sys.platform == "win32" else _Hold(hold)
    with _for_children(worker.threads):
        process = _SPAWN.Process(target=_serve, args=(worker, theirs, kept), daemon=True)
        process.start()
    theirs.close()
    return _Hand(process, ours)


def _serve(worker: Worker, pipe: Connection, kept: int | None) -> None:
    """A worker process: files in, outcomes out, until the pipe ends. ``kept`` is open until then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that gives out the work
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


class _Hold:
    """A file descriptor that goes to a process with its arguments, and is an open descriptor there."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[Any, ...]:
        from multiprocessing.reduction import DupFd

        return _opened, (DupFd(self._descriptor),)


def _opened(duplicate: Any) -> int:
    return int(duplicate.detach())


@contextmanager
def _for_children(threads: int | None) -> Iterator[None]:
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


def _epitaph(status: int | None) -> str:
    """What a process died of."""
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
