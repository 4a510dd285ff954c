"""What a user relies on from the first line: the public names, a light import, no torch, one version."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bifocal
from tests.tiny_head import dense_head

ROOT = Path(__file__).parents[2]
HEAVY = ("numpy", "PIL", "onnxruntime", "torch", "typer", "rich", "safetensors", "constriction")


def in_new_process(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_visible_names_are_the_public_ones() -> None:
    seen = "import bifocal; print(*(n for n in dir(bifocal) if not n.startswith('_')))"
    assert in_new_process(seen).split() == sorted(bifocal.__all__)


@pytest.mark.parametrize("name", bifocal.__all__)
def test_a_public_name_is_there_and_documented(name: str) -> None:
    thing = getattr(bifocal, name)
    assert thing.__doc__ and not thing.__doc__.startswith(f"{name}(")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'dekode'"):
        _ = bifocal.dekode


def test_the_import_loads_nothing_heavy() -> None:
    loaded = in_new_process(f"import sys, bifocal; print(*(m for m in {HEAVY} if m in sys.modules))")
    assert loaded == ""


def test_help_of_the_command_loads_nothing_heavy() -> None:
    heavy = tuple(name for name in HEAVY if name not in ("typer", "rich"))
    code = f"import sys, bifocal.apps.cli.main; print(*(m for m in {heavy} if m in sys.modules))"
    assert in_new_process(code) == ""


def test_coding_never_imports_torch_or_onnx(tiny_folder: Path) -> None:
    code = """if True:
        import sys, numpy, bifocal
        model = bifocal.Model.load(sys.argv[1])
        data = bifocal.encode(numpy.full((70, 90, 3), 99, numpy.uint8), model=model)
        assert bifocal.decode(data, model=model).width == 90
        print(*(m for m in ("torch", "onnx", "typer", "rich", "matplotlib") if m in sys.modules))
    """
    assert in_new_process(code, str(tiny_folder)) == ""


def test_reading_labels_never_imports_torch_or_onnx(tiny_folder: Path, tmp_path: Path) -> None:
    model = bifocal.Model.load(tiny_folder)
    head = dense_head(tmp_path / "head.bfh", model.entropy.fingerprint)
    data = bifocal.encode(np.full((70, 90, 3), 99, np.uint8), model=model)
    (tmp_path / "a.bfc").write_bytes(data)
    code = """if True:
        import sys, bifocal
        labels = bifocal.analyse(open(sys.argv[3], "rb").read(), head=sys.argv[2], model=sys.argv[1])
        assert len(labels.names) == 3
        print(*(m for m in ("torch", "onnx", "typer", "rich", "matplotlib") if m in sys.modules))
    """
    assert in_new_process(code, str(tiny_folder), str(head), str(tmp_path / "a.bfc")) == ""


def test_encoding_one_photo_enters_few_files() -> None:
    """Files of ours in which a function runs, from an array to the stream, the model loaded on the way."""
    code = """if True:
        import os, sys, numpy
        from bifocal import encode
        pixels = numpy.random.default_rng(0).integers(0, 256, (64, 64, 3), numpy.uint8)
        entered = set()
        ours = os.path.dirname(sys.modules["bifocal"].__file__)

        def note(frame, event, _):
            name = frame.f_code.co_filename
            if event == "call" and name.startswith(ours) and frame.f_code.co_name != "<module>":
                entered.add(name[len(ours) + 1:])

        sys.setprofile(note)
        encode(pixels)
        sys.setprofile(None)
        print(*sorted(entered))
        print(*(name for name in sys.modules if name.startswith("bifocal.")))
    """
    entered, loaded = (line.split() for line in in_new_process(code).splitlines())
    assert len(entered) <= 20, entered
    assert not {name for name in loaded if "heads" in name or "openvino" in name}, "only when asked"
    assert len(loaded) <= 30, loaded


def test_errors_that_the_documents_name_are_on_the_face() -> None:
    named = set()
    for path in (*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "SECURITY.md"):
        named |= set(
            re.findall(r"\b[A-Z]\w+(?:Error|Warning|Missing|Exceeded)\b", path.read_text(encoding="utf-8"))
        )
    ours = {name for name in named if hasattr(bifocal.errors, name)}
    assert {"ModelMissing", "PictureWarning"} <= ours <= set(bifocal.__all__)


def test_version_is_the_newest_in_the_changelog() -> None:
    newest = re.search(
        r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert newest is not None and newest.group(1) == bifocal.__version__
