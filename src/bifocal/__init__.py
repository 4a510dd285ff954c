"""Bifocal: a learned image codec whose streams decode to the same latents on every machine.

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
    from bifocal.api.decoding import decode
    from bifocal.api.detection import detect
    from bifocal.api.embeddings import embed
    from bifocal.api.encoding import encode
    from bifocal.api.files import decode_file, encode_file
    from bifocal.api.info import StreamInfo, info
    from bifocal.api.labels import analyse, analyse_many, decode_and_analyse
    from bifocal.apps import batch, data
    from bifocal.apps.plugins.register import register_imageio, register_pillow
    from bifocal.errors import (
        BifocalError,
        HeadError,
        LimitExceeded,
        ModelError,
        ModelMissing,
        OptionError,
        OutputError,
        PictureError,
        PictureWarning,
        RemoteError,
        StreamError,
    )
    from bifocal.pictures.pillow_images import to_pillow
    from bifocal.pictures.reading import read_picture
    from bifocal.pictures.writing import write_picture
    from bifocal.runtime.heads.run import Head
    from bifocal.runtime.model import Model
    from bifocal.stream.limits import Limits
    from bifocal.types import Boxes, Caption, Labels, Picture

__all__ = [
    "BifocalError",
    "Boxes",
    "Caption",
    "Head",
    "HeadError",
    "Labels",
    "LimitExceeded",
    "Limits",
    "Model",
    "ModelError",
    "ModelMissing",
    "OptionError",
    "OutputError",
    "Picture",
    "PictureError",
    "PictureWarning",
    "RemoteError",
    "StreamError",
    "StreamInfo",
    "analyse",
    "analyse_many",
    "batch",
    "data",
    "decode",
    "decode_and_analyse",
    "decode_file",
    "detect",
    "embed",
    "encode",
    "encode_file",
    "info",
    "read_picture",
    "register_imageio",
    "register_pillow",
    "to_pillow",
    "write_picture",
]

#: Where each public name is; the others are errors.
_HOMES = {
    "Boxes": "bifocal.types",
    "Caption": "bifocal.types",
    "Head": "bifocal.runtime.heads.run",
    "Labels": "bifocal.types",
    "Limits": "bifocal.stream.limits",
    "Model": "bifocal.runtime.model",
    "Picture": "bifocal.types",
    "StreamInfo": "bifocal.api.info",
    "analyse": "bifocal.api.labels",
    "analyse_many": "bifocal.api.labels",
    "batch": "bifocal.apps.batch",
    "data": "bifocal.apps.data",
    "decode": "bifocal.api.decoding",
    "decode_and_analyse": "bifocal.api.labels",
    "decode_file": "bifocal.api.files",
    "detect": "bifocal.api.detection",
    "embed": "bifocal.api.embeddings",
    "encode": "bifocal.api.encoding",
    "encode_file": "bifocal.api.files",
    "info": "bifocal.api.info",
    "read_picture": "bifocal.pictures.reading",
    "register_imageio": "bifocal.apps.plugins.register",
    "register_pillow": "bifocal.apps.plugins.register",
    "to_pillow": "bifocal.pictures.pillow_images",
    "write_picture": "bifocal.pictures.writing",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'bifocal' has no attribute '{name}'")
    from importlib import import_module

    home = _HOMES.get(name, "bifocal.errors")
    value = import_module(home) if name in ("batch", "data") else getattr(import_module(home), name)
    globals()[name] = value  # the next look-up finds it at once
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
