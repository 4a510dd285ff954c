"""The entropy model: everything of a packed model that the entropy decoder needs, and nothing else.

Plan, hyper network, one predictor for every group, tables and the tables of z: all integers. Its fingerprint
is a hash of exactly these, so two models whose streams differ cannot share one, and a new synthesis network
leaves it alone. On disk it is the integer part of a packed model's folder: some entries of ``model.json`` and
some tensors of ``weights.safetensors``.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from bifocal.errors import ModelError
from bifocal.stream.coder import Tables
from bifocal.stream.exact import ExactNet, net_arrays, net_spec, read_net
from bifocal.stream.limits import TILE_UNIT
from bifocal.stream.plan import Group, Plan, group_mask

#: The arrangements that streams follow. Both have this group loop and these networks; 2 has reconstruction
#: points, and networks whose weights and hidden activations fit 7 and 8 bits (SPEC.md, sections 11 and 12).
WIRE_IDS = (1, 2)
#: The bounds of wire id 2: weights, hidden activations and hyper features, inputs of the hyper network.
WEIGHT_MAX, ACTIVATION_MAX, Z_MAX = 63, 255, 127
#: Magnitudes that have reconstruction points of their own: 1, 2, and 3 or more.
MAGNITUDES = 3
FORMAT = 1
#: mu stays within 16 bits, so a decoded latent stays within 32.
MU_MAX = 32767
_PLAN_NUMBERS = (
    "y_channels",
    "z_channels",
    "y_stride",
    "z_stride",
    "fraction",
    "context_shift",
    "context_max",
    "skip",
)


@dataclass(frozen=True, eq=False)
class EntropyModel:
    """The integer part of a packed model.

    ``release`` is the Bifocal release (major, minor, patch) that first shipped it; ``z_index`` int32
    ``[100, z_channels]`` the table of each channel of z at each quality. ``reconstruction`` int32
    ``[tables, 3]``, with wire id 2, is how much nearer to the mean than itself a symbol of magnitude 1, 2 and
    3 or more is decoded, in units of 2^-fraction of a step. Building one checks that its parts fit and raises
    :class:`ModelError` if they do not.
    """

    name: str
    release: tuple[int, int, int]
    plan: Plan
    hyper: ExactNet
    predictors: tuple[ExactNet, ...]
    tables: Tables
    z_index: NDArray[np.int32]
    wire_id: int = 1
    reconstruction: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        _check(self)

    @cached_property
    def fingerprint(self) -> bytes:
        """The first 8 bytes of SHA-256 over every integer that a decoder uses, in the order of SPEC.md."""
        digest = hashlib.sha256(b"bifocal entropy model 1\n")
        for array in _records(self):
            digest.update(struct.pack(f"<BB{array.ndim}I", array.itemsize, array.ndim, *array.shape))
            digest.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes())
        return digest.digest()[:8]

    def offsets(self, q: NDArray[np.int32], index: NDArray[Any]) -> NDArray[np.int32]:
        """Where symbols ``q`` with tables ``index`` are decoded to, from their means, in fixed point."""
        values: NDArray[np.int32] = q << self.plan.fraction
        if self.reconstruction is None:
            return values
        entry = np.clip(q, -MAGNITUDES, MAGNITUDES)
        entry += MAGNITUDES
        entry += index.astype(np.int32) * np.int32(2 * MAGNITUDES + 1)
        values -= self._points.take(entry)
        return values

    @cached_property
    def _points(self) -> NDArray[np.int32]:
        """How much less than itself a symbol is decoded to: by table, and in it by symbol -3 to 3, flat."""
        assert self.reconstruction is not None
        above = np.pad(self.reconstruction, ((0, 0), (1, 0)))  # zero stays
        return np.concatenate([-above[:, :0:-1], above], axis=1).reshape(-1)

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> EntropyModel:
        """Read the integer part of a packed model's folder; float weights are not touched.

        Raises :class:`ModelError` if a file is missing, incomplete or contradicts itself, and
        :class:`BoundError` if a network would not be exact.

        >>> EntropyModel.load("tests/conformance/golden/tiny-1/model").plan.y_channels
        16
        """
        path = Path(folder)
        try:
            spec = json.loads((path / "model.json").read_text("utf-8"))
            with safe_open(path / "weights.safetensors", framework="numpy") as file:
                wanted = [k for k in file.keys() if k.startswith(("exact.", "tables.")) or k == "z_index"]
                arrays = {key: _widened(key, file.get_tensor(key)) for key in wanted}
            return cls._from_parts(spec, arrays)
        except (OSError, ValueError, SafetensorError) as error:
            raise ModelError(f"the model in {path} cannot be read ({error}). Install it again.") from error
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ModelError(f"the model in {path} is incomplete ({error!r}). Install it again.") from error

    @classmethod
    def _from_parts(cls, spec: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> EntropyModel:
        if spec["format"] != FORMAT or spec["wire_id"] not in WIRE_IDS:
            raise ModelError(
                f"model {spec['name']} has format {spec['format']} and wire id {spec['wire_id']}; this "
                f"release reads {FORMAT} and {' or '.join(map(str, WIRE_IDS))}. Update Bifocal."
            )
        model = cls._build(spec, arrays)
        if spec.get("fingerprint", model.fingerprint.hex()) != model.fingerprint.hex():
            raise ModelError(
                f"model {model.name} has fingerprint {model.fingerprint.hex()}, not {spec['fingerprint']} as "
                "its description says: the files do not belong together. Install or pack it again."
            )
        return model

    @classmethod
    def _build(cls, spec: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> EntropyModel:
        plan, exact = spec["plan"], spec["exact"]
        groups = tuple(Group(*(int(v) for v in group)) for group in plan["groups"])
        return cls(
            name=str(spec["name"]),
            release=_release(str(spec["version"])),
            plan=Plan(groups=groups, **{key: int(plan[key]) for key in _PLAN_NUMBERS}),
            hyper=read_net("hyper", exact["hyper"], arrays),
            predictors=tuple(
                read_net(f"predict.{k}", exact[f"predict.{k}"], arrays) for k in range(len(groups))
            ),
            tables=Tables(arrays["tables.frequency"], arrays["tables.radius"]),
            z_index=arrays["z_index"],
            wire_id=int(spec["wire_id"]),
            reconstruction=arrays["tables.reconstruction"] if spec["wire_id"] > 1 else None,
        )

    def spec(self) -> dict[str, Any]:
        """The entries of ``model.json`` that :meth:`load` reads."""
        plan = self.plan
        numbers: dict[str, Any] = {key: getattr(plan, key) for key in _PLAN_NUMBERS}
        numbers["groups"] = [[g.start, g.stop, g.steps, g.step] for g in plan.groups]
        nets = (self.hyper, *self.predictors)
        return {
            "format": FORMAT,
            "name": self.name,
            "wire_id": self.wire_id,
            "version": ".".join(map(str, self.release)),
            "fingerprint": self.fingerprint.hex(),
            "plan": numbers,
            "exact": {net.name: net_spec(net) for net in nets},
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The tensors of ``weights.safetensors`` that :meth:`load` reads."""
        arrays: dict[str, NDArray[Any]] = {
            "tables.frequency": self.tables.frequency,
            "tables.radius": self.tables.radius,
            "z_index": self.z_index,
        }
        if self.reconstruction is not None:
            arrays["tables.reconstruction"] = self.reconstruction
        for net in (self.hyper, *self.predictors):
            arrays.update(net_arrays(net))
        return arrays

    def save(
        self,
        folder: str | PathLike[str],
        spec: Mapping[str, Any] | None = None,
        arrays: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """Write ``model.json`` and ``weights.safetensors``, with further entries (card, float networks)."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**self.spec(), **(spec or {})}, indent=1)
        (path / "model.json").write_text(text + "\n", "utf-8")
        tensors = {key: _narrowed(value) for key, value in {**self.arrays(), **(arrays or {})}.items()}
        (path / "weights.safetensors").write_bytes(save(tensors))


def _narrowed(array: NDArray[Any]) -> NDArray[Any]:
    """The same integers in the smallest signed type that holds them; other numbers as they are."""
    kinds = (np.int8, np.int16) if array.dtype == np.int32 else ()
    for kind in kinds:
        narrow = array.astype(kind)
        if np.array_equal(narrow, array):
            return np.ascontiguousarray(narrow)
    return np.ascontiguousarray(array)


def _widened(key: str, array: NDArray[Any]) -> NDArray[Any]:
    """Everything but weights is computed with as int32, in whichever type it is stored."""
    stored = array.dtype in (np.int8, np.int16) and not key.endswith(".weight")
    return array.astype(np.int32) if stored else array


def _records(model: EntropyModel) -> Iterator[NDArray[Any]]:
    """Every integer that decoding depends on, as int8 or int32 arrays, in normative order."""

    def numbers(*values: int) -> NDArray[np.int32]:
        return np.array(values, dtype=np.int32)

    plan = model.plan
    yield numbers(model.wire_id, *(getattr(plan, key) for key in _PLAN_NUMBERS))
    yield np.array([[g.start, g.stop, g.steps, g.step] for g in plan.groups], dtype=np.int32)
    for net in (model.hyper, *model.predictors):
        yield net.input_max
        for layer in net.layers:
            yield numbers(layer.kernel, int(layer.relu), layer.lo, layer.hi, int(layer.shuffle))
            yield from (layer.weight, layer.bias, layer.shift)
    yield from (model.tables.radius, model.tables.frequency, model.z_index)
    if model.reconstruction is not None:
        yield model.reconstruction


def _release(version: str) -> tuple[int, int, int]:
    parts = version.split(".")
    if len(parts) != 3 or not all(p.isascii() and p.isdigit() and int(p) < 256 for p in parts):
        raise ModelError(f"the model's version {version!r} is not MAJOR.MINOR.PATCH. Pack the model again.")
    major, minor, patch = map(int, parts)
    return major, minor, patch


def _check(model: EntropyModel) -> None:
    def need(true: bool, what: str) -> None:
        if not true:
            raise ModelError(
                f"model {model.name}: {what}. It is damaged, or was packed wrongly; pack it again."
            )

    plan, tables = model.plan, model.tables
    strides = plan.y_stride > 0 and plan.z_stride > 0
    need(
        strides and plan.z_stride % plan.y_stride == 0 and TILE_UNIT % plan.z_stride == 0,
        f"strides {plan.y_stride} and {plan.z_stride} do not divide each other and {TILE_UNIT}",
    )
    need(0 <= plan.fraction <= 6 and 0 <= plan.context_shift <= 8, "its fixed-point formats are out of range")
    need(
        0 < plan.context_max <= MU_MAX and 0 <= plan.skip <= tables.count,
        "its context or skip is out of range",
    )
    need(0 < plan.y_channels <= 4096 and 0 < plan.z_channels <= 4096, "its channels are out of range")
    cover = np.zeros((plan.y_channels, 2, 2), dtype=np.int64)
    for g in plan.groups:
        fits = 0 <= g.start < g.stop <= plan.y_channels and g.steps in (1, 2, 4) and 0 <= g.step < g.steps
        need(fits, f"group {g} does not exist")
        cover[g.start : g.stop] += group_mask(g, 2, 2)
    need(bool((cover == 1).all()), "its groups do not hold every latent exactly once")
    need(len(model.predictors) == len(plan.groups), "a group has no predictor")
    need(model.hyper.inputs == plan.z_channels, "its hyper network does not take z")
    need(model.hyper.scale * plan.y_stride == plan.z_stride, "its hyper network does not reach the size of y")
    for g, net in zip(plan.groups, model.predictors, strict=True):
        need(
            net.inputs == model.hyper.outputs + plan.y_channels,
            f"{net.name} does not take features, contexts",
        )
        need(net.outputs == 2 * g.channels and net.scale == 1, f"{net.name} does not fit its group")
        need(net.layers[-1].output_max <= MU_MAX, f"{net.name} gives means beyond ±{MU_MAX}")
    z = model.z_index
    need(z.dtype.name == "int32" and z.shape == (100, plan.z_channels), "its z_index is misshapen")
    need(bool(((z >= 0) & (z < tables.count)).all()), "its z_index names tables that do not exist")
    need(model.wire_id in WIRE_IDS, f"wire id {model.wire_id} does not exist")
    need((model.reconstruction is not None) == (model.wire_id > 1), "its reconstruction is not its wire id's")
    if model.reconstruction is not None:
        _check_wire_2(model, model.reconstruction, need)


def _check_wire_2(
    model: EntropyModel, reconstruction: NDArray[np.int32], need: Callable[[bool, str], None]
) -> None:
    shape = (model.tables.count, MAGNITUDES)
    need(
        reconstruction.dtype.name == "int32" and reconstruction.shape == shape,
        "its reconstruction is misshapen",
    )
    near = bool((2 * np.abs(reconstruction.astype(np.int64)) < 1 << model.plan.fraction).all())
    need(near, "a reconstruction point is half a step or more from its symbol")
    need(bool((model.hyper.input_max <= Z_MAX).all()), f"its hyper network takes more than ±{Z_MAX}")
    for net in (model.hyper, *model.predictors):
        for number, layer in enumerate(net.layers):
            weight = int(np.abs(layer.weight.astype(np.int64)).max())
            need(weight <= WEIGHT_MAX, f"{net.name} layer {number} has weights beyond ±{WEIGHT_MAX}")
            hidden = net is model.hyper or number + 1 < len(net.layers)
            fits = layer.relu and layer.output_max <= ACTIVATION_MAX
            need(fits or not hidden, f"{net.name} layer {number} gives values outside 0 to {ACTIVATION_MAX}")
