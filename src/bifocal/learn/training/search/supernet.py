"""Training a supernet, and the folder that it leaves: checkpoint and held-out inputs, all that a search
needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bifocal.errors import OptionError, TrainingError
from bifocal.learn.checkpoint import read_parts, write_parts
from bifocal.learn.search.space import SearchSpace, Subnet, space_of
from bifocal.learn.search.supernet import InputForm, Supernet
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.fit import fit, print_now
from bifocal.learn.training.run_folder import RunFolder
from bifocal.learn.training.search.data import (
    DataOptions,
    SearchData,
    facts_of,
    find_data,
    input_form,
    read_data,
    work_folder,
)
from bifocal.learn.training.tasks.supernet import supernet_job
from bifocal.runtime.model import Model

HELD = "held.safetensors"
PIXELS = DataOptions()


@dataclass(frozen=True, eq=False)
class TrainedSupernet:
    """A supernet from its folder: the network, the facts of its data, and held-out inputs with labels."""

    path: Path
    net: Supernet
    facts: dict[str, Any]
    held: Tensor
    labels: Tensor

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.facts["classes"])

    @property
    def digest(self) -> str:
        """Names its data: what it reads, how, and of which classes."""
        return blake2b(json.dumps(self.facts).encode(), digest_size=8).hexdigest()


def train_supernet(
    data: Path,
    space: SearchSpace,
    out: Path,
    budget: Budget,
    *,
    options: DataOptions = PIXELS,
    names: Path | None = None,
    work: Path | None = None,
    resume: Path | None = None,
    sandwich: bool = True,
    separate: bool = False,
    lr: float = 2e-3,
    device: str = "cpu",
    log: Callable[[str], None] = print_now,
) -> Path:
    """Train a supernet of ``space`` on a folder per class, and leave it in folder ``out``.

    :param resume: the folder or checkpoint of a run with the same space, data and options to go on from.
    :param sandwich: train the largest, the smallest and a random subnet a step; a random one alone otherwise.
    :param separate: give rows of 4 bits weights of their own, in place of the top half of those of 8 bits.
    :raises TrainingError: if the pictures cannot be trained on, or the checkpoint does not fit.
    """
    model = Model.load(options.base) if options.base else None
    labelled = find_data(data, names, model)
    form = input_form(space, options, model)
    if options.batch < 1 or not 0 < options.held < 1 or not 0 < lr <= 1:
        raise OptionError(
            f"a batch of {options.batch}, {options.held} held out, learning rate {lr}: a batch is at least "
            "1, the others lie between 0 and 1."
        )
    old = None if resume is None else load_supernet(resume, held=False)
    if old is not None:
        _check_same(old, space, facts_of(labelled, form, options, model), separate)
    torch.manual_seed(options.seed)
    with work_folder(work) as kept:
        found = read_data(labelled, space, options, model, kept, device, log)
        net = old.net if old else Supernet(space, form, len(found.classes), found.spread, separate=separate)
        folder = _folder(out, net, found, space, old)
        write_held(out / HELD, found)
        judge = accuracy_of(net.to(device), found.held, found.labels)
        runs = len(folder.history)
        job = supernet_job(
            net,
            found.batches(options.seed + 1000 * runs),
            judge,
            sandwich=sandwich,
            lr=lr,
            seed=options.seed + 1000 * runs,
            folder=folder,
            log=log,
        )
        if old is not None:
            job.state = read_parts(old.path, "optimiser")[1]["optimiser"]
        job.examples = options.batch
        fit(job, budget)
    return folder.checkpoint


def _folder(
    out: Path, net: Supernet, found: SearchData, space: SearchSpace, old: TrainedSupernet | None
) -> RunFolder:
    header = {"supernet": json.dumps(net.header()), "data": json.dumps(found.facts)}
    history: tuple[dict[str, Any], ...] = ()
    if old is not None:
        history = tuple(json.loads(read_parts(old.path)[0].get("history", "[]")))
    counts = {"train": len(found.rows), "held out": len(found.labels)}
    return RunFolder(out, header, history=history, facts={"space": asdict(space), "pictures": counts})


def _check_same(old: TrainedSupernet, space: SearchSpace, facts: dict[str, Any], separate: bool) -> None:
    """Refuse to go on from a supernet of another space or of other data, before any picture is read.

    :raises TrainingError: if anything differs.
    """
    if old.net.space.digest != space.digest or old.net.separate != separate:
        raise TrainingError(
            f"{old.path} is a supernet of space {old.net.space.name} ({old.net.space.digest}), not of "
            f"{space.name} ({space.digest}), or its precisions share weights otherwise. Resume with the same."
        )
    for name, value in facts.items():
        if old.facts.get(name) != value:
            raise TrainingError(
                f"{old.path} is a supernet whose {name} was {old.facts.get(name)}, not {value}. Give the "
                "same data and options as then, or leave --resume out."
            )


def write_held(path: Path, found: SearchData) -> None:
    """Write held-out inputs, pixels in bytes and latents in half precision, and labels."""
    kind = torch.uint8 if found.form.reads == "pixels" else torch.float16
    write_parts(path, {}, {"held": {"inputs": found.held.to(kind), "labels": found.labels}})


def load_supernet(path: Path, *, held: bool = True) -> TrainedSupernet:
    """Read a supernet's folder, or its checkpoint.

    :raises TrainingError: if it cannot be read, or is something else.
    """
    file = path / "checkpoint.safetensors" if path.is_dir() else path
    header, parts = read_parts(file, "average")
    if not {"supernet", "data"} <= set(header):
        raise TrainingError(f"{file} is no supernet. `bifocal-train supernet` writes one into its folder.")
    try:
        known, facts = json.loads(header["supernet"]), json.loads(header["data"])
        space, form = space_of(known["space"], str(file)), InputForm(**known["form"])
        net = Supernet(space, form, int(known["classes"]), separate=bool(known["separate"]))
        net.load_state_dict(parts["average"])
        inputs, labels = _held(file.parent / HELD) if held else (torch.empty(0), torch.empty(0))
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise TrainingError(f"{file} is damaged, or of another release: {error}") from error
    return TrainedSupernet(file, net.eval(), facts, inputs, labels)


def _held(path: Path) -> tuple[Tensor, Tensor]:
    held = read_parts(path, "held")[1]["held"] if path.is_file() else {}
    if set(held) != {"inputs", "labels"}:
        raise TrainingError(
            f"{path} does not hold the inputs that subnets are compared on. Keep the folder of a supernet "
            "together, or train it again."
        )
    return held["inputs"], held["labels"].long()


def accuracy_of(net: Supernet, held: Tensor, labels: Tensor, batch: int = 128) -> Callable[[Subnet], float]:
    """The share of held-out inputs that a subnet classifies rightly, with the weights of the supernet."""

    @torch.no_grad()
    def judge(subnet: Subnet) -> float:
        training, device = net.training, next(net.parameters()).device
        net.eval()
        right = 0
        for start in range(0, len(labels), batch):
            said = net(held[start : start + batch].to(device), subnet).argmax(1).cpu()
            right += int((said == labels[start : start + batch]).sum())
        net.train(training)
        return right / max(1, len(labels))

    return judge
