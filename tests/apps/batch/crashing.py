"""A worker that dies, hangs or fails as the name of its file says, for tests of what runs it."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from bifocal.apps.batch.worker import FileResult, FileTask, Worker
from bifocal.storage.filesystem import part_prefix


@dataclass(frozen=True)
class Crashing(Worker):
    """Writes nothing of its own; ``mark`` names a folder where it leaves its process id."""

    mark: str = ""

    def do(self, task: FileTask) -> FileResult:
        name = task.pair.name
        if self.mark:
            Path(self.mark, str(os.getpid())).touch()
        if "half" in name:
            target = Path(task.pair.target)
            target.with_name(f"{part_prefix(target.name)}abc.part").write_bytes(b"half")
        if "kill" in name:
            os.kill(os.getpid(), signal.SIGKILL)
        if "exit" in name:
            os._exit(3)
        if "hang" in name:
            time.sleep(600)
        return FileResult(task.pair, "done")


@dataclass(frozen=True)
class Unable(Worker):
    """Cannot be made in another process."""

    def __setstate__(self, state: object) -> None:
        raise RuntimeError("not here")
