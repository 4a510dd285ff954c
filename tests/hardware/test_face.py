"""The calls that the commands make: analyse, compare and harden; what they write, and what they replace."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import bifocal.hardware
import bifocal.hardware.faults
from bifocal.apps.cli.faults.options import OPTIONS
from bifocal.errors import CampaignError, OptionError, OutputError
from bifocal.hardware import AnalysisOptions, HardeningOptions, analyse, compare, harden

NETLISTS = Path(__file__).parent / "netlists"
UART = NETLISTS / "uart.json"
QUICK = {"cycles": 50, "engine": "numba"}


@pytest.mark.parametrize("name", bifocal.hardware.__all__)
def test_a_public_name_is_there_and_documented(name: str) -> None:
    thing = getattr(bifocal.hardware, name)
    assert thing.__doc__ and not thing.__doc__.startswith(f"{name}(") and name in dir(bifocal.hardware)


def test_the_faces_agree_and_load_nothing_until_asked() -> None:
    for name in bifocal.hardware.faults.__all__:
        assert getattr(bifocal.hardware.faults, name) is getattr(bifocal.hardware, name)
    with pytest.raises(AttributeError, match="no attribute 'analyze'"):
        _ = bifocal.hardware.analyze
    code = "import sys, bifocal.hardware.faults; print(*({'numpy', 'numba'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_option_has_its_help() -> None:
    assert set(OPTIONS) == {
        field.name for kind in (AnalysisOptions, HardeningOptions) for field in fields(kind)
    }
    for kind in (AnalysisOptions, HardeningOptions):
        described = "".join(base.__doc__ or "" for base in kind.__mro__[:2])
        assert all(f":param {field.name}:" in described for field in fields(kind))


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines: list[str] = []
    report = analyse(UART, AnalysisOptions(**QUICK, outputs=["tx", "busy"]), log=lines.append)
    assert report.result.outputs == 2 and f"{len(report.result):,} of the model lut-init" in "\n".join(lines)
    made = harden(UART, HardeningOptions(**QUICK, yosys="no-such"))
    assert made.comparison.after.score < made.comparison.before.score
    summary = made.summary()
    assert "survival  not checked: no-such is not a program" in summary
    assert sum(float(line.split()[-3]) for line in made.registers(most=99)[1:]) == pytest.approx(
        made.comparison.before.score, abs=0.05
    )
    assert list(tmp_path.iterdir()) == []


def test_results_are_replaced_only_when_asked(tmp_path: Path) -> None:
    out, options = tmp_path / "report", AnalysisOptions(**QUICK)
    analyse(UART, options, out=out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(OutputError, match="exists already"):
        analyse(UART, AnalysisOptions(**QUICK, seed=2), out=out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    analyse(UART, AnalysisOptions(**QUICK, seed=2), out=out, overwrite=True)
    assert (out / "result.json").read_bytes() != before["result.json"]
    (tmp_path / "first.json").write_bytes(before["result.json"])
    assert "the stimuli differ" in compare(tmp_path / "first.json", out / "result.json").text()


def test_a_refused_run_leaves_nothing_and_may_be_tried_again(tmp_path: Path) -> None:
    out = tmp_path / "report"
    for wrong in ({"show": 10**6}, {"budget": float("nan")}, {"budget": float("inf")}):
        with pytest.raises(OptionError):
            analyse(UART, AnalysisOptions(**QUICK, **wrong), out=out)
    assert not out.exists()


def test_a_stopped_run_goes_on_with_resume_only(tmp_path: Path) -> None:
    out, options = tmp_path / "report", AnalysisOptions(**QUICK)

    def interrupt(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        analyse(UART, options, out=out, progress=interrupt)
    assert [path.name for path in out.iterdir()] == ["faults.journal"]
    with pytest.raises(CampaignError, match="--resume"):
        analyse(UART, options, out=out, overwrite=True)
    report = analyse(UART, options, out=out, resume=True)
    assert report.result.facts.resumed > 0 and report.result == analyse(UART, options).result
    assert not (out / "faults.journal").exists() and (out / "report.html").exists()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{}", None])
def test_what_is_not_a_result_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CampaignError, match=r"other\.json"):
        compare(path, path)
