"""A packed model in use: its folder, what it says of itself, its gains and its networks.

The steps around it are functions of other files: :mod:`bifocal.runtime.encoding` turns pixels into float
latents and codes them, :mod:`bifocal.runtime.rendering` turns decoded latents into pixels, and
:mod:`bifocal.runtime.search` looks for better symbols. :attr:`Model.entropy` is all that
:mod:`bifocal.stream.latents` needs.
"""

from __future__ import annotations

import copy
import json
import math
import os
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bifocal._version import DEFAULT_MODEL as DEFAULT_MODEL
from bifocal.errors import ModelError, OptionError
from bifocal.runtime.engines.onnxruntime import REFERENCE, FloatNetwork, OnnxEngine, open_session
from bifocal.stream.entropy_model import EntropyModel
from bifocal.stream.limits import TILE_UNIT

if TYPE_CHECKING:
    from bifocal.stream.exact import ExactEngine

#: Where the shipped models are.
MODELS = Path(__file__).parent.parent / "models"
#: The format of ``model.json`` that this release reads.
FORMAT = 1

#: Side of a window's core in pixels: larger ones take more memory, smaller ones compute more of it twice.
CORE = 1088
#: Pixels that a window computes beyond its core: as far as the receptive field of each network reaches.
HALO = {"analysis": 80, "synthesis": 96, "half": 48, "thumb": 64}
#: Gains are stored as integers in this unit.
GAIN_UNIT = 2.0**-16


class Model:
    """A packed model, opened from its folder with :meth:`load`. Networks are opened on first use.

    ``name`` and ``folder`` say which it is; ``entropy`` is all that packing and unpacking need, ``engine``
    runs its exact networks; ``backend`` names what runs the float networks that only pixels depend on.
    Safe to share between threads.
    """

    def __init__(
        self,
        folder: Path,
        entropy: EntropyModel,
        *,
        threads: int | None = None,
        backend: str = REFERENCE,
    ) -> None:
        self.folder, self.entropy, self._threads = folder, entropy, threads
        self.name, self.backend = entropy.name, _checked(backend)
        self._networks: dict[str, FloatNetwork] = {}
        self._siblings = {self.backend: self}

    @classmethod
    def load(
        cls,
        name: str | os.PathLike[str],
        *,
        threads: int | None = None,
        backend: str = REFERENCE,
    ) -> Model:
        """Load an installed model by name, or any packed model by its folder.

        :param threads: processors that one network may use; all by default.
        :param backend: what runs the networks that give pixels: one of
            ``runtime.engines.float_engines.BACKENDS``.
        :raises ModelError: if there is none, or it is damaged.
        :raises OptionError: if the backend does not exist or is not installed.
        """
        folder = model_folder(name)
        return cls(folder, EntropyModel.load(folder), threads=threads, backend=backend)

    def __repr__(self) -> str:
        return f"<bifocal.Model {self.name}, fingerprint {self.entropy.fingerprint.hex()}>"

    def on(self, backend: str) -> Model:
        """This model with its pixels from another backend; always the same object for the same backend.

        :raises OptionError: if the backend does not exist or is not installed.
        """
        if _checked(backend) not in self._siblings:
            _ = self.engine  # made once: the exact networks are the same objects in all siblings
            sibling = copy.copy(self)
            sibling.backend, sibling._networks = backend, {}
            self._siblings[backend] = sibling
        return self._siblings[backend]

    @cached_property
    def engine(self) -> ExactEngine:
        """Runs the exact networks: ONNX Runtime, in 8-bit products where the model has graphs of them."""
        if self.entropy.wire_id == 2:
            from bifocal.runtime.engines.exact_int8 import exact_engine

            return exact_engine(self.entropy, self.folder, threads=self._threads)
        return OnnxEngine(self.folder, threads=self._threads)

    @cached_property
    def gains(self) -> dict[str, NDArray[np.float32]]:
        """``gain``, what y is multiplied by at each quality, and ``inverse_gain``: ``[100, c]`` each."""
        gains = self._tensors("gain", "inverse_gain")
        for name in ("gain", "inverse_gain"):
            if name not in gains or gains[name].shape != (100, self.entropy.plan.y_channels):
                raise ModelError(
                    f"{self.folder} has no {name} for 100 qualities. Install or pack the model again."
                )
        return {name: gains[name].astype(np.float32) * np.float32(GAIN_UNIT) for name in gains}

    def gain(self, name: str, quality: int) -> NDArray[np.float32]:
        """``gain`` or ``inverse_gain`` of a quality, ``[c, 1, 1]``.

        :raises OptionError: if ``quality`` is not 1 to 100.
        """
        if not 1 <= quality <= 100:
            raise OptionError(f"quality is {quality}; choose 1 (smallest file) to 100 (best picture).")
        row: NDArray[np.float32] = self.gains[name][quality - 1]
        return row[:, None, None]

    def to_float(self, y: NDArray[np.int32], quality: int) -> NDArray[np.float32]:
        """Decoded ``y`` int32 ``[c, h, w]``, of the first c channels, as what float networks take: times
        ``2^-fraction`` and the inverse of the quality's gain."""
        scale = self.gain("inverse_gain", quality) * np.float32(2.0**-self.entropy.plan.fraction)
        values: NDArray[np.float32] = np.multiply(y, scale[: len(y)], dtype=np.float32)
        return values

    @property
    def has_prices(self) -> bool:
        """Whether the model was packed with what an error is worth."""
        return "prices" in self._spec

    @property
    def has_adjoint(self) -> bool:
        """Whether the model was packed with what efforts above 1 need."""
        return (self.folder / "adjoint.onnx").exists()

    def price(self, quality: int) -> float:
        """Bits that the model pays for a unit of squared error (0..255, mean of the colours) of one pixel.

        :raises ModelError: if the model was packed without saying so.
        """
        return self._prices[quality - 1]

    def window(self, network: str) -> tuple[int, int]:
        """Core and halo in pixels of the windows in which a float network runs.

        Those of the default model, unless this one says otherwise.

        :raises ModelError: if what it says is impossible.
        """
        if "windows" not in self._spec:
            return CORE, HALO[network]
        try:
            core, halo = (
                int(n) for n in (self._spec["windows"]["core"], self._spec["windows"]["halo"][network])
            )
        except (KeyError, TypeError, ValueError):
            core = halo = -1
        if not (0 < core <= 4096 and 0 <= halo <= 1024 and core % TILE_UNIT == halo % TILE_UNIT == 0):
            raise ModelError(f"model {self.name} has no proper windows for {network}. Pack it again.")
        return core, halo

    def run(
        self, network: str, outputs: list[str], feeds: dict[str, NDArray[np.float32]]
    ) -> list[NDArray[np.float32]]:
        """The named outputs of a float network: analysis, hyper_analysis, synthesis, half, thumb or adjoint.

        :raises ModelError: if the model was packed without it, or it is damaged.
        """
        if network not in self._networks:
            self._networks[network] = self._open(network)
        return self._networks[network].run(outputs, feeds)

    def _open(self, network: str) -> FloatNetwork:
        path = self.folder / f"{network}.onnx"
        if network == "analysis" and not (self.folder / "hyper_analysis.onnx").exists():
            raise ModelError(
                f"model {self.name} has no hyper_analysis.onnx, so Bifocal 0.1 packed it: it decodes here. "
                "Pack it again to encode with it."
            )
        if network == "adjoint" and not self.has_adjoint:
            raise ModelError(
                f"model {self.name} was packed without the graph of the adjoint, which this effort needs. "
                "Take effort 1, or pack the model again."
            )
        weights = self.float_weights("synthesis" if network == "adjoint" else network)
        if self.backend == REFERENCE:
            session: FloatNetwork = open_session(path, weights, threads=self._threads)
            return session
        from bifocal.runtime.engines.float_engines import open_network

        return open_network(network, path, weights, threads=self._threads, backend=self.backend)

    def float_weights(self, network: str) -> dict[str, NDArray[np.float32]]:
        """The weights of a float network in float32, as its graph names them.

        They are stored in half precision, or as bytes ``W.int8`` with a scale ``W.scale`` for each row.

        :raises ModelError: if they cannot be read.
        """
        tensors = self._tensors(f"{network}.")
        found = {}
        for key, value in tensors.items():
            name, _, kind = key.rpartition(".")
            if kind == "int8":
                scale = tensors[f"{name}.scale"].astype(np.float32)
                found[name] = value * scale.reshape(-1, *[1] * (value.ndim - 1))
            elif kind != "scale":
                found[key] = value.astype(np.float32)
        return found

    def _tensors(self, *prefixes: str) -> dict[str, NDArray[Any]]:
        """Tensors of the packed weights whose names begin so; safetensors holds numbers, nothing to run."""
        from safetensors import SafetensorError, safe_open

        path = self.folder / "weights.safetensors"
        try:
            with safe_open(path, framework="np") as file:
                return {key: file.get_tensor(key) for key in file.keys() if key.startswith(prefixes)}
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path} cannot be read ({error}). Install or pack the model again.") from error

    @cached_property
    def _spec(self) -> dict[str, Any]:
        return read_spec(self.folder)

    @cached_property
    def _prices(self) -> list[float]:
        try:
            prices = [float(price) for price in self._spec["prices"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"model {self.name} was packed without the price of an error, which this effort needs. Take "
                "effort 1, or pack the model again."
            ) from error
        if len(prices) != 100 or not all(0 < price < math.inf for price in prices):
            raise ModelError(f"the prices of model {self.name} are damaged. Install or pack it again.")
        return prices


#: A model: an installed name, the folder of a packed one, or one already loaded.
ModelLike = str | os.PathLike[str] | Model


def loaded_model(model: ModelLike) -> Model:
    """A model by its name or folder, or itself. Loading costs more than a small picture: the last few stay.

    :raises ModelError: if there is none, or it is damaged.
    """
    return model if isinstance(model, Model) else _loaded(model_folder(model).resolve())


@lru_cache(maxsize=4)
def _loaded(folder: Path) -> Model:
    return Model.load(folder)


def model_folder(name: str | os.PathLike[str]) -> Path:
    """The folder of a model: an installed name, or a path to a folder.

    :raises ModelError: if it is neither.
    :raises OptionError: if it is no path at all.
    """
    if not isinstance(name, str | os.PathLike):
        raise OptionError(f"model is {name!r}; give the name of an installed model, a folder, or a Model.")
    if isinstance(name, str) and (MODELS / name / "model.json").is_file() and Path(name).name == name:
        return MODELS / name
    folder = Path(name)
    if (folder / "model.json").is_file():
        return folder
    known = ", ".join(sorted(path.parent.name for path in MODELS.glob("*/model.json"))) or "none"
    raise ModelError(
        f"there is no model '{os.fspath(name)}': it is neither an installed name ({known}) nor a folder "
        "with a model.json."
    )


def read_spec(folder: Path) -> dict[str, Any]:
    """The parsed ``model.json`` of a folder.

    :raises ModelError: if there is no model, or it is of a format that this release does not read.
    """
    path = folder / "model.json"
    try:
        spec = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror}): there is no packed model in {folder}. `bifocal "
            "models` lists the installed ones."
        ) from error
    except ValueError as error:
        raise ModelError(f"{path} is no valid JSON ({error}). Install or pack the model again.") from error
    if not isinstance(spec, dict) or spec.get("format") != FORMAT:
        raise ModelError(
            f"{path} is not of format {FORMAT}, the only one that this release reads. Install a newer "
            "Bifocal, or pack the model again."
        )
    return spec


def _checked(backend: str) -> str:
    if backend == REFERENCE:
        return backend
    from bifocal.runtime.engines.float_engines import check_backend

    return check_backend(backend)
