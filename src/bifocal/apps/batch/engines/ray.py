"""The engine on Ray: one actor for each job, on this machine or on a cluster, results as they come.

Actors see the files by the paths of the tasks, so on a cluster these are on a shared disk or URLs. The driver
is here, with the manifest: it alone says what is finished. An actor that dies is replaced and its files are
tried again; a file whose actors died :data:`TRIES` times has failed.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace as with_changes
from typing import Any

from bifocal.apps.batch.leftovers import remove_leftovers
from bifocal.apps.batch.worker import FileResult, FileTask, Worker
from bifocal.errors import BatchError
from bifocal.storage.filesystem import holds_data

#: How often a file is tried whose worker died, and how many files an actor has at a time: the next one waits
#: there while the first is worked on.
TRIES, IN_FLIGHT = 3, 2
#: Seconds that a cluster has to answer.
ANSWER = 10.0


def run_ray(
    worker: Worker, tasks: Iterator[FileTask], jobs: int, *, address: str | None = None
) -> Iterator[FileResult]:
    """Work on ``tasks`` in ``jobs`` actors; results come in the order in which files are finished.

    Each actor takes as many processors as the worker has threads. Without an ``address``, and without one in
    RAY_ADDRESS, Ray is started here and ended afterwards.

    :raises BatchError: if the cluster cannot be reached, or is gone.
    """
    with _connected(jobs, worker.threads or 1, address) as ray:
        yield from _Actors(ray, worker, jobs).run(tasks)


class _Actors:
    """The actors of a run, and the files that each has."""

    def __init__(self, ray: Any, worker: Worker, jobs: int) -> None:
        self._ray, self._worker = ray, worker
        self._kind = ray.remote(num_cpus=worker.threads or 1, max_restarts=0)(_Actor)
        self._actors = [self._start() for _ in range(jobs)]
        self._waiting: dict[Any, tuple[int, FileTask, int]] = {}  # answer: actor, task if tried again, try

    def run(self, tasks: Iterator[FileTask]) -> Iterator[FileResult]:
        for task in tasks:
            while len(self._waiting) >= IN_FLIGHT * len(self._actors):
                yield from self._receive()
            # what an actor wrote just before it died is ours, and the next try may replace it
            may_replace = task.replace or not holds_data(task.pair.target)
            self._give(task, with_changes(task, replace=may_replace), 1)
        while self._waiting:
            yield from self._receive()

    def _start(self) -> Any:
        return self._kind.remote(self._worker)

    def _give(self, task: FileTask, again: FileTask, tried: int) -> None:
        loads = [0] * len(self._actors)
        for number, _, _ in self._waiting.values():
            loads[number] += 1
        number = loads.index(min(loads))
        self._waiting[self._actors[number].do.remote(task)] = number, again, tried

    def _receive(self) -> Iterator[FileResult]:
        """Wait for one answer; files of an actor that died are given out again."""
        from ray.exceptions import RayActorError, RayError

        ready, _ = self._ray.wait(list(self._waiting), num_returns=1)
        number, task, tried = self._waiting.pop(ready[0])
        try:
            yield self._ray.get(ready[0])
        except RayActorError:
            remove_leftovers(task.pair.target)
            others = [key for key, (of, _, _) in self._waiting.items() if of == number]
            again = [(task, tried + 1), *(self._waiting.pop(key)[1:] for key in others)]
            self._actors[number] = self._start()
            for one, count in again:
                if count <= TRIES:
                    self._give(one, one, count)
                else:
                    yield FileResult(one.pair, "failed", error=_killed(one.pair.source))
        except RayError as error:
            why = " ".join(str(error).split())[:300]
            raise BatchError(f"the Ray cluster failed: {why}. Go on with --resume.") from error


class _Actor:
    """What runs on a node: the worker, and with it the model, once."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def do(self, task: FileTask) -> FileResult:
        return self._worker.do(task)


def _killed(source: str) -> str:
    return (
        f"{source}: its worker process on the cluster died {TRIES} times, perhaps because memory ran out. "
        "Use fewer jobs, or try this file alone."
    )


@contextmanager
def _connected(jobs: int, threads: int, address: str | None) -> Iterator[Any]:
    """Ray, connected; what we started is ended."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # usage is reported to no one
    import ray

    if ray.is_initialized():
        yield ray
        return
    where = address or os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"address": where} if where else {"num_cpus": jobs * threads}
    options |= {} if where else {"include_dashboard": False}
    try:
        _check_port(where)
        ray.init(log_to_driver=False, logging_level="error", **options)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        why = " ".join(str(error).split())[:300]
        raise BatchError(
            f"the Ray cluster at {where or 'this machine'} cannot be used ({why}). Check that it runs, with "
            "ray status, and the address."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_port(address: str | None) -> None:
    """Find a cluster that is not there at once; Ray would wait for minutes.

    :raises OSError: if nobody answers at an address with a port.
    """
    host, colon, port = (address or "").rpartition("://")[2].partition("/")[0].rpartition(":")
    if colon and host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER).close()
