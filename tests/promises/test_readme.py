"""The README is short, and its figures are those of the result files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROSE = " ".join(README.split())


def result(name: str, file: str = "results") -> Any:
    """The results of a study, or else of the benchmark of this name."""
    study = ROOT / "studies" / name / f"{file}.json"
    path = study if study.exists() else RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def test_it_has_at_most_600_words_with_code_and_links() -> None:
    assert len(README.split()) <= 600


def test_it_has_a_picture_six_lines_of_python_and_four_commands() -> None:
    assert README.count("![") == 1
    (python,) = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert len([line for line in python.splitlines() if line]) == 6
    assert len(re.findall(r"^bifocal ", README, re.MULTILINE)) == 4


def test_sizes_are_those_of_kodak() -> None:
    text = (RESULTS / "kodak.md").read_text(encoding="utf-8")
    table = text.partition("## BD-rate against VTM\n")[2].partition("\n## ")[0]
    rates = dict(re.findall(r"^\| \**([\w-]+)\** \| \**([+-][\d.]+ %)", table, re.MULTILINE))
    assert f"on Kodak, {rates['bifocal']} bytes against VTM" in PROSE
    assert f"AVIF takes {rates['avif']}, WebP {rates['webp']}, JPEG {rates['jpeg']}." in PROSE


def test_times_are_those_of_the_speed_benchmark() -> None:
    speed = result("speed")
    warm = {row["codec"]: row for row in speed["warm"]}
    avif = next(row for row in speed["classical"] if row["codec"] == "avif")
    ours = warm["bifocal"]
    text = f"{ours['encode']:.2f} s to encode and {ours['decode']:.2f} s to decode on {speed['cores']} cores"
    assert f"a {speed['size']} picture takes {text}" in PROSE
    assert f"AVIF decodes it in {avif['decode_seconds']:.3f} s" in PROSE
    assert f"CompressAI's mbt2018-mean in {warm['mbt2018-mean']['decode']:.2f} s" in PROSE


def test_exactness_is_that_of_the_comparison_of_engines() -> None:
    exactness = result("exactness")
    streams = sum(exactness["streams"].values())
    alike = [row for row in exactness["exact"] if row["streams"] == row["identical"] == streams]
    lost = [100 * row["streams_lost"] / row["streams"] for row in result("float_counterpart")["engines"]]
    words = {9: "nine"}
    assert f"{streams} streams decoded alike on {words[len(alike)]} engines and settings" in PROSE
    assert f"{min(lost):.0f} to {max(lost):.0f} % of the streams were lost" in PROSE
    assert all(row["identical"] == row["streams"] for row in exactness["exact"])


def test_labels_are_those_of_the_accuracy_and_reading_benchmarks() -> None:
    files = ("results", "results-pixels")
    head, pixels = (mean(result("head_accuracy", file)["top1"].values()) for file in files)
    reading = result("reading")
    small = [row for row in reading["against_timings"] if row["width"] == row["height"] == 128]
    theirs = mean(row["classify"] for row in small)
    ours = mean(row["labels"] for row in reading["timings"] if row["width"] == row["height"] == 128)
    assert f"{100 * head:.0f} % right on ten classes, in {ours / theirs:.2f} of the time" in PROSE
    assert f"same network on decoded pixels has {100 * pixels:.0f} %" in PROSE
