"""What every benchmark and study shares: options, files of results, the pages that show them, and errors.

A page shows a table where it has the lines ``<!-- NAME -->`` and ``<!-- /NAME -->``; the text between them is
written by the script, never by hand. Several pages may show the same table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from bifocal.errors import BifocalError
from bifocal.measure import MeasureError
from bifocal.storage.filesystem import write_atomically

ROOT = Path(__file__).resolve().parents[1]
#: Where benchmarks leave their results; a study leaves them in its own folder.
RESULTS = ROOT / "benchmarks" / "results"
#: Pages that may show tables.
PAGES = ("README.md", "docs/*.md", "benchmarks/**/*.md", "studies/*/*.md")


def parser(doc: str, out: Path = RESULTS) -> argparse.ArgumentParser:
    """The options of every script: where results go, and whether pages are written anew."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, default=out, help="folder for results (default: %(default)s)")
    made.add_argument("--docs", action="store_true", help="also put the tables into the pages that show them")
    return made


def publish(
    chosen: argparse.Namespace, table: str, text: str, result: object, *, file: str = "results"
) -> None:
    """Print a table and write its figures to ``FILE.json`` in ``--out``; with ``--docs`` fill pages."""
    print(text)
    write_json(chosen.out / f"{file}.json", result)
    if chosen.docs:
        fill(table, text)


def write_json(path: Path, result: object) -> None:
    """A result as JSON, whole or not at all; its folder is made."""
    write_text(path, json.dumps(result, indent=1))


def read_json(path: Path) -> dict[str, Any]:
    """What :func:`write_json` wrote; empty where nothing was written yet."""
    if not path.exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, f"{text.rstrip()}\n".encode())


def fill(table: str, text: str, root: Path = ROOT) -> None:
    """Put a table into every page that shows it. Raises MeasureError where none does."""
    pages = [page for pattern in PAGES for page in sorted(root.glob(pattern)) if shows(page, table)]
    if not pages:
        raise MeasureError(f"No page has the lines <!-- {table} --> and <!-- /{table} -->. Add them to one.")
    for page in pages:
        before, _, rest = page.read_text(encoding="utf-8").partition(f"<!-- {table} -->")
        _, _, after = rest.partition(f"<!-- /{table} -->")
        block = f"<!-- {table} -->\n{text.strip()}\n<!-- /{table} -->"
        write_text(page, f"{before}{block}{after}")
        print(f"{page.relative_to(root)}: {table} written")


def shows(page: Path, table: str) -> bool:
    """Whether a page has both marks of a table, in order."""
    _, found, rest = page.read_text(encoding="utf-8").partition(f"<!-- {table} -->")
    return bool(found) and f"<!-- /{table} -->" in rest


def shown(page: Path, table: str) -> str:
    """The text between the marks of a table on a page."""
    _, _, rest = page.read_text(encoding="utf-8").partition(f"<!-- {table} -->")
    return rest.partition(f"<!-- /{table} -->")[0].strip()


def machine() -> str:
    """Architecture, processors and load, for a note beside the figures.

    >>> " processors" in machine()
    True
    """
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{platform.machine()}, {os.cpu_count()} processors{load}"


def spread(values: Iterable[float], digits: int = 1) -> str:
    """Mean and, of several seeds, half the range.

    >>> spread([1.0, 2.0]), spread([3.0]), spread([])
    ('1.5 ± 0.5', '3.0', 'not measured')
    """
    found = np.array(list(values), float)
    if not len(found):
        return "not measured"
    text = f"{found.mean():.{digits}f}"
    return text if len(found) == 1 else f"{text} ± {np.ptp(found) / 2:.{digits}f}"


def run(main: Callable[[], int | None]) -> NoReturn:
    """End the process with what ``main`` returns: 1 says that a promise is broken, None that all is well.

    An error of Bifocal or of the system is printed in one line, and the status is 2.
    """
    try:
        sys.exit(main())
    except (BifocalError, OSError) as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(2)
