"""Encoding one photograph by the command runs code in few of our files, and loads no machinery for many."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from PIL import Image

SCRIPT = """if True:
    import sys
    import bifocal
    package = bifocal.__file__.removesuffix("__init__.py")
    entered = set()

    def note(frame, event, arg):
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(package) and frame.f_code.co_name != "<module>":
            while frame and not (frame.f_code.co_name == "<module>" and package in frame.f_code.co_filename):
                frame = frame.f_back
            if frame is None:  # not while a module is imported
                entered.add(name.removeprefix(package))

    sys.setprofile(note)
    from bifocal.apps.cli.main import run
    try:
        run()
    except SystemExit as left:
        sys.setprofile(None)
        assert not left.code, left.code
    print(*sorted(entered))
    print(*sorted(name for name in sys.modules if name.startswith("bifocal.")))
"""


#: Files of ours in which a function runs.
MOST = 30


def test_one_photograph_enters_few_files(tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 30).convert("RGB").save(tmp_path / "photo.jpg")
    command = [sys.executable, "-c", SCRIPT, "encode", "photo.jpg", "-o", "photo.bfc"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *_, entered, loaded = done.stdout.splitlines()
    assert len(entered.split()) <= MOST, entered
    assert not any(name.startswith("bifocal.apps.batch") for name in loaded.split())
    others = {"classify", "info", "bench", "doctor", "faults", "models", "runs", "display"}
    assert not {f"bifocal.apps.cli.{name}" for name in others} & set(loaded.split())
