"""The house rules that a machine can check: who imports whom, file lengths, names, nothing unpickled."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "bifocal"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TRACKED = SOURCES + sorted((ROOT / "tests").rglob("*.py"))

BELOW_API = {"runtime", "stream", "pictures", "types", "errors"}
LEARNING = {"training", "systems", "nets", "hardware"}
EVERYTHING_BELOW = BELOW_API | LEARNING | {"api", "measure"}

#: Room: the rooms it may import, and the packages from outside.
RULES: dict[str, tuple[set[str], set[str]]] = {
    "errors": (set(), {"numpy"}),
    "types": ({"errors"}, {"numpy"}),
    "stream": ({"types", "errors"}, {"numpy", "constriction", "safetensors"}),
    "pictures": ({"types", "errors"}, {"numpy", "PIL", "fsspec"}),
    "runtime": (BELOW_API - {"runtime"}, {"numpy", "onnxruntime", "openvino", "safetensors"}),
    "api": (BELOW_API, {"numpy"}),
    "hardware": ({"types", "errors"}, {"numpy", "numba"}),
    "nets": ({"stream", "hardware", "types", "errors"}, {"numpy", "torch"}),
    "systems": ({"nets", "stream", "hardware", "types", "errors"}, {"numpy", "torch"}),
    "training": (
        BELOW_API | LEARNING,
        {"numpy", "torch", "onnx", "safetensors", "PIL", "matplotlib"},
    ),
    "measure": (EVERYTHING_BELOW, {"numpy", "PIL", "matplotlib", "imagecodecs", "torch", "onnxruntime"}),
    "batch": (BELOW_API | {"api"}, set()),
    "cli": (EVERYTHING_BELOW | {"batch"}, {"typer", "rich", "torch"}),
    "__main__": ({"cli"}, set()),
    "plugins": (BELOW_API | {"api"}, {"numpy", "PIL", "imageio"}),
    "__init__": (BELOW_API | {"api", "plugins"}, set()),
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in a file, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            # `from bifocal import api` names a room only with its last part
            yield from (f"{module}.{alias.name}" if module == "bifocal" else module for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_the_rooms_below_it(path: Path) -> None:
    room = room_of(path)
    rooms, packages = RULES[room]
    for name in imports(ast.parse(path.read_text(encoding="utf-8"))):
        top, _, rest = name.partition(".")
        if top != "bifocal":
            assert top in sys.stdlib_module_names or top in packages, f"{room} imports {name}"
        elif rest == "":  # the public face: for what stands above it
            assert "api" in rooms, f"{room} imports {name}"
        elif rest != "__version__":
            assert rest.partition(".")[0] in rooms | {room}, f"{room} imports {name}"


@pytest.mark.parametrize("path", TRACKED, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_at_most_400_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_says_what_it_is_and_is_named_for_it(path: Path) -> None:
    assert not {"utils", "helpers", "common", "base", "manager"} & set(re.split(r"[_.]", path.name))
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", TRACKED, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_ever_unpickled(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not {"pickle", "dill", "joblib", "shelve", "marshal", "torchvision"} & {
        name.partition(".")[0] for name in imports(tree)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "np.load", "numpy.load"):
            options = {option.arg: ast.unparse(option.value) for option in node.keywords}
            safe = options.get("weights_only") == "True" or options.get("allow_pickle") == "False"
            assert safe, f"line {node.lineno}: {ast.unparse(node)} may run what is in the file"
