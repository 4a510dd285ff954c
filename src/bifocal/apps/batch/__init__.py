"""Many pictures: one picklable worker, and the engine that feeds it files.

>>> from bifocal import batch
>>> worker = batch.Worker("encode", {"quality": 40})
>>> batch.run(worker, ["photos"], "streams", jobs=2, resume=True)  # doctest: +SKIP
Report(done=200, kept=0, failed=(), seconds=41.3, bytes_in=97216012, bytes_out=5120313)
"""

from bifocal.apps.batch.labels import labels_json
from bifocal.apps.batch.runs import Report, label, run
from bifocal.apps.batch.worker import Outcome, Task, Worker
from bifocal.storage.paths import Pair

__all__ = ["Outcome", "Pair", "Report", "Task", "Worker", "label", "labels_json", "run"]
