"""Every command and every line of Python that docs/batch.md shows works, in the order of the page."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

import bifocal
from bifocal.apps.cli.main import run
from tests.conftest import made_picture

PAGE = Path(__file__).parents[3] / "docs" / "batch.md"


def test_examples_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a.png", "sub/b.png", "c.jpg")):
        Path("photos", name).parent.mkdir(parents=True, exist_ok=True)
        bifocal.write_picture(bifocal.Picture(made_picture(40, 60, seed=seed)), Path("photos", name))
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert {kind for kind, _ in blocks} == {"sh", "python"}
    for kind, block in blocks:
        if kind == "python":
            exec(compile(block, PAGE.name, "exec"), {"__name__": "__main__"})  # our own text
            continue
        for line in block.splitlines():
            monkeypatch.setattr(sys, "argv", shlex.split(line))
            with pytest.raises(SystemExit) as left:
                run()
            assert left.value.code == 0, f"{line}: {capsys.readouterr().err}"
    assert len(list(Path("pictures").rglob("*.webp"))) == 3
