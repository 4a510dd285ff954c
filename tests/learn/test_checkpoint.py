"""Checkpoints: written whole or not at all, whatever tensors share; what is no checkpoint is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bifocal.errors import OutputError, TrainingError
from bifocal.learn.checkpoint import load_checkpoint, read_parts, write_parts


def test_tensors_that_share_memory_come_back(tmp_path: Path) -> None:
    """A network may use one buffer in two layers; safetensors alone refuses it."""
    one = torch.arange(6.0)
    parts = {"weights": {"a": one, "b": one.reshape(2, 3)}, "average": {"a": one}}
    write_parts(tmp_path / "c.safetensors", {"head": "x"}, parts)
    header, found = read_parts(tmp_path / "c.safetensors", "weights", "optimiser")
    assert header == {"head": "x"} and found["optimiser"] == {}
    assert torch.equal(found["weights"]["b"], one.reshape(2, 3))


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "c.safetensors").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        write_parts(tmp_path / "c.safetensors", {}, {"weights": {"a": torch.zeros(2)}})
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    for header, words in (({"head": "{}"}, "checkpoint of a head"), ({}, "a safetensors file")):
        write_parts(path, header, {"average": {"a": torch.zeros(2)}})
        with pytest.raises(TrainingError, match=words):
            load_checkpoint(path)
    path.write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="cannot be read as a checkpoint"):
        load_checkpoint(path)
