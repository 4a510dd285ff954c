"""The tables of reading beside other formats: shares are of the right rows."""

from __future__ import annotations

from benchmarks.reading_formats import OURS, Times, accuracy_table, time_ways, times_table


def test_shares_are_of_the_same_size_and_threads() -> None:
    rows = [
        Times("128×128", 1, OURS, 4000, 2.0, 1.0),
        Times("128×128", 1, "JPEG", 4001, 4.0, 4.0),
        Times("128×128", 2, OURS, 4000, 1.0, 1.0),
        Times("128×128", 2, "JPEG", 4001, 4.0, 4.0),
    ]
    lines = times_table(rows, "note").splitlines()
    assert [line.split(" | ")[-2:] for line in lines if "JPEG" in line] == [
        ["0.50", "0.25 |"],
        ["0.25", "0.25 |"],
    ]


def test_every_way_is_timed_as_often() -> None:
    counts = {"a": 0, "b": 0}

    def run(name: str) -> None:
        counts[name] += 1

    times = time_ways({name: lambda name=name: run(name) for name in counts}, 3)  # type: ignore[misc]
    assert counts == {"a": 4, "b": 4} and set(times) == {"a", "b"}


def test_accuracy_shows_the_bytes_of_every_format() -> None:
    row = {"quality": 10, "bytes": 900.0, "ours": 0.8, "webp bytes": 905.0, "webp": 0.75}
    assert "| 10 | 900 | 80.0% | 905 | 75.0% |" in accuracy_table([row], ["webp"], "note")
