"""Float networks on OpenVINO (the ``openvino`` extra): bf16 and int8 products where the processor has them.

OpenVINO's own package reports each import to a web service. Decoding a picture is nobody's business: that
module is kept out while OpenVINO is imported here (:func:`_openvino`), which it provides for.
"""

from __future__ import annotations

import io
import sys
from collections import deque
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import ModelError, OptionError, install_command
from bifocal.runtime.engines.onnx_wiring import with_weights
from bifocal.runtime.engines.onnxruntime import available_threads

if TYPE_CHECKING:
    import openvino

_TELEMETRY = "openvino_telemetry"


class OpenVinoNetwork:
    """A float network compiled for this processor. Safe to share between threads.

    ``precision`` is that of its products, ``f32`` or ``bf16``; products that the graph holds in integers stay
    in integers.

    :raises OptionError: if OpenVINO is not installed, or the processor has no bf16.
    :raises ModelError: if the graph is damaged or does not fit the weights.
    """

    def __init__(
        self,
        graph: bytes,
        weights: Mapping[str, NDArray[Any]],
        *,
        threads: int | None = None,
        precision: Literal["f32", "bf16"] = "f32",
    ) -> None:
        if precision == "bf16" and not native_bf16():
            raise OptionError(
                "this processor has no bf16 products (AVX512_BF16 or AMX), and emulated ones are slow. Take "
                "openvino, which then uses f32, or openvino-int8."
            )
        core = _core()
        settings = {
            "INFERENCE_PRECISION_HINT": precision,  # by itself OpenVINO takes bf16 wherever there is any
            "INFERENCE_NUM_THREADS": threads or available_threads(),
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # two processes would pin their threads to the same processors
        }
        try:
            model = core.read_model(io.BytesIO(with_weights(graph, weights)))
            self._compiled = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise ModelError(
                f"OpenVINO cannot load a graph of the model: {error}. Install or pack the model again."
            ) from error
        self._idle: deque[Any] = deque()

    def run(self, outputs: list[str], feeds: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """The named outputs for the named inputs, as ONNX Runtime's sessions give them."""
        try:
            request = self._idle.pop()  # one request serves one thread at a time
        except IndexError:
            request = self._compiled.create_infer_request()
        made = request.infer(feeds, share_inputs=True, share_outputs=True)
        results = [np.array(made[name]) for name in outputs]  # before the request serves another thread
        self._idle.append(request)
        return results


def openvino_installed() -> bool:
    """Whether OpenVINO can be imported; it is not imported."""
    return find_spec("openvino") is not None


def need_openvino() -> None:
    """Raise :class:`OptionError` if OpenVINO is not installed."""
    if not openvino_installed():
        raise OptionError(
            "the backend asked for needs OpenVINO, which is not installed. Install it with: "
            f"{install_command('openvino')}, or choose onnxruntime."
        )


@lru_cache(maxsize=1)
def native_bf16() -> bool:
    """Whether this processor multiplies bf16 itself, by what OpenVINO would choose for it.

    :raises OptionError: if OpenVINO is not installed.
    """
    return bool(_core().get_property("CPU", "INFERENCE_PRECISION_HINT") == _openvino().Type.bf16)


@lru_cache(maxsize=1)
def _core() -> openvino.Core:
    return _openvino().Core()


def _openvino() -> Any:
    need_openvino()
    ours = _TELEMETRY not in sys.modules
    if ours:
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # its import then fails, and a stub stands in
    try:
        import openvino
    finally:
        if ours:
            del sys.modules[_TELEMETRY]
    return openvino
