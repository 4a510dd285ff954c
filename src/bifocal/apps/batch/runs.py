"""A run over many files: pairs them, feeds them to a worker, and remembers what became of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_changes

from bifocal.apps.batch.manifest import Manifest
from bifocal.apps.batch.parts import remove_all_parts
from bifocal.apps.batch.processes import outcomes
from bifocal.apps.batch.worker import Outcome, Task, Worker
from bifocal.errors import OptionError
from bifocal.pictures.files import is_picture_name
from bifocal.runtime.engines.sessions import available_threads
from bifocal.storage import remote
from bifocal.storage.paths import Pair, Pairs, find_files, is_stream_name, pair_paths


@dataclass(frozen=True)
class Report:
    """How a run went. ``failed`` holds an outcome for each file that failed; ``kept`` were finished before.

    ``bytes_in`` and ``bytes_out`` are those of the files done, ``seconds`` those of the whole run.
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
    keep_suffix: bool = False,
    jobs: int = 1,
    shard: tuple[int, int] = (1, 1),
    resume: bool = False,
    replace: bool = False,
    on_start: Callable[[int], None] = lambda total: None,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> Report:
    """Work on every file of ``inputs``, in this process or in ``jobs`` spawned ones.

    Which file becomes which is told by :func:`bifocal.storage.paths.pair_paths`. Several results in a folder
    come with a manifest there. With ``resume``, files that it proves finished are kept; ``replace`` lets
    results take the place of files that no run made. ``shard`` (i, n) works on the i-th of n parts.
    ``on_start`` hears the number of files, ``on_outcome`` what became of each, as it is finished. A file that
    fails stops no other. A KeyboardInterrupt stops the run cleanly and comes out of it.

    :raises OptionError: if files or options contradict each other; nothing was tried then.
    :raises ModelError: if there is no such model.
    :raises BatchError: if another run works in that folder, or processes cannot start.
    """
    begun = time.perf_counter()
    worker = _ready(worker, jobs)
    if not 1 <= shard[0] <= shard[1]:
        raise OptionError(f"there is no shard {shard[0]}/{shard[1]}. The first of four is 1/4, the last 4/4.")
    encoding = worker.verb == "encode"
    pairs = pair_paths(
        inputs,
        output,
        wanted=is_picture_name if encoding else is_stream_name,
        suffix=suffix or (".bfc" if encoding else ".png"),
        keep_suffix=keep_suffix,
        replace=replace or resume,
        shard=shard,
    )
    _refuse_contradictions(pairs, jobs, resume)
    tally = _Tally(on_outcome)
    if pairs.output is None or not (resume or pairs.many):
        on_start(len(pairs))
        _work(worker, map(Task, pairs), jobs, tally)
    else:
        about = worker.about()
        with Manifest(pairs.output, worker.verb, shard, about) as manifest:
            remove_all_parts(pairs)
            on_start(len(pairs))
            _work(worker, _tasks(pairs, manifest, about["key"], resume, replace), jobs, tally, manifest)
    seconds = time.perf_counter() - begun
    return Report(tally.done, tally.kept, tuple(tally.failed), seconds, tally.bytes_in, tally.bytes_out)


def label(
    worker: Worker,
    inputs: Sequence[str | os.PathLike[str]],
    *,
    jobs: int = 1,
    on_start: Callable[[int], None] = lambda total: None,
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Have a worker that analyses read every stream of ``inputs``, folders searched to the bottom.

    ``jobs``, ``on_start`` and ``on_outcome`` as in :func:`run`. Returns an outcome for each file, in the
    order of the inputs; a file that fails stops no other.

    :raises OptionError: if there are no streams; nothing was tried then.
    :raises ModelError: if there is no such model or head, or the head is damaged.
    :raises BatchError: if processes cannot start.
    """
    worker = _ready(worker, jobs)
    worker.head()  # a missing or damaged head is found before any work begins
    sources = find_files(inputs, is_stream_name)
    on_start(len(sources))
    done: dict[str, Outcome] = {}

    def take(outcome: Outcome) -> None:
        done[outcome.pair.source] = outcome
        on_outcome(outcome)

    _work(worker, (Task(Pair(source, source, "")) for source in sources), jobs, _Tally(take))
    return [done[source] for source in sources]


def _ready(worker: Worker, jobs: int) -> Worker:
    """The worker with its share of the processors; a missing model is found here, before any work begins."""
    if jobs < 1:
        raise OptionError(
            f"{jobs} jobs do nothing. Choose 1 or more; as many as processors is a good choice."
        )
    if worker.threads is None:
        worker = with_changes(worker, threads=max(1, available_threads() // jobs))
    folders = worker.model_folders()
    if worker.model is not None or worker.verb == "encode":
        worker = with_changes(worker, model=os.fspath(folders[0].resolve()))  # the same in every process
    return worker


def _refuse_contradictions(pairs: Pairs, jobs: int, resume: bool) -> None:
    if resume and pairs.output is None:
        raise OptionError(
            "only a run into a folder can be resumed: its manifest is kept there. Name a folder with --out."
        )
    ends = [pairs.output or "", *(found.root for found in pairs.found)]
    if jobs > 1 and any(end.startswith("memory:") for end in ends):
        raise OptionError("memory:// is seen by one process only. Use one job.")


class _Tally:
    """Counts outcomes as they come."""

    def __init__(self, on_outcome: Callable[[Outcome], None]) -> None:
        self.done = self.kept = self.bytes_in = self.bytes_out = 0
        self.failed: list[Outcome] = []
        self._on_outcome = on_outcome

    def add(self, outcome: Outcome) -> None:
        self.done += outcome.state == "done"
        self.kept += outcome.state == "kept"
        if outcome.state == "failed":
            self.failed.append(outcome)
        self.bytes_in += outcome.bytes_in
        self.bytes_out += outcome.bytes_out
        self._on_outcome(outcome)


def _work(
    worker: Worker, tasks: Iterator[Task], jobs: int, tally: _Tally, manifest: Manifest | None = None
) -> None:
    hold = manifest.file.fileno() if manifest else None
    stream = map(worker.do, tasks) if jobs == 1 else outcomes(worker, tasks, jobs, hold=hold)
    try:
        for outcome in stream:
            if manifest and outcome.record:
                manifest.finish(outcome.record)
            tally.add(outcome)
    finally:
        if isinstance(stream, Generator):
            stream.close()


def _tasks(pairs: Pairs, manifest: Manifest, key: str, resume: bool, replace: bool) -> Iterator[Task]:
    for pair in pairs:
        ours = manifest.ours(pair.name)
        # a result that no run has begun is somebody's file, and --resume alone does not replace it
        mine = ours or replace or not resume or not remote.exists(pair.target)
        if mine and not ours:
            manifest.begin(pair.name)
        yield Task(pair, mine, key, manifest.before(pair.name) if resume else None)
