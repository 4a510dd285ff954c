"""The table of public designs: what it says of itself, and how a repository is read."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from benchmarks.fault_designs import COLUMNS, extract, read_table

ROOT = Path(__file__).parents[2]


def test_the_guide_says_how_many_of_the_table_run() -> None:
    rows = read_table()
    assert all(tuple(row) == COLUMNS and re.fullmatch("[0-9a-f]{40}", row["commit"]) for row in rows)
    assert len({row["design"] for row in rows}) == len(rows) and all(row["what_happened"] for row in rows)
    running = sum(row["runs"] == "yes" for row in rows)
    said = re.search(r"lists (\d+) public designs.*?(\d+) of them run", _guide(), re.DOTALL)
    assert said is not None and (int(said[1]), int(said[2])) == (len(rows), running)


def _guide() -> str:
    return (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")


def test_only_hdl_is_taken_out_of_a_repository(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    (source / "rtl").mkdir(parents=True)
    out.mkdir()
    (source / "rtl" / "a.v").write_text("module a; endmodule\n")
    (source / "run.sh").write_text("exit 1\n")
    git = ["git", "-C", str(source), "-c", "user.name=t", "-c", "user.email=t@t"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *words], check=True)
    extract(source, "HEAD", out)
    assert [str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()] == ["rtl/a.v"]
