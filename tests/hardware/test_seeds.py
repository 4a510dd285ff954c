"""Several stimuli with intervals, and FIT: what they say, and what is refused."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from bifocal.errors import OptionError
from bifocal.hardware import AnalysisOptions, analyse
from bifocal.hardware.faults.campaigns.rates import load_rate
from bifocal.hardware.faults.campaigns.scores import score_design
from bifocal.hardware.faults.campaigns.seeds import Spread

COUNTER = Path(__file__).parent / "netlists" / "counter.json"


def test_each_seed_is_a_run_of_its_own_and_the_interval_is_of_their_mean(tmp_path: Path) -> None:
    quick = {"cycles": 60, "engine": "numba"}
    both = analyse(COUNTER, AnalysisOptions(**quick, seeds=2, device="7series"), out=tmp_path)
    second = analyse(COUNTER, AnalysisOptions(**quick, seed=2))
    values = tuple(score_design(report.result).score for report in (both, second))
    assert both.seeds is not None and both.seeds.score == Spread.of("score", values)
    table = list(csv.DictReader(io.StringIO((tmp_path / "seeds.csv").read_text())))
    assert len(table) == 2 + len(both.result.sites)
    assert float(table[0]["mean"]) == pytest.approx(sum(values) / 2, rel=1e-5)
    lines = both.summary().splitlines()
    assert lines[1].startswith("seeds     2 stimuli") and "FIT, modelled" in lines[2]
    page = (tmp_path / "report.html").read_text()
    assert "Under several stimuli" in page and "UG116" in page and "seeds.csv" in page


def test_students_interval() -> None:
    found = Spread.of("s", [10.0, 12.0, 11.0])  # t(2) = 4.303, s = 1, so 4.303 / √3
    assert (found.low, found.high) == pytest.approx((11 - 2.4843, 11 + 2.4843), abs=1e-3)
    assert Spread.of("s", [0.5] * 3) == Spread("s", (0.5,) * 3, 0.5, 0.5, 0.5)


def test_fit_is_bits_times_the_rate_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('kind = "measured"\nfit_per_mbit = 50\nmbit = 1048576\nsource = "our beam"\n')
    rate = load_rate(str(file))
    assert rate.fit(1048576) == 50 and rate.name == "mine"
    file.write_text('kind = "measured"\nfit_per_mbit = 0\nmbit = 1048576\nsource = ""\n')
    with pytest.raises(OptionError, match="fit_per_mbit is 0"):
        load_rate(str(file))
    file.write_text("fit = 3\n")
    with pytest.raises(OptionError, match="keys kind, fit_per_mbit, mbit, source"):
        load_rate(str(file))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": 0}, "from 1 to 1000"),
        ({"seeds": 2, "stimulus": "a.csv"}, "Leave out one"),
        ({"device": "7series", "faults": "stuck"}, "are --faults lut-init"),
        ({"device": "moon"}, "no device moon"),
    ],
)
def test_what_does_not_go_together_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        analyse(COUNTER, AnalysisOptions(**wrong))  # type: ignore[arg-type]
