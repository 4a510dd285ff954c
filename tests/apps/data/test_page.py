"""Every command and every line of Python that docs/data.md shows works, in the order of the page."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

import bifocal
from bifocal.apps.cli.main import run
from tests.conftest import made_picture

PAGE = Path(__file__).parents[3] / "docs" / "data.md"


@pytest.mark.filterwarnings("ignore")  # WebDataset leaves its shards open
def test_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("webdataset")
    monkeypatch.chdir(tmp_path)
    for seed in range(4):
        path = Path("photos", "ab"[seed % 2], f"{seed}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        bifocal.write_picture(bifocal.Picture(made_picture(64, 80, seed=seed)), path)
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.M)
    seen: dict[str, object] = {"__name__": "__main__"}
    for kind, block in blocks:
        if kind == "python":
            exec(compile(block, PAGE.name, "exec"), seen)  # our own text
            continue
        for line in block.splitlines():
            monkeypatch.setattr(sys, "argv", shlex.split(line.replace("--jobs 2", "--jobs 1")))
            with pytest.raises(SystemExit) as left:
                run()
            assert left.value.code == 0
    assert seen["latents"].shape == (192, 4, 4) and seen["label"] in (0, 1)  # type: ignore[attr-defined]
