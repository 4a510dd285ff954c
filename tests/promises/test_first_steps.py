"""docs/first_steps.md: every cell runs, in the order of the page, and prints what the page shows."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "first_steps.md"
NUMBER = re.compile(r"\d+(?:\.\d+)?")


def same(shown: str, printed: str) -> bool:
    """The same text, and numbers within 3 %: pixels and sizes may differ a little between machines.

    >>> same("600×400 pixels, 26011 bytes", "600×400 pixels, 26100 bytes")
    True
    """
    numbers = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=False)
    close = all(abs(float(one) - float(two)) <= max(0.03 * float(one), 0.03) for one, two in numbers)
    return NUMBER.sub("#", shown).split() == NUMBER.sub("#", printed).split() and close


def test_every_cell_runs_and_prints_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "coffee.png", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    cells = re.findall(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```)?", text, re.DOTALL | re.MULTILINE)
    assert len(cells) > 8
    namespace: dict[str, object] = {}
    for code, shown in cells:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, PAGE.name, "exec"), namespace)  # our own text, which we promise runs
        assert same(shown, printed.getvalue()), (
            f"{code}\nprints\n{printed.getvalue()}\nand the page shows\n{shown}"
        )
