"""``bifocal-train`` without torch says what to install, and its errors are one message."""

from __future__ import annotations

import sys

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


def test_cost_counts_the_decoder(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["bifocal-train", "cost"])
    with pytest.raises(SystemExit, match="0"):
        train.run()
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("decode: ") and float(last.split()[1]) <= 60
