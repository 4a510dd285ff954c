"""One tree of errors. Each message says what happened, why, and what to do next.

Everything that Bifocal refuses is a :class:`BifocalError`; a caller who handles untrusted files needs one
``except``. Errors whose cause is an argument are also a :class:`ValueError`, as Python expects::

    BifocalError
    ├── OptionError          an argument out of range: quality 0, a tile side that is no multiple of 64
    ├── PictureError         a picture that cannot be read, is empty, or has an unsupported kind of pixel
    ├── OutputError          a file that cannot be written
    ├── RemoteError          a URL that cannot be read or written
    ├── BatchError           a run over many files that cannot start or go on; a worker process that died
    ├── TrainingError        a recipe, data folder or checkpoint that training cannot start from
    ├── CircuitError         a netlist, stimulus or fault that cannot be simulated
    ├── CampaignError        a fault campaign that cannot run or be resumed
    ├── GraphError           an ONNX graph whose memory traffic cannot be measured
    ├── ToolError            a program that we call is missing, too old, or refuses its input
    ├── LatentsError         latents that do not belong to the model that should pack them
    ├── ModelError           a packed model that is incomplete or contradicts itself
    │   ├── BoundError       an exact network whose sums could leave the range where float32 is exact
    │   ├── HeadError        a head that cannot be read or run, or that reads another model's streams
    │   └── ModelMissing     a stream made with a model that is not here
    └── StreamError          a stream that is not decoded
        ├── NotAStream       the first bytes are not Bifocal's
        ├── UnsupportedStream   a newer version, or a critical chunk from one
        ├── TruncatedStream  bytes are missing
        ├── DamagedStream    bytes are wrong: a checksum, a field or the coder says so
        └── LimitExceeded    larger than this reader agrees to open
"""

from __future__ import annotations

from copyreg import __newobj__  # type: ignore[attr-defined]
from typing import Any

from bifocal._version import DISTRIBUTION


def install_command(extra: str = "", *, release: str = "") -> str:
    """What to type to install Bifocal, with an ``extra`` of it, or an older ``release``.

    >>> install_command("train")
    'pip install "bifocal-codec[train]"'
    >>> install_command(release="0.3.0")
    'pip install bifocal-codec==0.3.0'
    """
    wanted = f"{DISTRIBUTION}[{extra}]" if extra else DISTRIBUTION
    wanted += f"=={release}" if release else ""
    return f'pip install "{wanted}"' if extra else f"pip install {wanted}"


def reason(error: BaseException) -> str:
    """What another library's ``error`` says, on one line and ready for brackets; its kind if it says nothing.

    >>> reason(ValueError("unexpected end of file\\n")), reason(KeyError())
    ('unexpected end of file', 'KeyError')
    """
    return " ".join(str(error).split()).rstrip(". ") or type(error).__name__


class BifocalError(Exception):
    """Everything that Bifocal refuses."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied without ``__init__``, whose arguments are not the message, so that an error reaches the
        parent of a worker process as it was raised."""
        return __newobj__, (type(self), *self.args), self.__dict__


class OptionError(BifocalError, ValueError):
    """An argument is out of its range."""


class PictureError(BifocalError):
    """A picture cannot be read, or is not one that can be encoded."""


class PictureWarning(UserWarning):
    """A picture is coded or written, but not all of it: it had 16 bits a channel, or the format no metadata.

    Whoever asks for ``strict=True`` gets a :class:`PictureError` instead of the first kind.
    """


class OutputError(BifocalError):
    """A result cannot be written."""


class RemoteError(BifocalError):
    """What a URL names cannot be read or written."""


class BatchError(BifocalError):
    """A run over many files cannot start or go on, or one of its worker processes died."""


class TrainingError(BifocalError):
    """A recipe, a data folder or a checkpoint from which training cannot start."""


class CircuitError(BifocalError):
    """A netlist, a stimulus or a fault that cannot be simulated."""


class CampaignError(BifocalError):
    """A fault campaign that cannot run, or a journal or result that is not its own."""


class GraphError(BifocalError):
    """An ONNX graph whose memory traffic cannot be measured; the message names the node."""


class ToolError(BifocalError):
    """A program that Bifocal calls (Yosys, a compiler, a simulator) is missing or refuses its input."""


class LatentsError(BifocalError, ValueError):
    """Latents do not fit the model that is asked to pack them."""


class ModelError(BifocalError):
    """A packed model is incomplete, damaged or contradicts itself."""


class BoundError(ModelError):
    """An exact network has an output row whose sums could exceed 2^24, so float32 would not be exact.

    >>> str(BoundError("predict.0", 1, 7, 16_777_300)).split(",")[0]
    'predict.0 layer 1'
    """

    def __init__(self, net: str, layer: int, row: int, reach: int) -> None:
        super().__init__(
            f"{net} layer {layer}, output row {row}: sums may reach {reach}, above 2^24 = {2**24}, where "
            "float32 stops being exact. Scale the row's weights down or tighten the clip of the layer before "
            "it, then pack again."
        )
        self.net, self.layer, self.row, self.reach = net, layer, row, reach


class HeadError(ModelError):
    """A head cannot be read or run, or does not read what it was given."""


class ModelMissing(ModelError):
    """A stream names a model that is not installed; the message says which release shipped it.

    ``release`` is the Bifocal release (major, minor, patch) that first shipped the model, as the stream says.
    """

    def __init__(self, wire_id: int, fingerprint: bytes, release: tuple[int, int, int]) -> None:
        version = ".".join(map(str, release))
        super().__init__(
            f"this stream was made with model {fingerprint.hex()} (wire id {wire_id}), which is not installed"
            f" here. Bifocal {version} has it: install it ({install_command(release=version)}), or pass "
            "the folder of the model."
        )
        self.wire_id, self.fingerprint, self.release = wire_id, fingerprint, release


class StreamError(BifocalError):
    """A stream is not decoded."""


class NotAStream(StreamError):
    """The first bytes are not those of a Bifocal stream."""


class UnsupportedStream(StreamError):
    """A stream uses a version or a critical chunk that this release does not know."""


class TruncatedStream(StreamError):
    """A stream ends before what it declares."""


class DamagedStream(StreamError):
    """A stream contradicts its checksums, its own fields or its coder."""


class LimitExceeded(StreamError):
    """A stream declares more than the reader's limits allow."""
