"""Benchmarks and studies: what a folder holds, who may import whom, and that commands on pages exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path for folder in ("benchmarks", "studies") for path in (ROOT / folder).rglob("*.py"))
STUDIES = sorted(path.parent for path in (ROOT / "studies").glob("*/README.md"))
#: Studies without figures in a file: a log with records of runs, and one that is to be run again.
WITHOUT_RESULTS = {"shipped_weights", "entropy_tables", "systems", "few_shot", "selic"}
PAGES = sorted(
    page for pattern in ("*.md", "docs/**/*.md", "benchmarks/**/*.md", "studies/**/*.md")
    for page in ROOT.glob(pattern)
)  # fmt: skip


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_a_study_is_a_folder_of_its_own_with_page_command_and_results() -> None:
    assert len(STUDIES) > 10
    listed = (ROOT / "studies" / "README.md").read_text(encoding="utf-8")
    for folder in STUDIES:
        page = (folder / "README.md").read_text(encoding="utf-8")
        assert page.startswith("# ") and page.partition("\n")[0].endswith("?"), f"{folder.name}: no question"
        assert f"({folder.name}/README.md)" in listed
        assert list(folder.glob("test_*.py"))
        assert (folder / "results.json").exists() or folder.name in WITHOUT_RESULTS
    assert all((path / "README.md").exists() for path in (ROOT / "studies").iterdir() if [*path.glob("*.py")])


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_a_script_says_what_it_is_in_short_functions(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} is longer than 60 lines"
        if path.is_relative_to(ROOT / "benchmarks"):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any((name or "").startswith("studies") for name in names), "benchmarks know no study"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_on_a_page_exist_with_their_options(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    shared = (ROOT / "benchmarks" / "reporting.py").read_text(encoding="utf-8")
    for module, rest in re.findall(r"python -m ((?:benchmarks|studies)\.[\w.]+)([^`\n|#]*)", text):
        if module == "studies.NAME.run":
            continue  # how commands are named
        source = ROOT / (module.rstrip(".").replace(".", "/") + ".py")
        assert source.exists(), f"python -m {module} does not exist"
        options = source.read_text(encoding="utf-8") + shared
        for option in re.findall(r"--[\w-]+", rest):
            assert f'"{option}"' in options, f"{module} has no option {option}"
    assert not re.search(r"python (benchmarks|studies)/", text), "scripts are run as modules, by python -m"
