"""``bifocal-train`` without torch says what to install, and its errors are one message."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bifocal.apps.cli.train import main as train


def test_without_torch_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="1"):
        train.run()
    assert 'pip install "bifocal-codec[train]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["pack", "missing.safetensors"], ["run", "missing.toml", "--data", ".", "--minutes", "1"]]
)
def test_what_is_missing_is_one_message(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bifocal-train", *arguments])
    with pytest.raises(SystemExit) as exit_info:
        train.run()
    error = capsys.readouterr().err
    assert exit_info.value.code == 1 and error.startswith("bifocal-train: ") and "missing" in error


def called(*arguments: str) -> tuple[int, str]:
    """Exit status, and what was said, of ``bifocal-train`` as it is installed."""
    code = "from bifocal.apps.cli.train.main import run; run()"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_wrong_usage_names_the_way_out_before_anything_is_read(tmp_path: Path) -> None:
    status, text = called("run", "lowfirst.toml", "--data", str(tmp_path / "nowhere"))
    assert status == 2 and "--minutes, --cpu-minutes and --steps" in text
    (tmp_path / "mine.bfh").write_bytes(b"a head of yesterday")
    head = ["head", "--data", str(tmp_path), "--minutes", "1"]
    status, text = called(*head, "--out", str(tmp_path / "mine.bfh"))
    assert status == 2 and "--force" in text
    status, text = called(*head, "--out", str(tmp_path / "new.bfh"), "--task", "detect")
    assert status == 2 and "no task 'detect'" in text


def test_cost_counts_the_decoder(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["bifocal-train", "cost"])
    with pytest.raises(SystemExit, match="0"):
        train.run()
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("decode: ") and float(last.split()[1]) <= 60
