"""Spawned processes: deaths are outcomes, few files are in flight, and nobody outlives the run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bifocal.apps.batch.engines.local import run_local
from bifocal.apps.batch.worker import FileTask
from bifocal.errors import BatchError
from bifocal.storage.paths import Pair
from tests.apps.batch.crashing import Crashing, Unable


def tasks(folder: Path, *names: str) -> Iterator[FileTask]:
    return (FileTask(Pair(name, f"in/{name}", str(folder / name))) for name in names)


def gone(process: int) -> bool:
    """Whether a process has ended; one that nobody has waited for counts as ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_process_that_dies_fails_one_file_and_is_replaced(tmp_path: Path) -> None:
    names = ["a", "half-kill", "b", "exit", "c", "d"]
    found = {o.pair.name: o for o in run_local(Crashing("encode"), tasks(tmp_path, *names), 2)}
    assert sorted(found) == sorted(names)
    assert {name for name, outcome in found.items() if outcome.state == "failed"} == {"half-kill", "exit"}
    assert "in/half-kill: its worker process was killed (SIGKILL)" in found["half-kill"].error
    assert "memory ran out" in found["half-kill"].error
    assert "ended with status 3" in found["exit"].error
    assert list(tmp_path.iterdir()) == []  # its half is gone


def test_few_files_are_in_flight_whatever_their_number(tmp_path: Path) -> None:
    given = 0

    def counted() -> Iterator[FileTask]:
        nonlocal given
        for task in tasks(tmp_path, *map(str, range(200))):
            given += 1
            yield task

    for number, _ in enumerate(run_local(Crashing("encode"), counted(), 2)):
        assert given <= number + 4
    assert given == 200


def test_processes_that_cannot_start_are_one_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BatchError, match=r"cannot start.*__main__"):
        list(run_local(Unable("encode"), tasks(tmp_path, "a", "b", "c"), 2))
    assert "not here" in capfd.readouterr().err


def test_closing_kills_at_once_and_takes_halves_along(tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    (tmp_path / "out").mkdir()
    worker = Crashing("encode", mark=str(tmp_path / "marks"))
    stream = run_local(worker, tasks(tmp_path / "out", "a", "half-hang", "b", "c"), 2)
    assert next(stream).pair.name == "a"
    while not list((tmp_path / "out").iterdir()):
        time.sleep(0.01)
    stream.close()
    assert all(gone(int(mark.name)) for mark in (tmp_path / "marks").iterdir())
    assert list((tmp_path / "out").iterdir()) == []


def test_nobody_is_left_when_all_is_done(tmp_path: Path) -> None:
    worker = Crashing("encode", mark=str(tmp_path))
    assert len(list(run_local(worker, tasks(tmp_path / "out", *"abcdef"), 2))) == 6
    assert all(gone(int(mark.name)) for mark in tmp_path.iterdir())
