"""kill -9 in the middle of a run: nothing lost, nothing half. benchmarks/batch.py does this fifty times."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from bifocal.apps import batch

pytestmark = pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs POSIX signals")


@pytest.fixture
def script() -> ModuleType:
    import importlib

    return importlib.import_module("benchmarks.batch")


def test_killed_runs_are_resumed_to_the_same_bytes(
    tmp_path: Path, tiny_folder: Path, script: ModuleType
) -> None:
    """At moments counted in finished files, so that every kill comes in the middle on any machine."""
    script.make_pictures(tmp_path / "in", 60)
    model = str(tiny_folder)
    report = batch.run(batch.Worker("encode", model=model), [tmp_path / "in"], tmp_path / "whole")
    expected = script.digests(tmp_path / "whole")
    assert report.done == len(expected) == 60
    for number, (there, whole_group) in enumerate([(1, True), (40, True), (20, False)]):
        kill = script.kill_and_resume(
            tmp_path / "in", tmp_path / f"out{number}", model, expected, there=there, whole_group=whole_group
        )
        assert there <= kill.there and kill.made <= 60 - there + 4


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_cleanly(
    tmp_path: Path, tiny_folder: Path, script: ModuleType, jobs: str, stop: signal.Signals
) -> None:
    script.make_pictures(tmp_path / "in", 100)
    command = script.command(tmp_path / "in", tmp_path / "out", str(tiny_folder), "--jobs", jobs)
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # not ignored, as it is in the background
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    assert "→" in process.stdout.readline()
    os.killpg(process.pid, stop)  # a terminal sends it to all of them
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "--resume goes on" in err
    assert "Traceback" not in err and "files encoded" in err
    whole = len(list((tmp_path / "out").rglob("*.bfc")))
    assert 0 < whole < 100
    assert not [path for path in (tmp_path / "out").rglob("*") if path.name.endswith(".part")]


def test_a_script_without_a_guard_is_told_of_it(
    tmp_path: Path, tiny_folder: Path, script: ModuleType
) -> None:
    script.make_pictures(tmp_path / "in", 4)
    (tmp_path / "script.py").write_text(
        "from bifocal import batch\n"
        f"worker = batch.Worker('encode', model={str(tiny_folder)!r})\n"
        f"batch.run(worker, [{str(tmp_path / 'in')!r}], {str(tmp_path / 'out')!r}, jobs=2)\n"
    )
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "under if __name__ == '__main__'" in done.stderr
    assert time.monotonic() - begun < 60  # it does not start processes for ever
