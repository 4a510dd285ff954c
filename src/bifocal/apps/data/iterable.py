"""The iterable dataset: shards read from front to back, shuffled by seed, and a state to go on from."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from bifocal.apps.data.dataset import _plain, as_sample, choose_stream
from bifocal.apps.data.samples import Gives, SampleReader
from bifocal.apps.data.sources import Record, Sample, open_source, read_sample, read_shard
from bifocal.errors import BifocalError, OptionError, PictureWarning, StreamError
from bifocal.stream.limits import DEFAULT_LIMITS, Limits

#: Listed samples are given out in runs of so many, as if each were a shard.
RUN = 64


class IterableStreamDataset(IterableDataset[dict[str, Any]]):
    """The samples of :class:`StreamDataset` in sequence: tar shards, here or at a URL, are read from front to
    back, with no index and no seeking.

    Shards are dealt out to the workers, and to ``part`` (i, n) of n machines, i from 0; each mixes its
    samples in a buffer of ``shuffle`` samples. The order follows from seed, epoch and the number of
    workers alone. :meth:`state_dict` says how far it is and :meth:`load_state_dict` goes on there, as
    torchdata's StatefulDataLoader does by itself; :meth:`state_after` is for the plain DataLoader.

    :param shuffle: samples in the buffer, as encoded bytes; 0 keeps the order.
    :param on_error: ``"raise"``, or ``"skip"`` what cannot be read, with a warning that names it. A shard
        that is cut short gives the samples before the cut.

    Other parameters are those of :class:`StreamDataset`.
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
        shuffle: int = 1000,
        seed: int = 0,
        part: tuple[int, int] = (0, 1),
        on_error: Literal["raise", "skip"] = "raise",
        threads: int = 1,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        if on_error not in ("raise", "skip"):
            raise OptionError(f"on_error is {on_error!r}; choose raise or skip.")
        if shuffle < 0 or not 0 <= part[0] < part[1]:
            raise OptionError("shuffle counts samples, 0 or more; part is (i, n), i from 0 to n - 1.")
        self.reader = SampleReader(gives, crop, channels, _plain(model), threads, limits)
        found = open_source(source)
        self.classes = found.classes
        listed = found.samples
        runs = tuple(listed[first : first + RUN] for first in range(0, len(listed), RUN))
        self._shards: tuple[str | tuple[Sample, ...], ...] = found.shards or runs
        self._quality, self._random, self._shuffle, self._seed = quality, random_crop, shuffle, seed
        self._part, self._on_error = part, on_error
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._resume: dict[int, int] = {}
        self._seen: dict[int, int] = {}

    def set_epoch(self, epoch: int) -> None:
        """Another order, other crops and other qualities from the next iteration on."""
        self._epoch.fill_(epoch)
        self._resume = {}

    def state_dict(self) -> dict[str, Any]:
        """The epoch, and how many samples each worker of this process has given."""
        return {"epoch": int(self._epoch), "seen": dict(self._seen or self._resume)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; what was given is passed over without being decoded.

        :raises OptionError: if it is no state of such a dataset.
        """
        try:
            epoch = int(state["epoch"])
            seen = {int(worker): int(count) for worker, count in state["seen"].items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise OptionError(f"{state!r} is no state of a dataset: give what state_dict() said.") from error
        self.set_epoch(epoch)
        self._resume = seen

    def state_after(self, batches: int, batch_size: int, workers: int = 0) -> dict[str, Any]:
        """The state after so many batches of a plain DataLoader with that many workers, none of which has run
        out: it takes batches from them in turn."""
        each = {w: batch_size * len(range(w, batches, max(1, workers))) for w in range(max(1, workers))}
        return {"epoch": int(self._epoch), "seen": each}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id, info.num_workers)
        rng = np.random.default_rng([self._seed, int(self._epoch), self._part[0], worker, workers])
        passed = self._resume.get(worker, 0)
        self._resume.pop(worker, None)
        self._seen[worker] = 0
        for record in self._mixed(self._records(worker, workers), rng):
            own = np.random.default_rng(rng.integers(1 << 62))  # drawn also for what is passed over
            self._seen[worker] += 1
            if self._seen[worker] <= passed:
                continue
            try:
                chosen = choose_stream(record.streams, self._quality, record.key, own)
                one = Record(record.key, record.label, (chosen,))
                yield as_sample(one, self.reader, own if self._random else None)
            except BifocalError as error:
                self._failed(error)

    def _records(self, worker: int, workers: int) -> Iterator[Record]:
        """The records of this worker's shards, read one by one."""
        order = np.arange(len(self._shards))
        if self._shuffle:
            np.random.default_rng([self._seed, int(self._epoch)]).shuffle(order)
        of = self._part[1] * workers
        for number in order[self._part[0] * workers + worker :: of]:
            yield from self._of_shard(self._shards[number])

    def _of_shard(self, shard: str | tuple[Sample, ...]) -> Iterator[Record]:
        most = self.reader.limits.stream_bytes
        if isinstance(shard, str):
            try:
                yield from read_shard(shard, most)
            except BifocalError as error:
                self._failed(error)
            return
        for sample in shard:
            try:
                yield read_sample(sample, most)
            except BifocalError as error:
                self._failed(error)

    def _mixed(self, records: Iterator[Record], rng: np.random.Generator) -> Iterator[Record]:
        """The records, each taken from a random place of the buffer."""
        kept: list[Record] = []
        for record in records:
            if not self._shuffle:
                yield record
                continue
            kept.append(record)
            if len(kept) > self._shuffle:
                yield _taken(kept, rng)
        while kept:
            yield _taken(kept, rng)

    def _failed(self, error: BifocalError) -> None:
        if self._on_error == "raise" or not isinstance(error, StreamError):
            raise error
        warnings.warn(f"left out: {error}", PictureWarning, stacklevel=3)


def _taken(kept: list[Record], rng: np.random.Generator) -> Record:
    place = int(rng.integers(len(kept)))
    kept[place], kept[-1] = kept[-1], kept[place]
    return kept.pop()
