"""The documentation site builds without a warning, and its pages are joined up."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote

import pytest

import bifocal

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("sphinx") is None or find_spec("myst_parser") is None:
        pytest.skip("Sphinx is not installed: it comes with the dev extra")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", ".", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_first_page_is_the_readme_with_the_navigation(site: Path) -> None:
    page = (site / "README.html").read_text(encoding="utf-8")
    assert "url=README.html" in (site / "index.html").read_text(encoding="utf-8")
    for heading in ("Start", "Guides", "Reference", "Studies", "Architecture"):
        assert f'<span class="caption-text">{heading}</span>' in page


def test_every_public_name_has_its_docstring_in_the_reference(site: Path) -> None:
    page = (site / "docs" / "reference.html").read_text(encoding="utf-8")
    for name in (*bifocal.__all__, "batch.Worker", "errors.ModelMissing", "hardware.Netlist", "learn.fit"):
        assert re.search(rf'id="(?:module-)?bifocal\.(?:errors\.)?{re.escape(name)}"', page), name


def test_links_between_pages_lead_somewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        for target in re.findall(r'href="([^"]+)"', page.read_text(encoding="utf-8")):
            path = unquote(target.partition("#")[0].partition("?")[0])
            if path and not re.match(r"[a-z]+:", path):
                assert (page.parent / path).exists(), f"{page.relative_to(site)} links to {target}"
