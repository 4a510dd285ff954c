"""Bifocal: one stream, two readers. A learned image codec whose streams decode bit-exactly on every machine.

>>> import bifocal, numpy
>>> data = bifocal.encode(numpy.full((48, 64, 3), 200, numpy.uint8), quality=60)
>>> picture = bifocal.decode(data)
>>> picture.width, picture.height
(64, 48)

Everything named in ``__all__`` is public; importing this module alone loads nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bifocal._version import __version__ as __version__

if TYPE_CHECKING:
    from bifocal.api import (
        StreamInfo,
        analyse,
        decode,
        decode_and_analyse,
        decode_file,
        encode,
        encode_file,
        info,
    )
    from bifocal.apps import batch
    from bifocal.apps.plugins.register import register_imageio, register_pillow
    from bifocal.errors import BifocalError
    from bifocal.pictures.convert import to_pillow
    from bifocal.pictures.files import read_picture, write_picture
    from bifocal.runtime.heads.run import Head
    from bifocal.runtime.model import Model
    from bifocal.stream.limits import Limits
    from bifocal.types import Labels, Picture

__all__ = [
    "BifocalError",
    "Head",
    "Labels",
    "Limits",
    "Model",
    "Picture",
    "StreamInfo",
    "analyse",
    "batch",
    "decode",
    "decode_and_analyse",
    "decode_file",
    "encode",
    "encode_file",
    "info",
    "read_picture",
    "register_imageio",
    "register_pillow",
    "to_pillow",
    "write_picture",
]

_HOMES = {
    "BifocalError": "bifocal.errors",
    "Head": "bifocal.runtime.heads.run",
    "Labels": "bifocal.types",
    "Limits": "bifocal.stream.limits",
    "Model": "bifocal.runtime.model",
    "Picture": "bifocal.types",
    "StreamInfo": "bifocal.api",
    "analyse": "bifocal.api",
    "batch": "bifocal.apps.batch",
    "decode": "bifocal.api",
    "decode_and_analyse": "bifocal.api",
    "decode_file": "bifocal.api",
    "encode": "bifocal.api",
    "encode_file": "bifocal.api",
    "info": "bifocal.api",
    "read_picture": "bifocal.pictures.files",
    "register_imageio": "bifocal.apps.plugins.register",
    "register_pillow": "bifocal.apps.plugins.register",
    "to_pillow": "bifocal.pictures.convert",
    "write_picture": "bifocal.pictures.files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bifocal' has no attribute '{name}'")
    from importlib import import_module

    home = _HOMES[name]
    value = import_module(home) if home.endswith(f".{name}") else getattr(import_module(home), name)
    globals()[name] = value  # the next look-up finds it at once
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
