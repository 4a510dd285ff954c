"""``bifocal faults`` as a user types it: what it prints, writes and refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bifocal.apps.cli.main import run

ROOT = Path(__file__).parents[3]
NETLISTS = ROOT / "tests" / "hardware" / "netlists"


class Refused(Exception):
    """The command ended with an error; its message."""


def bifocal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["bifocal", "faults", *arguments])
    with pytest.raises(SystemExit) as exit_info:
        run()
    captured = capsys.readouterr()
    if exit_info.value.code:
        raise Refused(captured.err)
    return captured.out


def netlist(tmp_path: Path, **changes: object) -> str:
    """A design of one flip-flop behind one LUT, with parts replaced."""
    module = {
        "attributes": {},
        "ports": {
            "clk": {"direction": "input", "bits": [2]},
            "a": {"direction": "input", "bits": [3]},
            "q": {"direction": "output", "bits": [4]},
        },
        "cells": {
            "l": {
                "type": "LUT2",
                "parameters": {"INIT": "0110"},
                "port_directions": {"I0": "input", "I1": "input", "O": "output"},
                "connections": {"I0": [3], "I1": [4], "O": [5]},
            },
            "f": {
                "type": "FDRE",
                "parameters": {"INIT": "0"},
                "port_directions": {"C": "input", "CE": "input", "D": "input", "R": "input", "Q": "output"},
                "connections": {"C": [2], "CE": ["1"], "D": [5], "R": ["0"], "Q": [4]},
            },
        },
        "netnames": {},
    }
    path = tmp_path / "design.json"
    path.write_text(json.dumps({"creator": "Yosys", "modules": {"design": {**module, **changes}}}))
    return str(path)


def test_run_compare_and_harden(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report"
    common = ("--cycles", "200", "--engine", "numba")
    printed = bifocal(capsys, monkeypatch, "run", str(NETLISTS / "uart.json"), *common, "--out", str(out))
    for line in (
        "clock     clk",
        "reset     rst, active 1",
        "compared  12 output bits",
        "1,124 of the model lut-init",
    ):
        assert line in printed
    assert {path.name for path in out.iterdir()} == {
        "netlist.json",
        "result.json",
        "faults.csv",
        "sites.csv",
        "groups.csv",
        "report.html",
    }
    assert len((out / "faults.csv").read_text().splitlines()) == 1 + 1124
    hard = tmp_path / "hard"
    printed = bifocal(
        capsys,
        monkeypatch,
        "harden",
        str(NETLISTS / "uart.json"),
        *common,
        "--out",
        str(hard),
        "--yosys",
        "no-such",
    )
    assert "the same  outputs as before" in printed and "survival  not checked: no-such" in printed
    printed = bifocal(capsys, monkeypatch, "compare", str(hard / "before.json"), str(hard / "after.json"))
    assert "score, sum" in printed and "vote" in printed
    again = bifocal(
        capsys,
        monkeypatch,
        "run",
        str(hard / "hardened.json"),
        *common,
        "--out",
        str(tmp_path / "again"),
        "--faults",
        "stuck",
        "--outputs",
        "tx,busy",
        "--clock",
        "clk",
        "--reset",
        "none",
    )
    assert "compared  2 output bits: tx, busy" in again and "reset     none" in again


def test_a_stimulus_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s.csv").write_text("a\n1\n0\n1\n1\n")
    arguments = (
        "run",
        netlist(tmp_path),
        "--stimulus",
        str(tmp_path / "s.csv"),
        "--out",
        str(tmp_path / "r"),
    )
    assert "4 cycles each" in bifocal(capsys, monkeypatch, *arguments, "--engine", "reference")
    (tmp_path / "s.csv").write_text("a\n")
    with pytest.raises(Refused, match="result.json exists already|netlist.json exists already"):
        bifocal(capsys, monkeypatch, *arguments)
    arguments += ("--force",)
    with pytest.raises(Refused, match="is empty: a row of port names and at least one row of values"):
        bifocal(capsys, monkeypatch, *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cycles", "0"], "at least one cycle"),
        (["--faults", "rays"], "there is no fault model 'rays'; there are lut-init"),
        (["--engine", "abacus"], "there is no engine 'abacus'"),
        (["--clock", "a"], "a clocks nothing; the flip-flops are clocked by"),
        (["--reset", "b"], "is not PORT, PORT:0 or none; the inputs are"),
        (["--outputs", "p"], "no output p; the outputs are q"),
        (["--top", "other"], "there is no module other"),
        (["--show", "99"], "there are faults 0 to 3"),
        (["--stimulus", "gone.csv"], "gone.csv cannot be read"),
        (["--jobs", "0"], "Invalid value for '--jobs'"),
        (["--budget", "0"], "give a number from 1 on"),
    ],
)
def test_bad_options_say_what_would_do(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(Refused, match=message):
        bifocal(capsys, monkeypatch, "run", netlist(tmp_path), "--out", str(tmp_path / "r"), *arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"ports": {"clk": {"direction": "input", "bits": [2]}, "a": {"direction": "input", "bits": [3]}}},
            "no outputs",
        ),
        (
            {"ports": {"a": {"direction": "input", "bits": [3]}, "q": {"direction": "output", "bits": [4]}}},
            "clock",
        ),
    ],
)
def test_designs_that_cannot_be_judged(
    changes: dict[str, object],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(Refused, match=message):
        bifocal(capsys, monkeypatch, "run", netlist(tmp_path, **changes), "--out", str(tmp_path / "r"))


def test_asking_for_help_loads_no_engine() -> None:
    """The other commands stay quick: numba is loaded only by who needs it."""
    code = (
        "import sys, bifocal.apps.cli.main; "
        "sys.exit('numba' in sys.modules or 'bifocal.hardware' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT / "src")})
    assert done.returncode == 0


def test_outputs_may_be_listed_with_spaces(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [
        "harden",
        str(NETLISTS / "uart.json"),
        "--cycles",
        "50",
        "--engine",
        "numba",
        "--yosys",
        "no-such",
    ]
    printed = bifocal(capsys, monkeypatch, *words, "--outputs", "tx, busy", "--out", str(tmp_path / "hard"))
    assert "compared  2 output bits: tx, busy" in printed and "the same  outputs as before" in printed


@pytest.mark.skipif(os.name != "posix", reason="SIGTERM and /bin/sh are POSIX")
def test_sigterm_leaves_no_tool_behind(tmp_path: Path) -> None:
    """A stand-in for Yosys starts another program and waits; both are gone when the command has ended."""
    tool, started = tmp_path / "yosys", tmp_path / "started"
    tool.write_text(
        "#!/bin/sh\n"
        "[ \"$1\" = -V ] && echo 'Yosys 0.0' && exit\n"
        f"sleep 60 & echo $$ $! > '{started}.part'; mv '{started}.part' '{started}'; wait\n"
    )
    tool.chmod(0o755)
    (tmp_path / "design.v").write_text("module design (input a, output y); assign y = a; endmodule\n")
    command = [sys.executable, "-m", "bifocal", "faults", "run", str(tmp_path / "design.v")]
    options = ["--yosys", str(tool), "--out", str(tmp_path / "report")]
    with subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL) as process:
        while not started.exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.terminate()
        assert process.wait(20) != 0
    pids = started.read_text().split()
    deadline = time.monotonic() + 5
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not (tmp_path / "report").exists()


@pytest.mark.skipif(os.name != "posix", reason="SIGTERM is POSIX")
def test_sigterm_ends_a_long_simulation_at_once(tmp_path: Path) -> None:
    """One process whose first unit would take minutes of machine code."""
    command = [sys.executable, "-m", "bifocal", "faults", "run", str(NETLISTS / "uart.json")]
    options = ["--engine", "numba", "--cycles", "2000000", "--out", str(tmp_path / "report")]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        while not (tmp_path / "report" / "faults.journal").exists():  # made when the simulation begins
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(0.5)
        process.terminate()
        begun = time.monotonic()
        assert process.wait(60) == 130
    assert time.monotonic() - begun < 10  # a second or two where nothing else runs


def is_running(pid: str) -> bool:
    """Whether a process is there and has not ended; one that nobody waited for counts as ended."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True, check=False)
    return state.stdout.strip()[:1] not in ("", "Z")
