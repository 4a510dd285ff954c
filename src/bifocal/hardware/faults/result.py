"""The result of a campaign: a row for each fault, and what is needed to understand and to repeat it."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import CampaignError
from bifocal.hardware.circuits.netlist import Netlist
from bifocal.hardware.faults.effects import Effects
from bifocal.hardware.faults.models import KIND_NAMES, OPEN, STUCK, UPSET, Faults

#: What is known about a fault: it cannot matter, it was simulated, or sampling left it out.
UNADDRESSED, SIMULATED, LEFT_OUT = 0, 1, 2
STATUS_NAMES = ("unaddressed", "simulated", "left out")
_FORMAT = "bifocal fault campaign 1"
_COLUMNS = (
    ("kind", np.uint8),
    ("target", np.int32),
    ("detail", np.int32),
    ("site", np.int32),
    ("status", np.uint8),
    ("wrong_cycles", np.int32),
    ("wrong_bits", np.int64),
    ("first_wrong", np.int32),
    ("latent", np.bool_),
)


@dataclass(frozen=True, slots=True)
class Site:
    """Where faults are: a LUT, a flip-flop or a net; ``sources`` are lines of HDL, where they are known."""

    name: str
    kind: str
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """How a campaign was run; its results do not depend on it.

    Seconds are wall-clock: fault-free run, generating and compiling (0 for Numba's cached code), simulating.
    ``resumed`` counts faults whose effects came from a journal.
    """

    engine: str
    jobs: int
    fault_free_seconds: float
    build_seconds: float
    simulate_seconds: float
    resumed: int = 0
    notes: tuple[str, ...] = ()

    def sentence(self) -> str:
        """The engine and its seconds; each note on a line of its own."""
        seconds = f"{self.engine}, {self.build_seconds + self.simulate_seconds:.2f} s"
        return "\n          ".join([seconds, *self.notes])


@dataclass(frozen=True, eq=False)
class CampaignResult:
    """Every fault of a campaign and what it did.

    The arrays are ``[n]``: ``kind``, ``target``, ``detail`` as in :class:`Fault`; ``site`` an index into
    ``sites``; ``status`` UNADDRESSED (silent without simulating, exactly), SIMULATED or LEFT_OUT (by
    sampling; its other columns are 0); ``wrong_cycles``, ``wrong_bits``, ``first_wrong`` and ``latent``
    as in :class:`Effects`. ``outputs`` counts the compared bits. Two results are equal if all but
    ``facts`` is.
    """

    design: str
    model: str
    cycles: int
    reset_cycles: int
    outputs: int
    stimulus: str
    seed: int
    budget: int
    netlist_digest: str
    stimulus_digest: str
    notes: tuple[str, ...]
    sites: tuple[Site, ...]
    facts: Facts
    kind: NDArray[np.uint8]
    target: NDArray[np.int32]
    detail: NDArray[np.int32]
    site: NDArray[np.int32]
    status: NDArray[np.uint8]
    wrong_cycles: NDArray[np.int32]
    wrong_bits: NDArray[np.int64]
    first_wrong: NDArray[np.int32]
    latent: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.kind)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CampaignResult):
            return NotImplemented
        return all(
            np.array_equal(getattr(self, f.name), getattr(other, f.name))
            if f.name in dict(_COLUMNS)
            else getattr(self, f.name) == getattr(other, f.name)
            for f in fields(self)
            if f.name != "facts"
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def sampled(self) -> bool:
        """Whether the budget left faults out."""
        return bool((self.status == LEFT_OUT).any())

    @property
    def faults(self) -> Faults:
        """The faults as the engines take them."""
        return Faults(self.model, self.kind, self.target, self.detail)

    def to_json(self) -> str:
        """The whole result as a JSON text."""
        names = {name for name, _ in _COLUMNS}
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in names}
        plain["sites"] = [[site.name, site.kind, list(site.sources)] for site in self.sites]
        facts = asdict(self.facts)
        facts["golden_seconds"] = facts.pop("fault_free_seconds")  # the format's name for it
        plain["facts"] = facts
        columns = {name: getattr(self, name).astype(np.int64).tolist() for name, _ in _COLUMNS}
        return json.dumps({"format": _FORMAT, **plain, "columns": columns}) + "\n"

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> CampaignResult:
        """Read a file that holds what :meth:`to_json` wrote.

        :raises CampaignError: if it cannot be read, or is something else.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise CampaignError(f"{path} cannot be read: {why}. Name a result.json.") from error
        return cls.from_json(text, str(path))

    @classmethod
    def from_json(cls, text: str, source: str = "this") -> CampaignResult:
        """Read what :meth:`to_json` wrote; ``source`` is what errors call it.

        :raises CampaignError: if it is something else.
        """
        try:
            document = json.loads(text)
            if document.pop("format") != _FORMAT:
                raise ValueError("another format")
            raw = document.pop("columns")
            columns = {name: _column(raw[name], kind) for name, kind in _COLUMNS}
            if len({len(column) for column in columns.values()}) != 1:
                raise ValueError("columns of different lengths")
            facts = document.pop("facts")
            facts["fault_free_seconds"] = facts.pop("golden_seconds")
            facts["notes"] = tuple(facts["notes"])
            document["facts"] = Facts(**facts)
            document["notes"] = tuple(document["notes"])
            document["sites"] = tuple(Site(n, k, tuple(s)) for n, k, s in document["sites"])
            return cls(**document, **columns)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CampaignError(
                f"{source} is not a result of a fault campaign ({type(error).__name__}: {error}). Name the "
                "result.json that `bifocal faults run` writes."
            ) from error

    def to_csv(self) -> str:
        """A row for each fault, with its site, its effects and its scores."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(
            "site cell fault detail status wrong_cycles share_wrong_cycles share_wrong_bits first_wrong"
            " latent source".split()
        )
        bits = max(1, self.cycles * self.outputs)
        for i in range(len(self)):
            site, first = self.sites[self.site[i]], int(self.first_wrong[i])
            found: list[object] = [
                int(self.wrong_cycles[i]),
                f"{self.wrong_cycles[i] / self.cycles:.6g}",
                f"{self.wrong_bits[i] / bits:.6g}",
                first if first >= 0 else "",
                int(self.latent[i]),
            ]
            if self.status[i] == LEFT_OUT:
                found = [""] * len(found)
            head = [site.name, site.kind, KIND_NAMES[self.kind[i]], int(self.detail[i])]
            writer.writerow([*head, STATUS_NAMES[self.status[i]], *found, " ".join(site.sources)])
        return out.getvalue()


def find_sites(netlist: Netlist, faults: Faults) -> tuple[tuple[Site, ...], NDArray[np.int32]]:
    """The sites of faults, in order of first use, and the index of each fault's site, int32 ``[n]``."""
    sites: list[Site] = []
    number: dict[tuple[str, int], int] = {}
    site = np.zeros(len(faults), np.int32)
    gates = len(netlist.gates)
    for i, fault in enumerate(faults):
        target = fault.target
        if fault.kind == STUCK:
            key = ("net", target)
        elif fault.kind == UPSET:
            key = ("flipflop", target)
        elif fault.kind == OPEN and target >= gates:
            key = ("flipflop", target - gates)
        else:
            key = ("gate", target)
        if key not in number:
            number[key] = len(sites)
            sites.append(_site(netlist, *key))
        site[i] = number[key]
    return tuple(sites), site


def _site(netlist: Netlist, kind: str, index: int) -> Site:
    if kind == "net":
        return Site(netlist.nets[index], "net")
    cell = netlist.gates[index] if kind == "gate" else netlist.flipflops[index]
    return Site(cell.name, cell.kind, cell.sources)


def _column(values: Any, kind: Any) -> Any:
    column = np.array(values, np.int64)
    if column.ndim != 1 or not np.array_equal(column.astype(kind).astype(np.int64), column):
        raise ValueError("a column does not fit its type")
    return column.astype(kind)


def effects_of(result: CampaignResult) -> Effects:
    """The four columns that an engine found."""
    return Effects(result.wrong_cycles, result.wrong_bits, result.first_wrong, result.latent)
