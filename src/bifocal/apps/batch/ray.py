"""Encode, decode, label and search for objects in columns of bytes: classes for ``map_batches`` of Ray Data.

They need no Ray themselves, so anything that calls a class with columns can use them. A class is made once in
each actor and loads its model there; pixels never leave the actor, since they are many times the bytes. All
other columns, an id among them, go through unchanged. What fails is a row with its ``error``, never an
exception: Ray would stop the job.

>>> import numpy
>>> rows = {"id": ["a", "b"], "bytes": [b"no picture", b""]}
>>> list(Encode(quality=40)(rows)["error"][0:1])[0].startswith("the file is no picture")
True
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any, ClassVar

import numpy as np

from bifocal.apps.batch.worker import Worker, reason
from bifocal.storage import filesystem
from bifocal.storage.filesystem import write_atomically
from bifocal.storage.paths import Pair

#: Columns in, columns out. Values of a column are in one order with those of the others.
Columns = Mapping[str, Sequence[Any]]


def name_of(key: object, suffix: str = ".bfc") -> str:
    """A name that follows from a key alone, so that a rerun finds what is done: two folders deep, since no
    store likes millions of files in one.

    >>> name_of("photos/a.jpg")
    'ee/a2/eea2c680d629b11d02e48cf37b1213a4.bfc'
    """
    digest = blake2b(str(key).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    return f"{digest[:2]}/{digest[2:4]}/{digest}{suffix}"


@dataclass(frozen=True)
class _OnBytes:
    """What the classes have in common.

    ``column`` holds the files, as bytes; it is left out of the answer unless ``keep``, because the next step
    would carry it along. ``id`` names the column that says which row is which, in errors; ``threads`` are
    those of a network, by default the ``num_cpus`` that Ray gave the actor, or 1.
    """

    id: str = "id"
    keep: bool = False
    threads: int | None = None

    column: ClassVar[str] = "bytes"
    verb: ClassVar[Any] = "encode"
    #: Columns that are made, and what they hold where a row failed.
    empty: ClassVar[Mapping[str, Any]] = {}

    def __call__(self, batch: Columns) -> dict[str, Any]:
        """The columns of a batch with those that are made of them."""
        files = batch[self.column]
        keys = batch[self.id] if self.id in batch else range(len(files))
        rows = [self._row(key, data) for key, data in zip(keys, files, strict=True)]
        kept = {name: values for name, values in batch.items() if self.keep or name != self.column}
        return kept | {name: _array([row[name] for row in rows], empty) for name, empty in
                       {**self.empty, "error": ""}.items()}  # fmt: skip

    def _row(self, key: object, data: Any) -> dict[str, Any]:
        try:
            return {**self.empty, "error": "", **self._make(bytes(data))}
        except Exception as error:  # the next row is not to suffer for this one
            text = reason(error, Pair(str(key), str(key), ""))
            return {**self.empty, "error": text.encode("utf-8", "backslashreplace").decode()}

    def _make(self, data: bytes) -> dict[str, Any]:
        raise NotImplementedError

    def _loading(self, **options: Any) -> Worker:
        return Worker(self.verb, options, threads=self.threads or threads_here())


@dataclass(frozen=True)
class Encode(_OnBytes):
    """Picture files to streams. ``options`` are those of :func:`bifocal.encode`, such as ``size``.

    Makes ``stream``, ``name`` (:func:`name_of` the id), ``width``, ``height``, ``bytes_in`` and
    ``bytes_out``.
    """

    quality: int | None = None
    model: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    empty: ClassVar[Mapping[str, Any]] = {
        "stream": b"",
        "width": 0,
        "height": 0,
        "bytes_in": 0,
        "bytes_out": 0,
    }

    def __post_init__(self) -> None:
        self._worker.check()

    def __call__(self, batch: Columns) -> dict[str, Any]:
        made = super().__call__(batch)
        if self.id in batch:
            made["name"] = np.array([name_of(key) for key in batch[self.id]], object)
        return made

    @cached_property
    def _worker(self) -> Worker:
        given = {"quality": self.quality} if self.quality is not None else {}
        return Worker("encode", {**given, **self.options}, self.model, self.threads or threads_here())

    def _make(self, data: bytes) -> dict[str, Any]:
        import bifocal
        from bifocal.pictures.reading import read_picture

        picture = read_picture(io.BytesIO(data))
        stream = bifocal.encode(picture, model=self._worker.model_for(""), **self._worker.options)
        sizes = {"bytes_in": len(data), "bytes_out": len(stream)}
        return {"stream": stream, "width": picture.width, "height": picture.height, **sizes}


@dataclass(frozen=True)
class Decode(_OnBytes):
    """Streams to picture files of a ``format`` that Pillow writes. ``options`` are those of
    :func:`bifocal.decode`, such as ``scale``. Makes ``picture``, ``width`` and ``height``."""

    format: str = "png"
    options: Mapping[str, Any] = field(default_factory=dict)

    column: ClassVar[str] = "stream"
    verb: ClassVar[Any] = "decode"
    empty: ClassVar[Mapping[str, Any]] = {"picture": b"", "width": 0, "height": 0}

    def _make(self, data: bytes) -> dict[str, Any]:
        import bifocal
        from bifocal.pictures.writing import encoded_picture, format_to_write

        model = _model_of(self._loading(), data)
        picture = bifocal.decode(data, model=model, **self.options)
        kind, settings = format_to_write(f"picture.{self.format}")
        made = encoded_picture(picture, kind, settings, "the picture")
        return {"picture": made, "width": picture.width, "height": picture.height}


@dataclass(frozen=True)
class Classify(_OnBytes):
    """Labels of streams; no picture is rebuilt. Makes ``label``, ``probability`` and ``confident``."""

    head: str = "imagenette"

    column: ClassVar[str] = "stream"
    verb: ClassVar[Any] = "analyse"
    empty: ClassVar[Mapping[str, Any]] = {"label": "", "probability": 0.0, "confident": False}

    def _make(self, data: bytes) -> dict[str, Any]:
        import bifocal

        worker = self._loading(head=self.head)
        labels = bifocal.analyse(data, head=worker.head(), model=_model_of(worker, data))
        name, probability = labels.top(1)[0]
        return {"label": name, "probability": probability, "confident": labels.confident}


@dataclass(frozen=True)
class Detect(_OnBytes):
    """Objects in streams, by a ``detector``, a ``.bfd`` file. Makes ``boxes``, a JSON list of ``name``,
    ``score`` and ``box``, and ``count``."""

    detector: str = ""
    at_least: float = 0.25

    column: ClassVar[str] = "stream"
    verb: ClassVar[Any] = "decode"
    empty: ClassVar[Mapping[str, Any]] = {"boxes": "[]", "count": 0}

    def _make(self, data: bytes) -> dict[str, Any]:
        import bifocal

        worker = self._loading(head=self.detector)
        boxes = bifocal.detect(
            data, detector=worker.head(), at_least=self.at_least, model=_model_of(worker, data)
        )
        return {"boxes": json.dumps(boxes.rows()), "count": len(boxes)}


@dataclass(frozen=True)
class Write:
    """Write the column ``column`` as files into a ``folder``, or a URL, under the names of ``name``, each
    whole or not at all. Rows with an ``error``, and files that are there, are passed over. Makes
    ``written``."""

    folder: str
    column: str = "stream"
    keep: bool = False

    def __call__(self, batch: Columns) -> dict[str, Any]:
        errors = list(batch.get("error", [""] * len(batch["name"])))
        written = []
        for row, (name, data) in enumerate(zip(batch["name"], batch[self.column], strict=True)):
            path = filesystem.join(self.folder, str(name))
            try:
                if done := not errors[row] and not filesystem.exists(path):
                    filesystem.make_folder(path)
                    _put(path, bytes(data))
            except Exception as error:  # a full disk on one node is an error of these rows
                errors[row], done = reason(error, Pair(path, path, path)), False
            written.append(done)
        kept = {key: values for key, values in batch.items() if self.keep or key != self.column}
        return kept | {"error": np.array(errors, object), "written": np.array(written, bool)}


@dataclass(frozen=True)
class Unfinished:
    """Keep the rows whose result is not in ``folder`` yet: put it before the files are read, and a rerun does
    only what is missing. ``id`` is the column that :func:`name_of` makes names of."""

    folder: str
    id: str = "id"
    suffix: str = ".bfc"

    def __call__(self, batch: Columns) -> dict[str, Any]:
        paths = (filesystem.join(self.folder, name_of(key, self.suffix)) for key in batch[self.id])
        left = [k for k, path in enumerate(paths) if not filesystem.exists(path)]
        return {name: np.asarray(values)[left] for name, values in batch.items()}


def threads_here() -> int:
    """Processors that Ray gave this actor or task, at least 1; 1 where Ray does not run."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return 1
    given = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
    return max(1, int(given))


def _model_of(worker: Worker, data: bytes) -> Any:
    from bifocal.stream import container

    return worker.model_of(container.read(data).header)


def _put(path: str, data: bytes) -> None:
    if not filesystem.is_url(path):
        write_atomically(path, data, overwrite=True)
        return
    with filesystem.sent(path) as copy:
        copy.write_bytes(data)


def _array(values: list[Any], empty: Any) -> Any:
    """A column that Arrow knows the type of, also where every row failed."""
    return np.array(values, object if isinstance(empty, str | bytes) else type(empty))


__all__ = ["Classify", "Decode", "Detect", "Encode", "Unfinished", "Write", "name_of", "threads_here"]
