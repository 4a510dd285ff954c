"""Pictures for training, straight from streams: latents, pixels, or both, with labels.

>>> from bifocal import data
>>> train = data.StreamDataset("shards/", gives="latents", crop=128)  # doctest: +SKIP
>>> train[0]["latents"].shape, train[0]["label"]  # doctest: +SKIP
(torch.Size([192, 8, 8]), 3)

Loading this module loads no torch; the names that need it do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bifocal.errors import OptionError, install_command

if TYPE_CHECKING:
    from bifocal.apps.data.dataset import StreamDataset
    from bifocal.apps.data.iterable import IterableStreamDataset
    from bifocal.apps.data.libraries import decoder, load_huggingface
    from bifocal.apps.data.packing import PackedDataset, pack_dataset

__all__ = [
    "IterableStreamDataset",
    "PackedDataset",
    "StreamDataset",
    "decoder",
    "load_huggingface",
    "pack_dataset",
]

_HOMES = {
    "IterableStreamDataset": "iterable",
    "PackedDataset": "packing",
    "StreamDataset": "dataset",
    "decoder": "libraries",
    "load_huggingface": "libraries",
    "pack_dataset": "packing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bifocal.data' has no attribute '{name}'")
    from importlib import import_module

    try:
        module = import_module(f"bifocal.apps.data.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise OptionError(f"bifocal.data.{name} needs torch: {install_command('train')}.") from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
