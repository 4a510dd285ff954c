"""Write generated tables into pages, between markers, so that no figure there is typed by hand."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
MEASURED = ROOT / "docs" / "measured.md"


def replace_block(name: str, text: str, path: Path = MEASURED) -> None:
    """Put ``text`` between ``<!-- NAME -->`` and ``<!-- /NAME -->`` of a file; ValueError without the
    markers.
    """
    page = path.read_text(encoding="utf-8")
    start, stop = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = page.partition(start)
    _, closed, after = rest.partition(stop)
    if not found or not closed:
        raise ValueError(f"{path} has no lines {start} and {stop}. Put them where the figures belong.")
    path.write_text(f"{before}{start}\n{text.strip()}\n{stop}{after}", encoding="utf-8")
    print(f"{path.name}: {name} rewritten")
