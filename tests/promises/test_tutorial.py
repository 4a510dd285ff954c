"""docs/tutorial.md: what it shows stands in examples/my_codec.py, and that file does what the page says."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import bifocal
from bifocal.learn.systems import registry

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "my_codec.py"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The file as a module; its codec is registered for this test alone."""
    monkeypatch.setattr(registry, "SYSTEMS", dict(registry.SYSTEMS))
    spec = importlib.util.spec_from_file_location("my_codec", EXAMPLE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "my_codec", module)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_file() -> None:
    page, code = (ROOT / "docs" / "tutorial.md").read_text("utf-8"), EXAMPLE.read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    for block in blocks:
        assert block in code
    assert len(code.splitlines()) < 150


def test_the_file_trains_packs_and_codes(
    example: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.full((70, 90, 3), 120, np.uint8)
    pixels[20:50, 30:60] = (200, 40, 90)
    picture = tmp_path / "photo.png"
    Image.fromarray(pixels).save(picture)
    example.main([str(picture), "--steps", "2", "--out", str(tmp_path / "out")])
    assert "bits a pixel" in capsys.readouterr().out
    decoded = np.asarray(Image.open(tmp_path / "out" / "picture.png"))
    assert decoded.shape == pixels.shape
    stream = (tmp_path / "out" / "picture.bfc").read_bytes()
    assert bifocal.info(stream).model is None  # a packed model in a folder is not an installed one
    again = bifocal.decode(stream, model=tmp_path / "out" / "packed").pixels
    assert np.array_equal(decoded, again)
