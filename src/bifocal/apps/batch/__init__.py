"""Many pictures: one picklable worker, and the engines that feed it files.

>>> from bifocal import batch
>>> worker = batch.Worker("encode", {"quality": 40})
>>> batch.run(worker, ["photos"], "streams", jobs=2, resume=True)  # doctest: +SKIP
RunSummary(done=200, kept=0, failed=(), seconds=41.3, bytes_in=97216012, bytes_out=5120313)
"""

from bifocal.apps.batch import ray
from bifocal.apps.batch.runs import RunSummary, find_streams, read, run
from bifocal.apps.batch.worker import FileResult, FileTask, Worker
from bifocal.storage.paths import Pair

__all__ = ["FileResult", "FileTask", "Pair", "RunSummary", "Worker", "find_streams", "ray", "read", "run"]
