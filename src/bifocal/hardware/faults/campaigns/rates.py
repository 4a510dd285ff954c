"""From counts of bits to failures in time (FIT): bits × upsets of a bit, a model with constants from a file.

FIT = bits that make an output wrong / bits of a Mb × FIT/Mb of the configuration memory. Only INIT bits are
counted: a netlist has no routing, whose bits are the larger part of a device.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bifocal.errors import OptionError
from bifocal.hardware.faults.campaigns.scores import score_design
from bifocal.hardware.faults.result import CampaignResult

_SHIPPED = Path(__file__).parents[2] / "devices" / "upsets"
_KEYS = ("kind", "fit_per_mbit", "mbit", "source")


@dataclass(frozen=True)
class UpsetRate:
    """How often a bit of a device's configuration memory flips, and where that figure comes from."""

    name: str
    kind: str
    fit_per_mbit: float
    mbit: float
    source: str

    def fit(self, bits: float) -> float:
        """Upsets of so many bits in 10^9 hours."""
        return bits / self.mbit * self.fit_per_mbit

    def sentence(self, result: CampaignResult) -> str:
        """The FIT of the INIT bits that make an output wrong; with its interval, if faults were sampled."""
        score = score_design(result)
        bits = score.wrong_share * score.faults
        text = f"{self.fit(bits):.3g} FIT"
        if result.sampled:
            low, high = (self.fit(share * score.faults) for share in score.interval)
            text += f" ({low:.3g} to {high:.3g} with 95 % confidence)"
        return (
            f"{text}, {self.kind}: {bits:,.0f} INIT bits that make an output wrong × {self.fit_per_mbit:g} "
            f"FIT/Mb ({self.name}: {self.source}); routing, the larger part of a device, is not in a netlist"
        )


def load_rate(device: str) -> UpsetRate:
    """The rate of a shipped device by name (``7series``), or of a TOML file.

    :raises OptionError: if there is none, or a key is missing, unknown or impossible.
    """
    path = Path(device)
    shipped = _SHIPPED / f"{device}.toml"
    if not path.is_file() and path.name == device and shipped.is_file():
        path = shipped
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(sorted(file.stem for file in _SHIPPED.glob("*.toml")))
        raise OptionError(
            f"there is no device {device} (--device): it is neither a shipped one ({known}) nor a file."
        ) from error
    except ValueError as error:  # not text, or no TOML
        raise OptionError(f"{path} is not valid TOML: {error}") from error
    if wrong := sorted(set(_KEYS) ^ set(table)):
        raise OptionError(f"{path}: a device has the keys {', '.join(_KEYS)}; {', '.join(wrong)} is wrong.")
    rate, bits = (_positive(path, key, table[key]) for key in ("fit_per_mbit", "mbit"))
    return UpsetRate(path.stem, str(table["kind"]), rate, bits, str(table["source"]))


def _positive(path: Path, key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise OptionError(f"{path}: {key} is {value!r}; it has to be a number above 0.")
    return float(value)
