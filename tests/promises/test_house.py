"""The house rules that a machine can check: who imports whom, file lengths, names, nothing unpickled."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from radon.complexity import cc_rank, cc_visit

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "bifocal"
SOURCES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted(path for folder in ("benchmarks", "studies") for path in (ROOT / folder).rglob("*.py"))
TRACKED = SOURCES + SCRIPTS + sorted((ROOT / "tests").rglob("*.py"))

LOWER = {"runtime", "stream", "pictures", "storage", "types", "errors", "_version"}
LEARN = {
    "learn.recipe",
    "learn.checkpoint",
    "learn.unpack",
    *("learn.training", "learn.packing", "learn.lowbit", "learn.data", "learn.systems", "learn.nets"),
    "learn.search",
}
BELOW_APPS = LOWER | LEARN | {"api", "measure", "hardware", "hardware.cost"}

#: Room: the rooms it may import, and the packages from outside. A room with a dot is part of one above it.
RULES: dict[str, tuple[set[str], set[str]]] = {
    "_version": (set(), set()),
    "errors": ({"_version"}, set()),
    "types": ({"errors"}, {"numpy", "PIL"}),
    "storage": ({"types", "errors"}, {"fsspec"}),
    "stream": ({"types", "errors"}, {"numpy", "constriction", "safetensors"}),
    "pictures": ({"storage", "types", "errors"}, {"numpy", "PIL", "pillow_heif"}),
    "runtime": (LOWER, {"numpy", "onnxruntime", "openvino", "safetensors"}),
    "api": (LOWER, {"numpy"}),
    "hardware": ({"storage", "types", "errors"}, {"numpy", "numba"}),
    # the table coder of streams codes activations, too
    "hardware.cost": (
        {"hardware", "stream", "storage", "types", "errors"},
        {"numpy", "numba", "onnx", "onnxruntime", "zstandard", "lz4"},
    ),
    "learn.nets": ({"stream", "hardware", "types", "errors"}, {"numpy", "torch"}),
    "learn.systems": ({"learn.nets", "stream", "hardware", "types", "errors"}, {"numpy", "torch"}),
    "learn.recipe": ({"learn.systems", "learn.nets", "errors"}, set()),
    "learn.unpack": (
        {"runtime", "stream", "learn.systems", "learn.nets", "errors"},
        {"numpy", "torch"},
    ),
    "learn.checkpoint": (
        {"runtime", "learn.systems", "learn.nets", "learn.unpack", "storage", "errors"},
        {"torch", "safetensors"},
    ),
    "learn.data": (LOWER, {"numpy", "torch", "PIL"}),
    "learn.packing": (
        LOWER | LEARN - {"learn.training", "learn.lowbit", "learn.search"},
        {"numpy", "torch", "onnx", "onnxruntime", "safetensors"},
    ),
    "learn.lowbit": ({"learn.nets", "learn.packing", "hardware", "storage", "errors"}, {"numpy", "torch"}),
    "learn.search": (
        LOWER | {"learn.nets", "learn.packing", "hardware"},
        {"numpy", "torch", "onnx", "onnxruntime"},
    ),
    "learn.training": (
        LOWER | LEARN | {"hardware"},
        {"numpy", "torch", "onnx", "matplotlib", "PIL", "pycocotools"},
    ),
    "measure": (
        LOWER | LEARN | {"api", "hardware", "hardware.cost"},
        {"numpy", "PIL", "matplotlib", "imagecodecs", "torch", "onnxruntime"},
    ),
    "apps.batch": (LOWER | {"api"}, {"numpy", "ray"}),
    "apps.web": (
        LOWER | {"api", "measure", "hardware", "apps.batch"},
        {"numpy", "PIL", "starlette", "uvicorn"},
    ),
    "apps.data": (LOWER | {"apps.batch"}, {"numpy", "torch", "datasets"}),
    "apps.cli": (
        BELOW_APPS | {"apps.batch", "apps.data", "apps.desktop", "apps.web"},
        {"typer", "rich", "torch"},
    ),
    "apps.desktop": ({"apps.plugins", "stream", "storage", "errors"}, set()),
    "apps.plugins": (LOWER | {"api"}, {"numpy", "PIL", "imageio"}),
    "apps": (set(), set()),
    "learn": (LEARN | {"stream"}, set()),
    "__main__": ({"apps.cli"}, set()),
    "__init__": (LOWER | {"_version", "api", "apps.batch", "apps.data", "apps.plugins"}, set()),
}


def room_of(module: str) -> str:
    """The room of a module: the longest name of the rules that it is in.

    >>> room_of("learn.nets.codec"), room_of("stream.plan")
    ('learn.nets', 'stream')
    """
    parts = module.split(".")
    names = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next(name for name in names if name in RULES)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imports(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in a file, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            module = node.module or ""
            # `from bifocal.apps import batch` names a room only with its last part
            wing = module in ("bifocal", "bifocal.apps", "bifocal.learn")
            yield from (f"{module}.{alias.name}" if wing else module for alias in node.names)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_the_rooms_below_it(path: Path) -> None:
    room = room_of(module_of(path))
    rooms, packages = RULES[room]
    for name in imports(ast.parse(path.read_text(encoding="utf-8"))):
        top, _, rest = name.partition(".")
        if top != "bifocal":
            assert top in sys.stdlib_module_names or top in packages, f"{room} imports {name}"
        elif rest == "":  # the public face: for what stands above it
            assert "api" in rooms, f"{room} imports {name}"
        elif rest != "__version__":
            assert room_of(rest) in rooms | {room}, f"{room} imports {name}"


@pytest.mark.parametrize("path", TRACKED, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_at_most_400_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_a_function_is_at_most_60_lines() -> None:
    long = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                long |= {f"{module_of(path)}.{node.name}"} if lines > 60 else set()
    assert not long


def test_functions_are_simple_enough_to_follow() -> None:
    """By cyclomatic complexity: none that radon grades E or F, at most five that it grades D."""
    graded: dict[str, list[str]] = {"D": [], "E": [], "F": []}
    for path in SOURCES:
        for block in cc_visit(path.read_text(encoding="utf-8")):
            if block.letter in "FM" and (grade := cc_rank(block.complexity)) in graded:
                graded[grade].append(f"{module_of(path)}.{block.name}")
    assert len(graded["D"]) <= 5 and graded["E"] == graded["F"] == [], graded


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
