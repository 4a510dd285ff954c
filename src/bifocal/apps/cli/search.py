"""``bifocal search``: streams that show what a picture shows, with no picture rebuilt."""

from __future__ import annotations

import json as documents
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bifocal.apps.cli import options
from bifocal.apps.cli.display import Display
from bifocal.errors import BifocalError

if TYPE_CHECKING:
    from bifocal.apps.batch import FileResult


def search(
    inputs: options.SearchedStreams,
    like: options.Like,
    top: options.TopFound = 10,
    json: options.AsJson = False,
    head: options.HeadName = "imagenette",
    model: options.StreamModel = None,
    index: options.IndexFile = None,
    jobs: options.Jobs = 1,
    threads: options.Threads = None,
) -> None:
    """Rank .bfc streams by how much they show what a picture shows, the most alike first.

    Streams are read without being decoded, and only those that are new or changed since the last search.
    """
    from bifocal.api.examples import embed_file
    from bifocal.api.search import Index, index_file, key_of, state_of
    from bifocal.apps import batch
    from bifocal.runtime.heads.file import head_path

    if index is not None:
        Index.refuse_other(index)
    worker = batch.Worker("embed", {"head": head}, model=model, threads=threads)
    loaded = worker.head()
    wanted = embed_file(like, head=loaded, model=model)
    files = batch.find_streams(inputs)
    key = key_of(loaded.spec, head_path(head).read_bytes())
    place = index or index_file(key, inputs)
    known = Index.read(place, key)
    new = known.stale(files)
    known.keep(set(files) - set(new))
    states = {file: state_of(file) for file in new}

    def take(result: FileResult) -> None:
        display.show(result)
        if result.embedding is not None:
            known.add(result.pair.source, states[result.pair.source], result.embedding)

    display = Display("reading", "read", "streams", lambda result: "", out=sys.stderr, lines=False)
    try:
        if new:
            with display:
                batch.read(worker, new, jobs=jobs, on_start=display.start, on_result=take)
    finally:
        if new and known.vectors:
            _write(known, place, asked=index is not None)
        for file, cosine in known.nearest(wanted, top):
            row = {"file": file, "cosine": cosine}
            print(documents.dumps(row, ensure_ascii=False) if json else f"{cosine:.3f}  {file}")


def _write(index: object, place: Path, *, asked: bool) -> None:
    """Keep the index for the next search; one that nobody asked for may fail."""
    from bifocal.api.search import Index

    assert isinstance(index, Index)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        index.write(place)
    except (BifocalError, OSError) as error:
        if asked:
            raise
        print(f"bifocal: the next search will read all streams again: {error}", file=sys.stderr)
