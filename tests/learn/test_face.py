"""The public face of the torch wing: its names, a light import, and the example of its docstring."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bifocal
from bifocal import learn
from tests.conftest import made_picture

RECIPE = """
crop = 64
batch = 2
validation = 1
[system]
analysis_width = 8
analysis_blocks = 1
synthesis_width = 8
synthesis_blocks = 1
latent = 4
hyper = 4
features = 8
context = 8
"""


@pytest.mark.parametrize("name", learn.__all__)
def test_a_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(learn, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'learm'"):
        _ = learn.learm


def test_the_import_loads_nothing_heavy() -> None:
    code = "import sys; from bifocal import learn; print(*dir(learn), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*sorted(learn.__all__), "False"]


def test_the_example_of_the_docstring_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For one step, on a small recipe of that name; and what it packs codes a picture."""
    monkeypatch.chdir(tmp_path)
    Path("recipes").mkdir()
    Path("recipes/lapped.toml").write_text(RECIPE)
    Path("PICTURES").mkdir()
    for number in range(3):
        Image.fromarray(made_picture(128, 130, seed=number)).save(f"PICTURES/{number}.png")
    assert learn.__doc__
    block = re.search(r"::\n\n((?:    .*\n|\n)+)", learn.__doc__)
    assert block is not None and "minutes=60" in block[1]
    exec(textwrap.dedent(block[1]).replace("minutes=60", "steps=1"), {})
    pixels = made_picture(70, 90)
    data = bifocal.encode(pixels, 50, model=Path("my-model"))
    assert np.shape(bifocal.decode(data, model=Path("my-model")).pixels) == pixels.shape
