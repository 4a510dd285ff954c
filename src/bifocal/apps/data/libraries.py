"""Streams in the loaders that people have: a decoder for WebDataset, and Hugging Face datasets."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from bifocal.apps.data.dataset import _plain, tensors
from bifocal.apps.data.samples import Gives, SampleReader
from bifocal.apps.data.sources import open_source
from bifocal.errors import OptionError
from bifocal.stream.limits import DEFAULT_LIMITS, Limits


def decoder(
    gives: Gives = "latents",
    *,
    crop: int | None = None,
    random_crop: bool = True,
    channels: int | None = None,
    model: str | os.PathLike[str] | None = None,
    threads: int = 1,
    limits: Limits = DEFAULT_LIMITS,
) -> Callable[[str, bytes], Any]:
    """A handler for ``WebDataset(...).decode(...)``: files ``.bfc``, or ``.q30.bfc`` and so on, become
    tensors.

    With ``gives="both"`` they become a dict. Crops are drawn from torch's generator, which DataLoader seeds
    in each worker. Parameters are those of :class:`StreamDataset`.

    >>> import webdataset  # doctest: +SKIP
    >>> webdataset.WebDataset("shards/000000.tar").decode(decoder(crop=128))  # doctest: +SKIP
    """
    reader = SampleReader(gives, crop, channels, _plain(model), threads, limits)
    return _Handler(reader, random_crop)


class _Handler:
    """What WebDataset calls with the end of a file's name and its bytes; None is for the next handler."""

    def __init__(self, reader: SampleReader, random: bool) -> None:
        self._reader, self._random = reader, random

    def __call__(self, key: str, data: bytes) -> Any:
        if not f".{key}".lower().endswith(".bfc"):
            return None
        found = tensors(self._reader.read(data, key, _drawn() if self._random else None))
        return found if self._reader.gives == "both" else found[self._reader.gives]


def load_huggingface(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    streaming: bool = False,
    gives: Gives = "latents",
    crop: int | None = None,
    random_crop: bool = True,
    channels: int | None = None,
    model: str | os.PathLike[str] | None = None,
    threads: int = 1,
    limits: Limits = DEFAULT_LIMITS,
    **options: Any,
) -> Any:
    """Tar shards as a Hugging Face dataset whose rows are decoded when they are taken.

    A row has ``latents`` or ``picture`` or both for each stream, ``label`` and ``key``; where samples have
    several qualities, the names are ``latents.q30`` and so on. ``options`` go to
    ``datasets.load_dataset``, such as ``cache_dir``. Other parameters are those of :class:`StreamDataset`.

    :raises OptionError: if the package ``datasets`` is not installed, or ``source`` has no shards.
    """
    try:
        import datasets
    except ImportError as error:
        raise OptionError("this needs Hugging Face's package: pip install datasets.") from error
    shards = open_source(source).shards
    if not shards:
        raise OptionError(f"{source} has no tar shards. Pack it first: bifocal pack-dataset {source} SHARDS.")
    reader = SampleReader(gives, crop, channels, _plain(model), threads, limits)
    files = {"train": list(shards)}
    rows = datasets.load_dataset(
        "webdataset", data_files=files, split="train", streaming=streaming, **options
    )
    make = _Rows(reader, random_crop)
    return rows.map(make.one) if streaming else rows.with_transform(make.many)


class _Rows:
    """From the columns of WebDataset's layout to those of samples."""

    def __init__(self, reader: SampleReader, random: bool) -> None:
        self._reader, self._random = reader, random

    def one(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """One row; those that go through Arrow cannot be tensors, so arrays stay arrays."""
        made: dict[str, Any] = {"key": row.get("__key__", ""), "label": row.get("cls", -1)}
        for name, data in row.items():
            if f".{name}".lower().endswith(".bfc") and data is not None:
                found = self._reader.read(data, str(made["key"]), _drawn() if self._random else None)
                end = name[: -len("bfc")].rstrip(".")
                made |= {f"{part}.{end}" if end else part: value for part, value in found.items()}
        return made

    def many(self, rows: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """Several rows as columns of tensors."""
        count = len(next(iter(rows.values())))
        made = [tensors(self.one({name: rows[name][k] for name in rows})) for k in range(count)]
        return {name: [row[name] for row in made] for name in made[0]} if made else {}


def _drawn() -> np.random.Generator:
    return np.random.default_rng(int(torch.randint(0, 1 << 62, ())))
