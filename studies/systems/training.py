"""Training rows one after the other, by the commands that anyone would give, and keeping their records."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import bifocal
from benchmarks import reporting
from bifocal.errors import TrainingError
from studies.systems.rows import RECORDS, Phase, Row

RECIPES = Path(bifocal.__file__).parent / "learn" / "recipes"
CHECKPOINT = "checkpoint.safetensors"
#: glibc otherwise gives large blocks back to the system at every step.
MEMORY = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "2147483647"}


def checkpoint_of(row: Row, work: Path) -> Path:
    """The checkpoint of a trained row."""
    return _folder(row, len(row.phases) - 1, work) / CHECKPOINT


def is_trained(row: Row, work: Path) -> bool:
    """Whether every phase of a row has made all its steps."""
    return all(_steps_made(_folder(row, n, work)) >= phase.steps for n, phase in enumerate(row.phases))


def train(row: Row, data: Path, work: Path, *, threads: int, device: str = "") -> None:
    """Train what is missing of a row.

    A phase that was interrupted starts anew: a second warm-up would make its row another experiment. Raises
    subprocess.CalledProcessError where a run fails.
    """
    if row.teacher and not (work / row.teacher).is_dir():
        raise TrainingError(f"{row.name} learns from {row.teacher}. Train that row first.")
    before: Path | None = None
    for number, phase in enumerate(row.phases):
        out = _folder(row, number, work)
        if _steps_made(out) < phase.steps:
            _run(_command(row, phase, out, data, work, before, threads, device), out)
        before = out / CHECKPOINT
    write_record(row, work)


def write_record(row: Row, work: Path) -> None:
    """What is committed of a trained row: its run records, in order, and the hash of its checkpoint."""
    runs = [
        json.loads((_folder(row, n, work) / "run.json").read_text("utf-8")) for n in range(len(row.phases))
    ]
    record = {"row": row.name, "checkpoint_sha256": sha256(checkpoint_of(row, work)), "runs": runs}
    reporting.write_json(RECORDS / f"{row.name}.json", record)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder(row: Row, number: int, work: Path) -> Path:
    return work / row.name / f"phase-{number + 1}"


def _steps_made(out: Path) -> int:
    try:
        record = json.loads((out / "run.json").read_text("utf-8"))
        return int(record["steps"]) if (out / CHECKPOINT).exists() else 0
    except (OSError, ValueError, KeyError):
        return 0


def _command(
    row: Row,
    phase: Phase,
    out: Path,
    data: Path,
    work: Path,
    before: Path | None,
    threads: int,
    device: str,
) -> list[str]:
    recipe = _recipe(row, phase, out)
    call = [sys.executable, "-c", "from bifocal.apps.cli.train.main import run; run()"]
    call += ["distil" if row.teacher else "run", str(recipe), "--data", str(data), "--out", str(out)]
    call += ["--minutes", "100000", "--steps", str(phase.steps), "--threads", str(threads)]
    call += ["--device", device] if device else []
    call += ["--resume", str(before)] if before else []
    if row.teacher:
        (teacher,) = sorted((work / row.teacher).glob(f"phase-*/{CHECKPOINT}"))[-1:]
        call += ["--teacher", str(teacher)]
    return call


def _recipe(row: Row, phase: Phase, out: Path) -> Path:
    """The recipe as this row trains it: the shipped one, or a copy with the row's changes."""
    shipped = RECIPES / f"{phase.recipe}.toml"
    if not row.changes:
        return shipped
    keys = "|".join(key for key, _ in row.changes)
    text = re.sub(rf"(?m)^({keys}) *=.*\n", "", shipped.read_text("utf-8"))
    copy = out.parent / f"{shipped.stem}.toml"
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text("".join(f"{key} = {value}\n" for key, value in row.changes) + text, "utf-8")
    return copy


def _run(command: list[str], out: Path) -> None:
    """Run it in a folder without the curves of an interrupted run; its output goes to ``train.log`` there."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("curve.csv", "validation.jsonl", "run.json", CHECKPOINT):
        (out / name).unlink(missing_ok=True)
    with (out / "train.log").open("w", encoding="utf-8") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log, env={**MEMORY, **os.environ})
