"""The log of training: each run that it lists has its record here."""

from __future__ import annotations

import json
import re
from pathlib import Path

FOLDER = Path(__file__).parent


def test_runs_of_the_log_have_their_records() -> None:
    log = (FOLDER / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| (\d+) \|", log, re.MULTILINE))
    records = {path.name.partition("-")[0]: path for path in (FOLDER / "runs").iterdir()}
    assert listed <= set(records)
    for number in listed:
        record = json.loads((records[number] / "run.json").read_text(encoding="utf-8"))
        (steps,) = re.findall(rf"^\| {number} \|(?:[^|]*\|){{5}} ([\d,]+) \|", log, re.MULTILINE)
        assert int(steps.replace(",", "")) == record["steps"], f"run {number}"
