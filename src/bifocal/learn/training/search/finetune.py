"""Fine-tuning a found subnet, and packing it: the head that runs in integers is the one that is judged."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bifocal.errors import OutputError, TrainingError
from bifocal.learn.data.labelled import Labelled, labelled_as
from bifocal.learn.data.views import encode_held, readable
from bifocal.learn.packing.heads import PackedHead
from bifocal.learn.search.found import Winner, read_winner
from bifocal.learn.search.integer import IntegerNetwork, integer_network, logits
from bifocal.learn.search.packing import pack_integer_head
from bifocal.learn.search.space import Subnet
from bifocal.learn.search.supernet import Supernet
from bifocal.learn.training.budget import Budget
from bifocal.learn.training.classify.calibration import fit_temperature
from bifocal.learn.training.classify.judging import figures_of, judge
from bifocal.learn.training.fit import fit, print_now
from bifocal.learn.training.search.data import (
    DataOptions,
    SearchData,
    facts_of,
    find_data,
    read_data,
    work_folder,
)
from bifocal.learn.training.search.supernet import TrainedSupernet, accuracy_of, load_supernet
from bifocal.learn.training.tasks.supernet import subnet_job
from bifocal.runtime.heads.file import SUFFIX
from bifocal.runtime.heads.run import Head
from bifocal.runtime.model import Model
from bifocal.storage.filesystem import write_atomically

#: Held-out inputs on which the packed head has to give the logits of the reference, bit for bit.
COMPARED = 8


@dataclass(frozen=True)
class FoundHead:
    """What was written, and what is known of it."""

    path: Path
    figures: Mapping[str, Any]


def finetune(
    config: Path,
    data: Path,
    out: Path,
    budget: Budget,
    *,
    supernet: Path | None = None,
    test: Path | None = None,
    names: Path | None = None,
    work: Path | None = None,
    lr: float = 1e-3,
    seed: int = 0,
    device: str = "cpu",
    log: Callable[[str], None] = print_now,
) -> FoundHead:
    """Fine-tune the subnet that file ``config`` describes, and write it as head ``out``, with a report
    beside.

    :param supernet: in place of the one that the search was of, if that has moved.
    :param data: the pictures that the supernet was trained on; the same ones are held out.
    :param test: a folder like ``data`` that the finished head is judged on; nothing is chosen by it.
    :raises TrainingError: if subnet, supernet and data do not fit together, before any picture is read.
    """
    if out.suffix.lower() != SUFFIX:
        raise OutputError(f"{out} is not named like a head. Call it {out.stem or 'found'}{SUFFIX}.")
    winner = read_winner(config)
    trained = load_supernet(supernet or winner.supernet)
    options, model = _check(winner, trained, config)
    labelled = find_data(data, names, model)
    _check_data(trained, labelled, options, model)
    tested = None if test is None else labelled_as(find_data(test, names, model), labelled.classes)
    net, subnet = trained.net, winner.subnet
    pack_integer_head(integer_network(net, subnet), name=out.stem, classes=labelled.classes, base=model)
    torch.manual_seed(seed)
    with work_folder(work) as kept, tempfile.TemporaryDirectory() as folder:
        found = read_data(labelled, net.space, options, model, kept, device, log)
        judged = accuracy_of(net.to(device), found.held, found.labels)
        inherited = judged(subnet)
        fit(subnet_job(net, subnet, found.batches(seed + 1), judged, lr=lr, log=log), budget)
        integers, packed, temperature = _packed(
            net.cpu().eval(), subnet, found, out.stem, model, Path(folder)
        )
        figures: dict[str, Any] = {
            "inherited": inherited,
            "float": judged(subnet),
            "integer": accuracy_of_integers(integers, found),
            "temperature": round(temperature, 4),
            "found": dict(winner.facts),
            "pictures": {"train": len(found.rows), "judged on": len(found.labels)},
        }
        figures |= _on_streams(packed, found, tested, model, options, Path(folder), log)
    write_atomically(out, packed.data({key: value for key, value in figures.items() if key != "test"}))
    report = json.dumps({**figures, "bytes": out.stat().st_size}, indent=1)
    write_atomically(out.with_suffix(".json"), report.encode(), overwrite=True)
    log(
        f"right of the held-out inputs: inherited {inherited:.1%}, fine-tuned {figures['float']:.1%}, in "
        f"integers {figures['integer']:.1%}"
    )
    return FoundHead(out, figures)


def _check(winner: Winner, trained: TrainedSupernet, config: Path) -> tuple[DataOptions, Model | None]:
    """The options of the supernet's data, and the codec that it reads.

    :raises TrainingError: if the subnet is of another space, or the codec is another now.
    """
    if winner.space != trained.net.space.digest:
        raise TrainingError(
            f"{config} is a subnet of space {winner.space}, and {trained.path} a supernet of space "
            f"{trained.net.space.digest} ({trained.net.space.name}). Name the supernet that was searched."
        )
    if winner.data != trained.digest:
        raise TrainingError(
            f"{config} was searched in a supernet of other data (pixels or latents, codec, classes, side, "
            f"split) than {trained.path}. Name the supernet that was searched."
        )
    facts = trained.facts
    numbers = {name: facts[name] for name in ("side", "views", "held", "seed")}
    options = DataOptions(base=facts.get("base", ""), **numbers)
    model = Model.load(options.base) if options.base else None
    if model is not None and model.entropy.fingerprint.hex() != facts["fingerprint"]:
        raise TrainingError(
            f"{trained.path} reads latents of {options.base} {facts['fingerprint']}, and that model is "
            f"{model.entropy.fingerprint.hex()} here. Train a supernet for this one."
        )
    return options, model


def _check_data(
    trained: TrainedSupernet, labelled: Labelled, options: DataOptions, model: Model | None
) -> None:
    """
    :raises TrainingError: if the data has other classes than the supernet's.
    """
    facts = facts_of(labelled, trained.net.form, options, model)
    if facts["classes"] != trained.facts["classes"]:
        raise TrainingError(
            f"the pictures have classes {', '.join(labelled.classes[:5])} …, and the supernet was trained "
            f"for {', '.join(trained.classes[:5])} …. Give the data of its training."
        )


def _packed(
    net: Supernet, subnet: Subnet, found: SearchData, name: str, model: Model | None, folder: Path
) -> tuple[IntegerNetwork, PackedHead, float]:
    """The subnet in integers and as a head, its logits divided by a temperature."""
    said = _said(integer_network(net, subnet), found)
    temperature = fit_temperature(said.astype(np.float64), found.labels.numpy())
    with torch.no_grad():
        net.head.weight.div_(temperature)
        net.head.bias.div_(temperature)
    integers = integer_network(net, subnet)
    packed = pack_integer_head(integers, name=name, classes=found.classes, base=model)
    _compare(integers, packed, found, folder)
    return integers, packed, temperature


def _compare(integers: IntegerNetwork, packed: PackedHead, found: SearchData, folder: Path) -> None:
    """
    :raises TrainingError: if the packed head gives other logits than the integers that it was packed from.
    """
    file = folder / f"compared{SUFFIX}"
    file.write_bytes(packed.data())
    inputs = found.held[:COMPARED].numpy()
    made = [outputs.arrays["logits"] for outputs in Head.load(file).run_many(list(inputs))]
    if not np.array_equal(np.concatenate(made), logits(integers, inputs)):
        raise TrainingError(
            "the packed head does not give the logits of its integers on this machine. Please report it."
        )


def _said(integers: IntegerNetwork, found: SearchData, batch: int = 32) -> np.ndarray:
    inputs = found.held.numpy()
    parts = [logits(integers, inputs[start : start + batch]) for start in range(0, len(inputs), batch)]
    return np.concatenate(parts)


def accuracy_of_integers(integers: IntegerNetwork, found: SearchData) -> float:
    """The share of held-out inputs that the integers classify rightly."""
    return float((_said(integers, found).argmax(1) == found.labels.numpy()).mean())


def _on_streams(
    packed: PackedHead,
    found: SearchData,
    tested: Labelled | None,
    model: Model | None,
    options: DataOptions,
    folder: Path,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """What the packed head says of real streams of held-out pictures, and of test pictures."""
    if model is None:
        return {}
    sets = {"streams": (found.labelled, found.held_rows)}
    if tested is not None:
        tested = readable(tested, model)
        sets["test"] = (tested, np.arange(len(tested.files)))
    figures: dict[str, Any] = {}
    for name, (labelled, rows) in sets.items():
        streams = encode_held(labelled, rows, model, side=options.side)
        figures[name] = figures_of(judge(packed, folder, streams, model), found.classes)
        shares = ", ".join(f"{share:.1%} at {key}" for key, share in figures[name]["accuracy"].items())
        log(f"on {len(rows):,} pictures as streams ({name}): {shares}")
    return {"accuracy": figures["streams"]["accuracy"], **figures}
