"""Checkpoints: safetensors with the configuration inside. Nothing is guessed on load, nothing unpickled."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bifocal.errors import TrainingError
from bifocal.learn.nets.codec import Codec, CodecConfig
from bifocal.learn.systems.registry import find_system, system_of

Weights = dict[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Weights, their moving average, the configuration and the history of runs that made them."""

    config: CodecConfig
    weights: Weights
    average: Weights
    history: tuple[dict[str, Any], ...] = ()

    def model(self, *, average: bool = True) -> Codec:
        model = system_of(self.config).codec(self.config)
        missing, unknown = model.load_state_dict(self.average if average else self.weights, strict=False)
        if unknown or not all(name.startswith(("to_half.", "to_thumb.")) for name in missing):
            raise TrainingError(f"the checkpoint does not fit the system: {unknown or missing}.")
        return model  # a checkpoint from before these two existed starts them afresh


def save_checkpoint(path: Path, checkpoint: Checkpoint, *, half: bool = False) -> None:
    """Write atomically. ``half`` keeps only the average, in float16: what is committed to a repository."""
    dtype = torch.float16 if half else torch.float32
    tensors = {f"average.{k}": v.to(dtype).contiguous() for k, v in checkpoint.average.items()}
    if not half:
        tensors |= {f"weights.{k}": v.contiguous() for k, v in checkpoint.weights.items()}
    header = {
        "system": system_of(checkpoint.config).name,
        "config": json.dumps(dataclasses.asdict(cast(Any, checkpoint.config))),
        "history": json.dumps(checkpoint.history),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, header)
    os.replace(partial, path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; one that holds only the average resumes from it."""
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{path} cannot be read as a checkpoint: {error}") from error
    if "config" not in header:
        raise TrainingError(f"{path} is a safetensors file but not a checkpoint of bifocal-train.")
    average = {k.removeprefix("average."): v for k, v in tensors.items() if k.startswith("average.")}
    weights = {k.removeprefix("weights."): v for k, v in tensors.items() if k.startswith("weights.")}
    return Checkpoint(
        find_system(header.get("system", "lowfirst")).config(**json.loads(header["config"])),
        weights or average,
        average,
        tuple(json.loads(header.get("history", "[]"))),
    )


def load_resumed(path: Path | None, config: CodecConfig, recipe: str) -> Checkpoint | None:
    """The checkpoint that a run goes on from, if there is one.

    :raises TrainingError: if it is none, or of another configuration than ``config``, which ``recipe`` gives.
    """
    old = load_checkpoint(path) if path else None
    if old and old.config != config:
        raise TrainingError(
            f"{path} has another configuration than recipe {recipe}: {old.config}. Resume with the recipe it "
            "was trained by, or leave --resume out."
        )
    return old
