"""Many pictures: one picklable worker, and the engines that feed it files.

>>> from bifocal import batch
>>> worker = batch.Worker("encode", {"quality": 40})
>>> batch.run(worker, ["photos"], "streams", jobs=2, resume=True)  # doctest: +SKIP
RunSummary(done=200, kept=0, failed=(), seconds=41.3, bytes_in=97216012, bytes_out=5120313)
"""

from typing import TYPE_CHECKING, Any

from bifocal.apps.batch.runs import RunSummary, find_streams, read, run
from bifocal.apps.batch.worker import FileResult, FileTask, Worker
from bifocal.storage.paths import Pair

if TYPE_CHECKING:
    from bifocal.apps.batch import ray

__all__ = ["FileResult", "FileTask", "Pair", "RunSummary", "Worker", "find_streams", "ray", "read", "run"]


def __getattr__(name: str) -> Any:
    """`ray` when it is asked for: a run of files does without."""
    if name != "ray":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return import_module("bifocal.apps.batch.ray")
