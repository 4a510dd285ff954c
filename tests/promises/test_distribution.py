"""What is installed: under which name, from which files, and that it works where nothing else of ours is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bifocal._version import DEFAULT_MODEL, DISTRIBUTION, __version__
from bifocal.errors import install_command

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "bifocal"

#: What may be in the wheel: code, models with their cards, recipes, the specification of the format.
SUFFIXES = {".py", ".html", ".css", ".js", ".md", ".toml", ".json", ".onnx", ".safetensors", ".bfh", ".typed"}

#: Ways to ask pip for the distribution that is somebody else's.
FOREIGN = re.compile(
    r"pip3? install (?:-\S+ )*[\"']?bifocal(?!-codec)\b|\bbifocal(?:\[[a-z]+[\],]|[=~<>]=[\s0-9])"
)


def texts() -> Iterator[Path]:
    """Everything that people read or copy from, and our sources."""
    kinds = {".md", ".py", ".toml", ".txt", ".sh", ".yml", ".yaml", ".cff", ".ipynb", ".rst", ""}
    yield from (path for path in ROOT.iterdir() if path.is_file() and path.suffix in kinds)
    for name in ("src", "docs", "tests", "examples", "benchmarks", "studies", ".github", ".ci"):
        found = (ROOT / name).rglob("*")
        yield from (path for path in found if path.is_file() and path.suffix in kinds)


def test_nobody_is_sent_to_the_other_bifocal() -> None:
    for wrong in ("pip install bifocal", "pip install 'bifocal[train]'", "bifocal==0.3.0", "bifocal[bench]"):
        assert FOREIGN.search(wrong), wrong
    for right in (install_command("train"), install_command(release="0.1.0"), "pip install bifocal-codec"):
        assert not FOREIGN.search(right), right
    wrong_lines = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in texts()
        if path != Path(__file__)
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        if FOREIGN.search(line)
    ]
    assert not wrong_lines


def test_the_name_stands_once() -> None:
    """The project's file and the constant that messages use agree, and every address is in one repository."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == DISTRIBUTION
    home = project["urls"]["Homepage"]
    assert set(project["urls"]) == {"Homepage", "Documentation", "Source", "Changelog", "Issues"}
    assert all(address.startswith(home) for address in project["urls"].values())


def test_the_oldest_versions_are_those_that_are_allowed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    for needed in project["dependencies"]:
        name, floor = re.match(r"(\w+)>=([\d.]+)", needed).groups()  # type: ignore[union-attr]
        assert re.fullmatch(re.escape(floor) + r"(\.0)*", pinned[name]), f"{needed}, not {pinned[name]}"


def run(*command: str | Path, folder: Path) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PIP_"))}
    done = subprocess.run([*map(str, command)], cwd=folder, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the sources."""
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, folder=ROOT)
    (archive,) = folder.iterdir()
    return archive


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the unpacked archive of the sources and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, folder=unpacked)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    assert wheel.name == f"bifocal_codec-{__version__}-py3-none-any.whl"
    about = f"bifocal_codec-{__version__}.dist-info/"
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.startswith(about)}
    assert {name.split("/")[0] for name in names} == {"bifocal"}
    assert {Path(name).suffix for name in names} == SUFFIXES
    in_tree = (path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix in SUFFIXES)
    assert names == {f"bifocal/{path.relative_to(PACKAGE).as_posix()}" for path in in_tree}
    assert {
        "bifocal/py.typed",
        "bifocal/stream/SPEC.md",
        f"bifocal/models/{DEFAULT_MODEL}/weights.safetensors",
    } <= names
    assert wheel.stat().st_size < 20 << 20


def test_the_source_archive_leaves_out_what_only_we_need(source: Path) -> None:
    with tarfile.open(source) as archive:
        tops = {name.split("/")[1] for name in archive.getnames()}
    assert {"src", "docs", "examples", "pyproject.toml", "README.md", "LICENSE"} <= tops
    assert not {"tests", "benchmarks", "studies", "checkpoints"} & tops


def test_the_wheel_works_in_a_clean_environment(wheel: Path, tmp_path: Path) -> None:
    """Installed by pip into a new environment; the libraries that it needs are lent by this one."""
    venv.create(tmp_path / "env", symlinks=os.name != "nt")
    programs = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    python = programs / Path(sys.executable).name
    options = ("--quiet", "--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", f"--python={python}", "install", *options, wheel, folder=tmp_path)
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=tmp_path))
    lent = Path(np.__file__).parents[1]
    (site / "lent.pth").write_text(f"{lent}\n")  # its own .pth files, and with them our sources, do not count
    code = """if True:
        import bifocal, numpy, pathlib, importlib.metadata
        pixels = numpy.full((70, 90, 3), 99, numpy.uint8)
        stream = bifocal.encode(pixels, 60)
        assert abs(bifocal.decode(stream).pixels.astype(int) - 99).max() < 9
        assert bifocal.analyse(stream).names
        pathlib.Path("a.bfc").write_bytes(stream)
        print(bifocal.__file__, importlib.metadata.version("bifocal-codec"))
    """
    where, release = run(python, "-c", code, folder=tmp_path).split()
    assert Path(where).is_relative_to(tmp_path / "env") and release == __version__
    bifocal = programs / "bifocal"
    assert run(bifocal, "--version", folder=tmp_path) == f"bifocal {__version__}"
    run(bifocal, "decode", "a.bfc", "--out", "a.png", folder=tmp_path)
    assert (tmp_path / "a.png").stat().st_size
