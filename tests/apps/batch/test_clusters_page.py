"""The examples of docs/clusters.md that need no cluster: shards, the script for Slurm, columns and Dask."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

import bifocal
from bifocal.apps.cli.main import run
from tests.conftest import made_picture

PAGE = Path(__file__).parents[3] / "docs" / "clusters.md"


@pytest.fixture
def blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The examples by language, in a folder with photos."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for seed, name in enumerate(("a.png", "b.png", "c.png")):
        bifocal.write_picture(bifocal.Picture(made_picture(40, 60, seed=seed)), Path("photos", name))
    found: dict[str, list[str]] = {}
    for kind, block in re.findall(
        r"^```(\w+)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.M
    ):
        found.setdefault(kind, []).append(block)
    return found


def command(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", shlex.split(line))
    with pytest.raises(SystemExit) as left:
        run()
    assert left.value.code == 0


def test_shards_and_the_script_for_slurm(
    blocks: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for line in blocks["sh"][0].splitlines():
        command(line, monkeypatch)
    assert len(list(Path("streams").glob("*.bfc"))) == 3
    (script,) = blocks["bash"]
    line = script.splitlines()[-1]
    for task in (1, 2):
        for name, value in (("TASK_ID", task), ("TASK_COUNT", 2)):
            line = line.replace(f"$SLURM_ARRAY_{name}", str(value))
        command(line.replace("$SLURM_CPUS_PER_TASK", "1").replace("streams", "again"), monkeypatch)
        line = script.splitlines()[-1]
    assert len(list(Path("again").glob("*.bfc"))) == 3


@pytest.mark.filterwarnings("ignore")  # Dask's own
def test_columns_and_dask(blocks: dict[str, list[str]]) -> None:
    columns, dask_block = blocks["python"]
    exec(compile(columns, PAGE.name, "exec"), {"__name__": "__main__"})  # our own text
    dask = pytest.importorskip("dask")
    pytest.importorskip("dask.bag")
    with dask.config.set(scheduler="sync"):
        exec(compile(dask_block, PAGE.name, "exec"), {"__name__": "__main__"})
    assert len(list(Path("dask-streams").rglob("*.bfc"))) == 3
