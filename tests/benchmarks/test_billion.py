"""The estimate for a billion pictures follows from its numbers, and the page shows it."""

from __future__ import annotations

from benchmarks import billion, reporting
from benchmarks.reporting import ROOT


def test_costs_follow_from_seconds_bytes_and_prices() -> None:
    found = {"pictures": 1, "seconds": 3.6, "bytes_in": 1000, "bytes_out": 100, "manifest": 300}
    given = {name: float(value) for name, value, *_ in billion.ASSUMED}
    given |= {"count": 1e6, "nodes": 10, "cores": 10, "core-hour": 0.1, "used": 1, "driver": 1e5}
    rows = dict(billion.model(found, given))
    assert rows["core hours"] == "1,000" and rows["hours on the cluster"] == "10.0"
    assert rows["cost of computing"] == "$100" and rows["chokes? drivers to keep up"] == "1.0"
    assert rows["requests, one object a picture"] == "$5" and rows["chokes? manifests"] == "0 GB of lines"


def test_the_page_shows_the_estimate() -> None:
    about = reporting.read_json(reporting.RESULTS / "billion.json")
    assert billion.table(about) == reporting.shown(ROOT / "docs" / "clusters.md", "billion")
