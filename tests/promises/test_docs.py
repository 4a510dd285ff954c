"""Pages: links and anchors resolve, files and modules that are named exist, sentences are short."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

import bifocal
import bifocal.errors
from tests.promises.test_house import RULES

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "bifocal"
FOLDERS = ("docs", "studies", "benchmarks", "examples", "src")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
#: What people read from top to bottom.
GUIDES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
LONGEST_SENTENCE = 45


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """The text of a page without its code, tables and comments."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("|"))


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts and the site spell them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_inside_the_repository_resolve(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(
        r"`[^`\n]*`(?!\])", "", text
    )  # code between backticks is no link, unless it is a link's text
    for target in re.findall(r"\]\(([^()\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue  # other places are not asked: tests need no network
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target} is not there"
        assert file.is_relative_to(ROOT), f"{target} is outside of the repository"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{file.name} has no heading #{anchor}"


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_files_and_folders_named_in_a_guide_exist(page: Path) -> None:
    """A path in backticks that begins with a room of the package, or a folder of the repository."""
    tops = {path.name: PACKAGE for path in PACKAGE.iterdir() if path.is_dir()}
    tops |= {
        path.name: ROOT for path in ROOT.iterdir() if path.is_dir() and path.name not in ("runs", "data")
    }
    for path in re.findall(r"`([\w.-]+/[\w./-]*)`", prose(page)):
        top = tops.get(path.partition("/")[0])
        assert top is None or (top / path).exists(), f"{path} does not exist"


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_modules_named_in_a_guide_exist(page: Path) -> None:
    for name in re.findall(
        r"\b(?:from|import) (bifocal(?:\.\w+)+)|`(bifocal\.\w+\.[\w.]+)", page.read_text("utf-8")
    ):
        parts = (name[0] or name[1]).rstrip(".").split(".")[1:]
        module = PACKAGE
        while parts and (module / parts[0]).is_dir():
            module /= parts.pop(0)
        found = not parts or (module / f"{parts[0]}.py").is_file() or parts[0] in vars_of(module)
        assert found, f"{name} does not exist"


def vars_of(package: Path) -> str:
    """The text of a package's ``__init__``: what it names can be imported from it."""
    return (package / "__init__.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_words_are_those_of_the_field(page: Path) -> None:
    found = re.search(
        r"\b(with a word|referees?|rivals?|twins?|mended|thrifty|golden machine)\b", prose(page)
    )
    assert found is None, f"{found.group() if found else ''}: say what the field says"


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_sentences_are_short(page: Path) -> None:
    text = re.sub(r"\]\([^)]*\)", "]", prose(page))
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )|\n(?=#)", text)
    sentences = [part for block in blocks for part in re.split(r"(?<=[.!?])[)\"*]*\s+", block)]
    long = [sentence for sentence in sentences if len(sentence.split()) > LONGEST_SENTENCE]
    assert not long, f"{len(long[0].split())} words: {long[0]}"


def test_every_public_name_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    shown = set(
        re.findall(
            r"^\.\. auto(?:function|class|exception|module):: (?:bifocal\.)?(\w+)$", page, re.MULTILINE
        )
    )
    shown |= set(vars(bifocal.errors))  # that module is there as a whole
    assert set(bifocal.__all__) <= shown


def test_every_guide_is_in_the_navigation_of_the_site() -> None:
    shown = set(re.findall(r'"docs/(\w+)"', (ROOT / "docs" / "conf.py").read_text(encoding="utf-8")))
    for page in (ROOT / "docs").glob("*.md"):
        assert page.stem in shown, f"{page.name} is in no heading of docs/conf.py"


def test_the_tree_of_the_architecture_page_is_the_tree() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    block = page.partition("## 5. The tree")[2].partition("```\n")[2].partition("```")[0]
    shown, above = set(), [PACKAGE]
    for line in block.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        for name in re.findall(r"[\w_]+/(?= |$)", line):
            folder = above[depth] / name
            above[depth + 1 :] = [folder]
            shown.add(folder.relative_to(PACKAGE).as_posix())
    folders = {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")} - {"."}
    assert shown - folders <= {"models", "learn/recipes"}  # these hold no Python
    assert folders - shown == set()


def test_rooms_import_only_rooms_above_them_on_the_architecture_page() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("| room | imports |")[2].partition("\n\n")[0]
    rows = [
        re.findall(r"`([\w.]+)`", line.split("|")[1]) for line in table.splitlines() if line.count("|") > 2
    ]
    height = {room: number for number, rooms in enumerate(rows) for room in rooms}
    assert set(RULES) - set(height) == {"apps", "learn", "__main__", "__init__"}
    for room in height:
        for other in RULES[room][0] - {room}:
            assert height[other] <= height[room], f"{room} may import {other}, which the page has below it"
