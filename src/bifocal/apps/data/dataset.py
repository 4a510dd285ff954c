"""The map-style dataset: any sample by its number."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from bifocal.apps.data.samples import Gives, SampleReader
from bifocal.apps.data.sources import Record, index_shards, open_source, read_sample
from bifocal.errors import OptionError, StreamError
from bifocal.stream.limits import DEFAULT_LIMITS, Limits


class StreamDataset(Dataset[dict[str, Any]]):
    """Samples of a dataset of streams by number, for :class:`torch.utils.data.DataLoader`.

    A sample is a dict: ``latents``, float32 ``[c, ⌈H/16⌉, ⌈W/16⌉]``, or ``picture``, uint8 ``[3, H, W]``, or
    both; ``label``, the number of its class or -1; its ``key``; and the ``quality`` of the stream it is from.
    Where samples have several qualities, and where a crop lies, is drawn by seed, epoch and number, so any
    sample of any epoch can be made again.

    :param source: a folder of ``.bfc`` files with one subfolder for each class, a ``.zip`` file of one, tar
        shards in the layout of WebDataset (their folder, a pattern, or a list), or a URL of any of these.
    :param gives: ``"latents"``, ``"picture"`` or ``"both"``.
    :param crop: side in pixels of the square that is cut, a multiple of 16; everything by default, and then
        pictures of different sizes need a ``collate_fn``.
    :param quality: which of several streams of a picture to take; any, drawn anew each epoch, by default.
    :param random_crop: draw the crop; otherwise it is the middle, as for validation.
    :param channels: channels of the latents, from the first; the low band, which heads read, by default.
    :param model: whose latents are read; the shipped model's by default.
    :param threads: processors of each worker.
    :raises OptionError: if there is no such dataset, or an option cannot be.
    :raises StreamError: if a shard is missing or cut short.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        gives: Gives = "latents",
        crop: int | None = None,
        quality: int | None = None,
        random_crop: bool = True,
        channels: int | None = None,
        model: str | os.PathLike[str] | None = None,
        seed: int = 0,
        threads: int = 1,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self.reader = SampleReader(gives, crop, channels, _plain(model), threads, limits)
        found = open_source(source)
        self.samples = found.samples or tuple(index_shards(found.shards))
        if not self.samples:
            raise OptionError(f"{source} has shards, and no .bfc files in them. Pack the dataset again.")
        self.classes = found.classes
        self._quality, self._random, self._seed = quality, random_crop, seed
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # workers that go on see it change

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def labels(self) -> list[int]:
        """The label of every sample, such as for a sampler that balances classes."""
        return [sample.label for sample in self.samples]

    def set_epoch(self, epoch: int) -> None:
        """Draw crops and qualities anew; also workers that persist take it up."""
        self._epoch.fill_(epoch)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """
        :raises StreamError: if the stream is gone, damaged or cut short; the message names it.
        """
        sample = self.samples[number]
        rng = np.random.default_rng([self._seed, int(self._epoch), number % len(self)])
        chosen = choose_stream(sample.streams, self._quality, sample.key, rng)
        kept = type(sample)(sample.key, sample.label, (chosen,))
        record = read_sample(kept, self.reader.limits.stream_bytes)
        return as_sample(record, self.reader, rng if self._random else None)


def choose_stream(
    streams: Sequence[tuple[int, Any]], quality: int | None, key: str, rng: np.random.Generator
) -> tuple[int, Any]:
    """One of the streams of a sample: of the wanted quality, or any.

    :raises OptionError: if it has none of that quality.
    """
    if quality is None:
        return streams[int(rng.integers(len(streams)))] if len(streams) > 1 else streams[0]
    for one in streams:
        if one[0] == quality:
            return one
    known = ", ".join(str(q) for q, _ in streams if q) or "one whose name says no quality"
    raise OptionError(f"{key} has no stream called .q{quality}.bfc; it has {known}.")


def as_sample(record: Record, reader: SampleReader, rng: np.random.Generator | None) -> dict[str, Any]:
    """The sample of a record with one stream, its arrays as tensors.

    :raises StreamError: if the stream is damaged; the message names the sample.
    """
    ((_, data),) = record.streams
    try:
        found = reader.read(data, record.key, rng)
    except StreamError as error:
        raise type(error)(f"{record.key}: {error}") from error
    return {**tensors(found), "label": record.label, "key": record.key}


def tensors(found: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays as tensors of the same memory."""
    return {
        name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for name, value in found.items()
    }


def _plain(model: str | os.PathLike[str] | None) -> str | None:
    """A model as what pickles: a name, or the whole path of a folder."""
    if model is None:
        return None
    if not isinstance(model, str | os.PathLike):
        raise OptionError(f"model is {model!r}; give its name or folder: workers load it themselves.")
    return os.fspath(Path(model).resolve()) if Path(model).is_dir() else os.fspath(model)
