"""A run over many files: pairs them, feeds them to a worker, and remembers what became of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as with_changes
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from bifocal.apps.batch.kinds import PICTURES, STREAMS
from bifocal.apps.batch.worker import FileResult, FileTask, Worker
from bifocal.errors import BatchError, OptionError, install_command
from bifocal.storage.filesystem import holds_data
from bifocal.storage.folders import LeftOut
from bifocal.storage.paths import Pair, Pairs, find_files, pair_paths

if TYPE_CHECKING:
    from bifocal.apps.batch.manifest import Manifest

#: Gets how many files there are, and what was left out of folders, before the first is worked on.
OnStart = Callable[[int, LeftOut], None]
#: Gets what became of each file, as it is finished.
OnResult = Callable[[FileResult], None]
#: What can run a worker over many files.
ENGINES = ("local", "ray")


@dataclass(frozen=True)
class RunSummary:
    """How a run went. ``failed`` holds the result of each file that failed; ``kept`` were finished before.

    ``bytes_in`` and ``bytes_out`` are those of the files done, ``seconds`` those of the whole run;
    ``left_out`` counts and names what folders hold that was not worked on.
    """

    done: int
    kept: int
    failed: tuple[FileResult, ...]
    seconds: float
    bytes_in: int
    bytes_out: int
    left_out: LeftOut = field(default_factory=LeftOut, repr=False)


def run(
    worker: Worker,
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str] | None = None,
    *,
    suffix: str = "",
    keep_suffix: bool = False,
    jobs: int = 1,
    engine: str = "local",
    address: str | None = None,
    shard: tuple[int, int] = (1, 1),
    resume: bool = False,
    replace: bool = False,
    on_start: OnStart = lambda total, left_out: None,
    on_result: OnResult = lambda result: None,
) -> RunSummary:
    """Work on every file of ``inputs``, in this process or in ``jobs`` spawned ones; with the ``engine``
    "ray" in ``jobs`` actors on the Ray cluster at ``address``, or on one that is started here.

    :func:`bifocal.storage.paths.pair_paths` says which file becomes which. Several results in a folder come
    with a manifest there. With ``resume``, files that it proves finished are kept; ``replace`` lets results
    take the place of files that no run made. ``shard`` (i, n) works on the i-th of n parts. ``on_start``
    gets the number of files and what is left out, ``on_result`` what became of each, as it is finished. A
    file that fails stops no other, unless the disk is full. A KeyboardInterrupt stops the run cleanly and
    comes out of it.

    :raises OptionError: if files or options contradict each other; nothing was tried then.
    :raises ModelError: if there is no such model.
    :raises BatchError: if another run works in that folder, processes cannot start, or the disk is full.
    """
    begun = time.perf_counter()
    _check_options(engine, address, shard)
    worker = _ready(worker, jobs)
    encoding = worker.verb == "encode"
    pairs = pair_paths(
        inputs,
        output,
        kind=PICTURES if encoding else STREAMS,
        suffix=suffix or (".bfc" if encoding else ".png"),
        keep_suffix=keep_suffix,
        replace=replace or resume,
        shard=shard,
    )
    _refuse_contradictions(pairs, jobs if engine == "local" else 2, resume)
    work = partial(_results, engine=engine, address=address)
    tally = _Tally(on_result, len(pairs))
    if pairs.output is None or not (resume or pairs.many):
        on_start(len(pairs), pairs.left_out)
        _work(work, worker, (FileTask(pair, replace) for pair in pairs), jobs, tally)
    else:
        from bifocal.apps.batch.leftovers import remove_all_leftovers
        from bifocal.apps.batch.manifest import Manifest

        about = worker.about()
        with Manifest(pairs.output, worker.verb, shard, about) as manifest:
            remove_all_leftovers(pairs)
            on_start(len(pairs), pairs.left_out)
            tasks = _tasks(pairs, manifest, about["key"], resume, replace)
            _work(work, worker, tasks, jobs, tally, manifest)
    return tally.summary(time.perf_counter() - begun, pairs.left_out)


def read(
    worker: Worker,
    inputs: Sequence[str | os.PathLike[str]],
    *,
    jobs: int = 1,
    on_start: OnStart = lambda total, left_out: None,
    on_result: OnResult = lambda result: None,
) -> list[FileResult]:
    """Have a worker that analyses or describes streams read those of ``inputs``, folders searched to the
    bottom.

    ``jobs``, ``on_start`` and ``on_result`` as in :func:`run`. Returns the result of each file, in the order
    of the inputs; a file that fails, or does not exist, stops no other.

    :raises OptionError: if there are no streams; nothing was tried then.
    :raises ModelError: if there is no such model or head, or the head is damaged.
    :raises BatchError: if processes cannot start.
    """
    if worker.writes:
        raise OptionError(f"a worker that is to {worker.verb} writes files: give it to batch.run.")
    worker = _ready(worker, jobs)
    if worker.verb == "analyse":
        worker.head()  # a missing or damaged head is found before any work begins
    sources, left_out = find_files(inputs, STREAMS, missing=worker.verb == "info")
    on_start(len(sources), left_out)
    results: dict[str, FileResult] = {}

    def take(result: FileResult) -> None:
        results[result.pair.source] = result
        on_result(result)

    tasks = (FileTask(Pair(source, source, "")) for source in sources)
    _work(_results, worker, tasks, jobs, _Tally(take, len(sources)))
    return [results[source] for source in sources]


def find_streams(inputs: Sequence[str | os.PathLike[str]]) -> list[str]:
    """The streams among ``inputs``, folders searched to the bottom.

    :raises OptionError: if an input does not exist, or there are no streams.
    """
    return find_files(inputs, STREAMS)[0]


def _ready(worker: Worker, jobs: int) -> Worker:
    """The worker with its share of the processors; a missing model is found here, before any work begins."""
    if jobs < 1:
        raise OptionError(
            f"{jobs} jobs do nothing. Choose 1 or more; as many as processors is a good choice."
        )
    worker.check()
    if worker.threads is None:
        from bifocal.runtime.engines.onnxruntime import available_threads

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
    ends = [pairs.output or "", *(files.root for files in pairs.inputs)]
    if jobs > 1 and any(end.startswith("memory:") for end in ends):
        raise OptionError("memory:// is seen by one process only. Use one job.")


class _Tally:
    """Counts results as they come."""

    def __init__(self, on_result: OnResult, total: int) -> None:
        self.total = total
        self.done = self.kept = self.bytes_in = self.bytes_out = 0
        self.failed: list[FileResult] = []
        self._on_result = on_result

    def add(self, result: FileResult) -> None:
        self.done += result.state == "done"
        self.kept += result.state == "kept"
        if result.state == "failed":
            self.failed.append(result)
        self.bytes_in += result.bytes_in
        self.bytes_out += result.bytes_out
        self._on_result(result)

    def summary(self, seconds: float, left_out: LeftOut) -> RunSummary:
        failed = tuple(self.failed)
        return RunSummary(self.done, self.kept, failed, seconds, self.bytes_in, self.bytes_out, left_out)


def _check_options(engine: str, address: str | None, shard: tuple[int, int]) -> None:
    """Refuse an engine or a shard that there is not, before anything is written."""
    if not 1 <= shard[0] <= shard[1]:
        raise OptionError(f"there is no shard {shard[0]}/{shard[1]}. The first of four is 1/4, the last 4/4.")
    if engine not in ENGINES:
        raise OptionError(f"there is no engine {engine!r}. Choose {' or '.join(ENGINES)}.")
    if engine == "ray" and find_spec("ray") is None:
        raise OptionError(f"the engine needs Ray: {install_command('ray')}.")
    if engine != "ray" and address is not None:
        raise OptionError("an address is that of a Ray cluster. Choose the engine ray, or leave it out.")


def _work(
    results_of: Callable[..., Iterator[FileResult]],
    worker: Worker,
    tasks: Iterator[FileTask],
    jobs: int,
    tally: _Tally,
    manifest: Manifest | None = None,
) -> None:
    results = results_of(worker, tasks, jobs, manifest)
    try:
        for result in results:
            if manifest and result.record:
                manifest.finish(result.record)
            tally.add(result)
            if result.disk_full and tally.total > 1:
                raise BatchError(
                    "the disk is full, so the run stops here. Make room, then go on with --resume."
                )
    finally:
        if isinstance(results, Generator):
            results.close()


def _results(
    worker: Worker,
    tasks: Iterator[FileTask],
    jobs: int,
    manifest: Manifest | None,
    engine: str = "local",
    address: str | None = None,
) -> Iterator[FileResult]:
    if engine == "ray":
        from bifocal.apps.batch.engines.ray import run_ray

        return run_ray(worker, tasks, jobs, address=address)
    if jobs == 1 and worker.verb == "analyse" and set(worker.options) <= {"head"}:
        from bifocal.apps.batch.engines.batched import run_batched

        return run_batched(worker, tasks)
    if jobs == 1:
        return map(worker.do, tasks)
    from bifocal.apps.batch.engines.local import run_local

    return run_local(worker, tasks, jobs, lock=manifest.file.fileno() if manifest else None)


def _tasks(pairs: Pairs, manifest: Manifest, key: str, resume: bool, replace: bool) -> Iterator[FileTask]:
    for pair in pairs:
        ours = manifest.is_ours(pair.name)
        # a result that no run has begun is somebody's file, and --resume alone does not replace it
        may_replace = replace or (resume and ours)
        if not ours and (may_replace or not holds_data(pair.target)):
            manifest.begin(pair.name)
        yield FileTask(pair, may_replace, key, manifest.last_record(pair.name) if resume else None)
