"""examples/train_pack_encode.sh tells the whole story; here with a tiny codec and two steps."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bifocal
from tests.conftest import made_picture
from tests.contract.tiny_systems import TINY

ROOT = Path(__file__).parents[2]
RECIPE = """\
codec = "lowfirst"
exact = true
crop = 64
batch = 2
validation = 2
kernel_lr = 0.0
warmup = 1
"""


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``bifocal`` and ``bifocal-train`` on the PATH, from this checkout."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, module in (
        ("bifocal", "bifocal.apps.cli.main"),
        ("bifocal-train", "bifocal.apps.cli.train.main"),
    ):
        script = folder / name
        script.write_text(f"#!{sys.executable}\nfrom {module} import run\nrun()\n")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


@pytest.mark.skipif(shutil.which("sh") is None, reason="a script for a POSIX shell")
@pytest.mark.usefixtures("commands")
def test_the_script_trains_packs_codes_and_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        picture = tmp_path / "photos" / ("dark" if number % 2 else "light") / f"{number}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        pixels = made_picture(128, 136, seed=number)
        bifocal.write_picture(bifocal.Picture(pixels // 2 if number % 2 else pixels), picture)
    sizes = "\n".join(f"{key} = {value}" for key, value in TINY["lowfirst"].items())
    (tmp_path / "tiny.toml").write_text(f"{RECIPE}[system]\n{sizes}\n")
    monkeypatch.setenv("STEPS", "2")
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    script = ROOT / "examples" / "train_pack_encode.sh"
    done = subprocess.run(
        ["sh", str(script), "photos", "tiny.toml", "5"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with_head = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"codec", "model", "photo.bfc", "photo.png", "head.bfh"} <= with_head
    assert bifocal.read_picture(tmp_path / "out" / "photo.png").width == 136
    assert "dark" in done.stdout or "light" in done.stdout
