"""Many pictures: one picklable worker, and the engine that feeds it files.

>>> from bifocal import batch
>>> worker = batch.Worker("encode", {"quality": 40})
>>> batch.run(worker, ["photos"], "streams", jobs=2, resume=True)  # doctest: +SKIP
Report(done=200, kept=0, failed=(), seconds=41.3, bytes_in=97216012, bytes_out=5120313)
"""

from bifocal.batch.runs import Report, run
from bifocal.batch.worker import Outcome, Task, Worker

__all__ = ["Outcome", "Report", "Task", "Worker", "run"]
