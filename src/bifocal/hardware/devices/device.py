"""A device as a TOML file: multiplies a cycle by precision, bandwidth, buffers, clock, functions, tile sizes.

Kind "modelled" is an accelerator whose latency comes from :mod:`bifocal.hardware.devices.latency`. Kind
"measured" is the processor of this machine, whose layers are timed one by one (``learn/search/measured.py``);
it has no numbers of its own.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from bifocal.errors import OptionError

#: Tables of a device's file, with their keys: all are needed of a modelled device.
TABLES: Mapping[str, tuple[str, ...]] = {
    "resources": ("dsp", "lut", "bram"),
    "multiplies": ("w8a8", "w4a8"),
    "fit": ("efficiency", "control_cycles"),
    "functions": ("norm", "softmax", "gelu", "dsp"),
    "logic": ("fixed", "multiplier", "column"),
}
TILES = ("rows", "columns", "heads", "multipliers")
#: What may be zero.
MAY_BE_ZERO = {"fit.control_cycles", "functions.dsp", "logic.fixed", "logic.multiplier", "logic.column"}
MAY_BE_ZERO |= {"functions.norm", "functions.softmax", "functions.gelu"}


@dataclass(frozen=True)
class Tiles:
    """How an accelerator cuts products: ``rows × columns`` outputs at once, of ``heads`` heads side by side
    in attention, by ``multipliers``."""

    rows: int
    columns: int
    heads: int
    multipliers: int


@dataclass(frozen=True)
class Device:
    """A device; ``numbers`` of a modelled one by ``TABLE.KEY``, and the ``tiles`` that a design may choose.

    ``bandwidth`` is in bytes a cycle, ``clock`` in Hz.
    """

    name: str
    kind: str
    clock: float = 0.0
    bandwidth: float = 0.0
    numbers: Mapping[str, float] = field(default_factory=dict)
    tiles: tuple[Tiles, ...] = ()
    published: str = ""  # the board of the published designs that the model is compared with

    @property
    def measured(self) -> bool:
        return self.kind == "measured"


def load_device(name: str | Path) -> Device:
    """A shipped device by name (``zcu102``, ``cpu``), or one of a TOML file.

    :raises OptionError: if there is none, or a key of its file is missing, unknown or impossible.
    """
    path = Path(name)
    shipped = Path(__file__).parent / f"{name}.toml"
    if not path.is_file() and path.name == str(name) and shipped.is_file():
        path = shipped
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(sorted(p.stem for p in Path(__file__).parent.glob("*.toml")))
        raise OptionError(
            f"there is no device {name}: it is neither a shipped one ({known}) nor a file."
        ) from error
    except ValueError as error:
        raise OptionError(f"{path} is not valid TOML: {error}") from error
    try:
        return _device(path.stem, table)
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from error


def _device(name: str, table: dict[str, Any]) -> Device:
    kind = table.pop("kind", None)
    if kind == "measured":
        _refuse_unknown("", table, ())
        return Device(name, kind)
    if kind != "modelled":
        raise OptionError(
            f'kind is {kind!r}; give "modelled", or "measured" for the processor of this machine.'
        )
    _refuse_unknown("", table, ("clock_mhz", "bandwidth_gbs", "published", "tiles", *TABLES))
    clock = 1e6 * _number("clock_mhz", table.get("clock_mhz"))
    bandwidth = 1e9 * _number("bandwidth_gbs", table.get("bandwidth_gbs")) / clock
    numbers = {}
    for part, keys in TABLES.items():
        found = _table(part, table.get(part))
        _refuse_unknown(f"{part}.", found, keys)
        for key in keys:
            numbers[f"{part}.{key}"] = _number(f"{part}.{key}", found.get(key))
    if numbers["fit.efficiency"] > 1:
        raise OptionError(
            f"fit.efficiency is {numbers['fit.efficiency']}; it is a share above 0 and up to 1."
        )
    if numbers["multiplies.w4a8"] < numbers["multiplies.w8a8"]:
        raise OptionError("multiplies.w4a8 is below multiplies.w8a8: rows of 4 bits cannot be slower.")
    tiles, published = _tiles(_table("tiles", table.get("tiles"))), table.get("published", "")
    if published not in ("", "zcu102"):
        raise OptionError(f'published is {published!r}; designs are known of "zcu102" alone.')
    return Device(name, kind, clock, bandwidth, numbers, tiles, published)


def _tiles(table: dict[str, Any]) -> tuple[Tiles, ...]:
    _refuse_unknown("tiles.", table, TILES)
    choices = []
    for key in TILES:
        values = table.get(key)
        if not isinstance(values, list) or not values:
            raise OptionError(f"tiles.{key} is {values!r}; give a list of whole numbers above 0.")
        for value in values:
            if type(value) is not int or not 0 < value <= 1 << 16:
                raise OptionError(f"tiles.{key} has {value!r}; tile sizes are whole numbers from 1 to 65536.")
        choices.append(sorted(set(values)))
    made = tuple(Tiles(*sizes) for sizes in product(*choices) if sizes[3] <= sizes[0] * sizes[1])
    if not made:
        raise OptionError("every entry of tiles.multipliers is more than rows times columns can use.")
    return made


def _table(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise OptionError(f"table [{name}] is missing.")
    return value


def _refuse_unknown(prefix: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise OptionError(
                f"key {prefix}{key} is unknown. Known are {', '.join(known) or 'none but kind'}."
            )


def _number(key: str, value: Any) -> float:
    if value is None:
        raise OptionError(f"key {key} is missing.")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise OptionError(f"key {key} is {value!r}, which is no number.")
    if value < 0 or (value == 0 and key not in MAY_BE_ZERO):
        raise OptionError(f"key {key} is {value}; it has to be above 0.")
    return float(value)
