"""What tests of studies share: the tiny model, and running a command with its results in a test folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import tiny_folder, tiny_model

__all__ = ["run_study", "tiny_folder", "tiny_model"]


@pytest.fixture
def run_study(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs a command and returns what it prints; results.json is then in ``tmp_path``."""

    def call(module: ModuleType, *arguments: object) -> str:
        options = ["--out", str(tmp_path), *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", ["run.py", *options])
        capsys.readouterr()
        module.main()
        assert json.loads((tmp_path / "results.json").read_text())
        return capsys.readouterr().out

    return call
