"""Every example that we show runs: those in docstrings, and the Python of README and of pages."""

from __future__ import annotations

import doctest
import importlib
import os
import pkgutil
import re
from pathlib import Path

import pytest

import bifocal

ROOT = Path(__file__).parents[2]
MODULES = [
    "bifocal",
    *(
        module.name
        for module in pkgutil.walk_packages(bifocal.__path__, "bifocal.")
        if "__main__" not in module.name
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name: str) -> None:
    module = importlib.import_module(name)
    results = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.failed == 0


#: Pages whose Python runs, block after block, in one namespace.
PAGES = (
    *("README.md", "docs/pictures.md", "docs/reading.md", "docs/heatvit.md", "docs/training.md"),
    "docs/lowbit.md",
)


def blocks(page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_python_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks run in order, in one namespace, in a folder where the sample picture is called photo.jpg."""
    from PIL import Image

    with Image.open(ROOT / "examples" / "coffee.png") as image:
        image.convert("RGB").crop((0, 0, 192, 128)).save(tmp_path / "photo.jpg", quality=95)
    monkeypatch.chdir(tmp_path)
    assert os.getcwd() == str(tmp_path)
    namespace: dict[str, object] = {}
    for block in blocks(page):
        exec(compile(block, page, "exec"), namespace)  # our own text, which we promise runs
