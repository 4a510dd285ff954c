"""The README is short, and its figures are those of the result files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import mean
from typing import Any

from bifocal.runtime.heads.file import head_path, read_card

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
    ours = next(row for row in speed["warm"] if row["codec"] == "bifocal")
    others = {row["codec"]: row for row in speed["classical"]}
    text = f"{ours['encode']:.2f} s to encode and {ours['decode']:.2f} s to decode on {speed['cores']} cores"
    assert f"a {speed['size']} picture takes {text}" in PROSE
    avif, webp = (
        f"{others[name]['encode_seconds']:.1f} and {others[name]['decode_seconds']:.3f} s"
        for name in ("avif", "webp")
    )
    peers = {row["codec"]: row for row in speed["warm"]}
    peer = peers["bmshj2018-hyperprior"]
    assert (
        f"In the same run AVIF takes {avif}, WebP {webp}, CompressAI's `bmshj2018-hyperprior` "
        f"{peer['encode']:.2f} and {peer['decode']:.2f} s." in PROSE
    )


def test_exactness_is_that_of_the_comparison_of_engines() -> None:
    exactness = result("exactness")
    streams = sum(exactness["streams"].values())
    alike = [row for row in exactness["exact"] if row["streams"] == row["identical"] == streams]
    lost = [100 * row["streams_lost"] / row["streams"] for row in result("float_counterpart")["engines"]]
    words = {9: "nine", 11: "eleven"}
    assert f"{streams} streams decoded alike on {words[len(alike)]} engines and settings" in PROSE
    assert f"{min(lost):.0f} to {max(lost):.0f} % of the streams were lost" in PROSE
    assert all(row["identical"] == row["streams"] for row in exactness["exact"])


def test_labels_are_those_of_the_shipped_head_and_the_comparison_of_formats() -> None:
    right = mean(read_card(head_path("imagenette")).card["int8"]["accuracy"].values())
    rows = result("reading_formats")["rows"]
    wall = {row["way"]: row["wall"] for row in rows if (row["size"], row["threads"]) == ("768×512", 1)}
    ours = wall["Bifocal, latents"]
    assert f"{100 * right:.0f} % right on ten classes" in PROSE
    assert f"takes {ours / wall['JPEG, network on all pixels']:.1f} of the time of JPEG" in PROSE
    assert f"but {ours / wall['JPEG, resized to 128×128, network']:.1f} times that of JPEG, resized" in PROSE
