"""What a code host reads of the repository: the citation, issue forms, hooks, and the hosted checks."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import bifocal

ROOT = Path(__file__).parents[2]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def parsed(path: Path) -> Any:
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with Sphinx")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_citation_is_valid_and_names_this_release() -> None:
    citation = parsed(ROOT / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()  # what the format demands
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert all(author.get("name") or author.get("family-names") for author in citation["authors"])
    assert citation["version"] == bifocal.__version__
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["license"] == project["license"]
    assert citation["repository-code"] == project["urls"]["Source"]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_an_issue_form_has_what_the_host_asks_for(path: Path) -> None:
    form = parsed(path)
    if path.name == "config.yml":
        assert {"name", "url", "about"} == set(form["contact_links"][0])
        return
    assert {"name", "description", "body"} <= form.keys()
    names = [part["id"] for part in form["body"]]
    assert len(names) == len(set(names))
    for part in form["body"]:
        assert part["type"] in ("input", "textarea", "checkboxes", "dropdown", "markdown")
        assert part["attributes"]["label"]
    assert any(part.get("validations", {}).get("required") for part in form["body"])


def test_hooks_call_the_tools_of_the_development_environment() -> None:
    for repository in parsed(ROOT / ".pre-commit-config.yaml")["repos"]:
        assert repository["repo"] == "local"  # nothing is downloaded that is not pinned
        for hook in repository["hooks"]:
            assert {"id", "name", "entry", "language"} <= hook.keys()
            assert hook["entry"].startswith(".venv-dev/bin/") and hook["language"] == "system"


def test_hosted_checks_cover_three_systems_and_call_targets_that_exist() -> None:
    path = ROOT / ".github" / "workflows" / "ci.yml"
    text, jobs = path.read_text(encoding="utf-8"), parsed(path)["jobs"]
    for name in ("tests", "plain-install"):
        systems = jobs[name]["strategy"]["matrix"]["system"]
        assert {system.partition("-")[0] for system in systems} == {"ubuntu", "macos", "windows"}
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]
    assert oldest.removeprefix(">=") == jobs["tests"]["strategy"]["matrix"]["python"][0]
    targets = {row["target"] for row in jobs["libraries"]["strategy"]["matrix"]["include"]}
    targets |= set(re.findall(r"make ([a-z][a-z-]*)", text))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"the Makefile has no target {target}"
