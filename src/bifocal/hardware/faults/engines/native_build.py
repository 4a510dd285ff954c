"""Compile a generated C++ file to a library, once: libraries are kept by compiler and processor."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import tempfile
from hashlib import sha256
from pathlib import Path

from bifocal.errors import ToolError
from bifocal.hardware.circuits.tools import run_to_end

COMPILERS = ("g++", "clang++", "c++")
FLAGS = ("-O1", "-march=native", "-fno-strict-aliasing", "-fPIC", "-shared", "-w")
#: Libraries that the cache keeps; the least recently used are removed.
KEPT = 64


def find_compiler() -> str | None:
    """The path of a C++ compiler on this machine, or None."""
    if os.name != "posix":
        return None
    return next((path for name in COMPILERS if (path := shutil.which(name))), None)


def cache_folder() -> Path:
    """Where libraries are kept: ``bifocal/faults`` in the user's cache folder."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(root) / "bifocal" / "faults"


def build_library(source: str, *, compiler: str | None = None, cache: Path | None = None) -> Path:
    """The path of the library for a C++ source, compiled unless the cache has it.

    :raises ToolError: if there is no compiler, it refuses, or the cache cannot be written.
    """
    compiler = compiler or find_compiler()
    if compiler is None:
        raise ToolError(
            f"the native engine needs a C++ compiler, and none of {', '.join(COMPILERS)} is installed. "
            "Install one (apt-get install g++), or use --engine numba."
        )
    cache = cache or cache_folder()
    path = cache / f"{_key(source, compiler)}.so"
    if path.exists():
        with contextlib.suppress(OSError):
            os.utime(path)  # used just now: the last to be removed
        return path
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="build-") as folder:
            file, made = Path(folder) / "circuit.cpp", Path(folder) / "circuit.so"
            file.write_text(source, encoding="utf-8")
            _compile(compiler, file, made)
            os.replace(made, path)
    except OSError as error:
        raise ToolError(
            f"the compiled engine cannot be kept in {cache}: {error.strerror or error}. Make the folder"
            " writable, set XDG_CACHE_HOME, or use --engine numba."
        ) from error
    _drop_oldest(cache)
    return path


def _compile(compiler: str, source: Path, target: Path) -> None:
    command = [compiler, *FLAGS, str(source), "-o", str(target)]
    done = run_to_end(command)
    if done.returncode != 0 or not target.exists():
        lines = "\n".join(f"  {line}" for line in done.stderr.strip().splitlines()[:12])
        raise ToolError(
            f"{compiler} could not compile the native engine (exit {done.returncode}):\n{lines}\n"
            "Use --engine numba, which needs no compiler, or another compiler on the PATH."
        )


def _key(source: str, compiler: str) -> str:
    """A name for source, compiler and processor: -march=native code runs only on the processor it is for."""
    version = run_to_end([compiler, "--version"]).stdout
    processor = platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return sha256("\0".join([source, version, processor, *FLAGS]).encode()).hexdigest()[:32]


def _drop_oldest(cache: Path) -> None:
    with contextlib.suppress(OSError):  # another process may be cleaning up too
        libraries = sorted(cache.glob("*.so"), key=lambda path: path.stat().st_mtime)
        for path in libraries[:-KEPT]:
            path.unlink(missing_ok=True)
