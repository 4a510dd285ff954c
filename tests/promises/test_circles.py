"""No module of the package imports itself by way of others, not even inside a function."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from bifocal.hardware.circuits.order import find_loops

PACKAGE = Path(__file__).parents[2] / "src" / "bifocal"


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node of a file but those under ``if TYPE_CHECKING:``, which never run."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for other in node.orelse:
                yield other
                yield from statements(other)
        else:
            yield node
            yield from statements(node)


def imported(tree: ast.AST, modules: set[str]) -> set[str]:
    """The modules of ours that a file names in its imports, at the top or inside functions.

    ``from bifocal.a import b`` is of ``bifocal.a.b`` where that is a module, and else of ``bifocal.a``: a
    package that loads its names only when they are asked for does not depend on them.
    """
    found = set()
    for node in statements(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & modules
            found |= {node.module or ""} if names - modules else set()
    return found & modules


def import_circles(sources: dict[str, str]) -> list[list[str]]:
    """The circles among modules, given by name with their text.

    >>> import_circles({"a": "import b", "b": "def f(): from a import x", "c": "import a"})
    [['a', 'b']]
    """
    names = sorted(sources)
    number = {name: i for i, name in enumerate(names)}
    graph = {
        number[name]: sorted(number[other] for other in imported(ast.parse(text), set(names)) - {name})
        for name, text in sources.items()
    }
    return [[names[i] for i in loop] for loop in find_loops(graph)]


def test_there_are_no_import_circles() -> None:
    sources = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(("bifocal", *path.relative_to(PACKAGE).with_suffix("").parts))
        sources[name.removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    assert import_circles(sources) == []


def test_a_circle_is_found_where_there_is_one() -> None:
    lazy = "def f():\n    from bifocal.a import x\n"
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from bifocal.a import x\n"
    ours = {"bifocal": "", "bifocal.a": "import bifocal.b"}
    assert import_circles({**ours, "bifocal.b": lazy}) == [["bifocal.a", "bifocal.b"]]
    assert import_circles({**ours, "bifocal.b": typed}) == []
    assert import_circles({**ours, "bifocal.b": "from bifocal import a"}) == [["bifocal.a", "bifocal.b"]]
