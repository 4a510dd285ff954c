"""Checkpoints: safetensors with the configuration inside. Nothing is guessed on load, nothing unpickled.

A file of a run holds all in float32. A small one, for a repository, has the average alone, in float16; the
weights of exact networks as the integers that they are packed as, those of deep paths as bytes.

A file holds up to three parts, distinguished by the beginnings of names: ``weights.``, ``average.`` and
``optimiser.``; and a header of strings. :func:`write_parts` and :func:`read_parts` know no more than that;
:class:`Checkpoint` is that of a codec.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from bifocal.errors import ModelError, TrainingError
from bifocal.learn.nets.codec import Codec, CodecConfig
from bifocal.learn.nets.entropy.exact import ExactConv, grid
from bifocal.learn.nets.quantiser import byte_rows
from bifocal.learn.systems.registry import find_system, system_of
from bifocal.runtime.model import model_folder
from bifocal.storage.filesystem import write_atomically

Weights = dict[str, Tensor]
#: Parts of codecs that a checkpoint may lack: they start afresh.
ADDED_LATER = ("to_half.", "to_thumb.", "reconstruction.")
#: Kernels of deep paths, which add to what a linear path carries: bytes are enough.
DEEP = (".stem.", ".blocks.", ".tail.")
#: Ends the names of the exponents of weights that are stored as integers, and of the scales of bytes.
EXPONENTS, SCALES = ".exponents", ".bytes_scale"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Weights, their moving average, the configuration and the history of runs that made them.

    ``optimiser`` is the state of the optimiser, empty if it was not kept.
    """

    config: CodecConfig
    weights: Weights
    average: Weights
    history: tuple[dict[str, Any], ...] = ()
    optimiser: Weights = dataclasses.field(default_factory=dict)

    def model(self, *, average: bool = True) -> Codec:
        model = system_of(self.config).codec(self.config)
        missing, unknown = model.load_state_dict(self.average if average else self.weights, strict=False)
        if unknown or not all(name.startswith(ADDED_LATER) for name in missing):
            raise TrainingError(f"the checkpoint does not fit the system: {unknown or missing}.")
        return model


def write_parts(path: Path, header: Mapping[str, str], parts: Mapping[str, Weights]) -> None:
    """Write the parts of a checkpoint, by name; the file is written whole or not at all.

    :raises OutputError: if it cannot be written.
    """
    tensors: Weights = {}
    stored: set[int] = set()
    for part, weights in parts.items():
        for name, value in weights.items():
            value = value.contiguous()
            memory = value.untyped_storage().data_ptr()
            # networks may share tensors, which safetensors refuses
            tensors[f"{part}.{name}"] = value.clone() if memory in stored else value
            stored.add(memory)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, save(tensors, dict(header)))


def read_parts(path: Path, *names: str) -> tuple[dict[str, str], dict[str, Weights]]:
    """The header of a checkpoint, and those of its parts that are called for; a part may be empty.

    :raises TrainingError: if the file cannot be read.
    """
    parts: dict[str, Weights] = {name: {} for name in names}
    try:
        with safe_open(path, "pt") as file:
            for key in file.keys():
                part, _, name = key.partition(".")
                if part in parts:
                    parts[part][name] = file.get_tensor(key).float()
            return file.metadata() or {}, parts
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{path} cannot be read as a checkpoint: {error}") from error


def codec_header(config: CodecConfig) -> dict[str, str]:
    """What the header of a codec's checkpoint says of its configuration."""
    settings = json.dumps(dataclasses.asdict(cast(Any, config)))
    return {"system": system_of(config).name, "config": settings}


def save_checkpoint(path: Path, checkpoint: Checkpoint, *, small: bool = False) -> None:
    """Write atomically; ``small`` for a repository: the average alone, in halves, bytes and integers."""
    parts = {"average": checkpoint.average, "weights": checkpoint.weights, "optimiser": checkpoint.optimiser}
    if small:
        integers = _integers(checkpoint.model())
        parts = {"average": _stored(checkpoint.average) | integers}
    header = codec_header(checkpoint.config) | {"history": json.dumps(checkpoint.history)}
    write_parts(path, header, parts)


def _stored(weights: Weights) -> Weights:
    """Float weights in float16, kernels of deep paths as bytes with a scale a row."""
    stored: Weights = {}
    for name, value in weights.items():
        if value.ndim == 4 and any(part in name for part in DEEP):
            stored[name], stored[f"{name}{SCALES}"] = byte_rows(value)
        else:
            stored[name] = _half(value)
    return stored


def _half(value: Tensor) -> Tensor:
    """A tensor in float16; as it is if that is too small for it, such as counts."""
    half = value.to(torch.float16)
    return half if bool(half.isfinite().all()) else value


def _integers(model: Codec) -> Weights:
    """The weights of exact networks ``W·2^-e`` as W and e, int8, a row an e."""
    made: Weights = {}
    for name, part in model.named_modules(remove_duplicate=False):
        if isinstance(part, ExactConv):
            e = part.exponents()
            made[f"{name}.weight"] = grid(part.kernel.detach(), e).to(torch.int8)
            made[f"{name}{EXPONENTS}"] = e.to(torch.int8)
    return made


def _from_integers(weights: Weights) -> Weights:
    """What :func:`_integers` and :func:`_stored` made, as weights again."""
    for name in [name for name in weights if name.endswith(SCALES)]:
        weights[name.removesuffix(SCALES)] *= weights.pop(name)[:, None, None, None]
    for name in [name for name in weights if name.endswith(EXPONENTS)]:
        weight = name.removesuffix(EXPONENTS) + ".weight"
        weights[weight] = weights[weight] * 2.0 ** -weights.pop(name)[:, None, None, None]
    return weights


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read the checkpoint of a codec; one that holds only the average resumes from it.

    ``path`` may also be a packed model, by its folder or the name of an installed one (``bifocal-2``).

    :raises TrainingError: if it cannot be read, or is something else.
    """
    path = Path(path)
    if path.is_dir() or (not path.exists() and path.name == str(path) and not path.suffix):
        return _from_packed(path)
    header, parts = read_parts(path, "average", "weights", "optimiser")
    if "config" not in header:
        kind = "the checkpoint of a head" if "head" in header else "a safetensors file"
        raise TrainingError(f"{path} is {kind}, not a codec's checkpoint by `bifocal-train run`.")
    average = _from_integers(parts["average"])
    return Checkpoint(
        find_system(header.get("system", "lowfirst")).config(**json.loads(header["config"])),
        parts["weights"] or average,
        average,
        tuple(json.loads(header.get("history", "[]"))),
        parts["optimiser"],
    )


def _from_packed(path: Path) -> Checkpoint:
    from bifocal.learn.unpack import unpack

    try:
        folder = model_folder(path if path.is_dir() else path.name)
    except ModelError as error:
        raise TrainingError(f"{path} is neither a checkpoint nor a packed model: {error}") from error
    config, weights, history = unpack(folder)
    return Checkpoint(config, weights, weights, history)


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
