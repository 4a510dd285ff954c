"""``bifocal search``: streams by words, by labels, or by a picture, with no picture rebuilt."""

from __future__ import annotations

import gc
import json as documents
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bifocal.apps.cli import options
from bifocal.apps.cli.launch import printable
from bifocal.apps.cli.search_readings import Search, embed, fail, give_labels, give_meanings
from bifocal.errors import BifocalError, OptionError, OutputError

if TYPE_CHECKING:
    from bifocal.api.search import Found, Index


def search(
    sought: options.Sought,
    like: options.Like = None,
    label: options.Label = None,
    detector: options.LabelDetector = None,
    by: options.By = None,
    top: options.TopFound = 10,
    json: options.AsJson = False,
    html: options.Page = None,
    open_page: options.Open = False,
    force: options.Force = False,
    head: options.HeadName = "imagenette",
    model: options.StreamModel = None,
    index: options.IndexFile = None,
    jobs: options.Jobs = 1,
    threads: options.Threads = None,
) -> None:
    """Rank .bfc streams by what their captions say, by their labels, or by likeness to a picture.

    Captions and labels are searched by words, or by meaning with a text encoder (docs/search.md). Streams are
    not decoded, and only those that are new or changed since the last search are read.
    """
    from bifocal.apps.batch.kinds import STREAMS
    from bifocal.apps.cli.outputs import check_document
    from bifocal.storage.paths import find_by_folder

    check_document(html, force)
    gc.disable()  # a hundred thousand rows make no garbage, but many searches for it
    words, inputs = _taken_apart(sought, like, label)
    if detector is not None and label is None:
        raise OptionError("--detector says who gives the labels. Name one with --label.")
    asked = Search(words, inputs, like, label, detector, _by(by, words), head, model, jobs, threads)
    wanted = _wanted(asked) if like is not None else None
    folders, _ = find_by_folder(inputs, STREAMS)
    with _opened(index, inputs) as known:
        _read_captions(asked, known, folders)
        found = known.with_captions(_found(asked, known, wanted, top)[:top])
    for one in found:
        print(_as_json(one, asked.unit) if json else _as_text(one))
    if html is not None or open_page:
        from bifocal.apps.cli.search_page import write_page

        write_page(found, words or label or f"like {like}", asked.unit, html, force=force, show=open_page)
    if not found:
        count = sum(map(len, folders.values()))
        streams = "1 stream" if count == 1 else f"{count} streams"
        print(f"bifocal: nothing found in {streams}.", file=sys.stderr)
    if asked.failed:
        raise typer.Exit(1)


def _taken_apart(
    sought: Sequence[str], like: Path | None, label: str | None
) -> tuple[str | None, Sequence[str]]:
    """The words to look for, and where."""
    from bifocal.storage import filesystem

    if like is not None and label is not None:
        raise OptionError("--like and --label cannot be combined. Choose one.")
    first_exists = filesystem.exists(sought[0])
    if like is not None or (label is not None and first_exists):
        return None, sought
    if len(sought) == 1 and first_exists:
        raise OptionError(
            f'what to look for in {sought[0]}? Give words before it, as in: bifocal search "red cup" '
            f"{sought[0]}; or --like or --label."
        )
    if not sought[0].strip():
        raise OptionError("the words to look for are empty. Give some, or --like or --label.")
    return sought[0], sought[1:] or ["."]


def _by(by: str | None, words: str | None) -> str:
    """Words or meaning; without an encoder words, and a note."""
    from bifocal.runtime.text import installed

    if by not in (None, "words", "meaning"):
        raise OptionError(f"--by is {by!r}. Choose words or meaning.")
    if by is None and words is not None and installed() is None:
        print(
            "bifocal: without a text encoder words are compared, and not their meaning: docs/search.md.",
            file=sys.stderr,
        )
    return by or ("words" if installed() is None else "meaning")


@contextmanager
def _opened(place: Path | None, inputs: Sequence[str]) -> Iterator[Index]:
    """The index of these inputs; one that nobody asked for may be in memory alone."""
    from bifocal.api.search import Index, index_file

    try:
        known = Index(place or index_file(inputs))
    except (OutputError, OptionError) as error:
        if place is not None:
            raise
        print(f"bifocal: the next search will read all streams again: {error}", file=sys.stderr)
        known = Index()
    with known:
        yield known


def _read_captions(asked: Search, known: Index, folders: Mapping[str, Sequence[str]]) -> None:
    """Bring the index up to date with the files."""
    from bifocal.api.search import caption_of_stream, noted
    from bifocal.api.search_folders import state_of

    with noted() as notes:
        for file in known.update(folders):
            state = state_of(file)
            try:
                known.put(file, state, caption_of_stream(file))
            except (BifocalError, OSError) as error:
                fail(asked, file, error)
            for note in notes:
                print(f"bifocal: {printable(file)}: {note}", file=sys.stderr)
            notes.clear()


def _wanted(asked: Search) -> tuple[object, str]:
    """The embedding of the picture to look for, and the kind of such vectors."""
    from bifocal.api.examples import embed_file
    from bifocal.api.search import key_of
    from bifocal.apps.batch import Worker
    from bifocal.runtime.heads.file import head_path

    loaded = Worker("embed", {"head": asked.head}, model=asked.model, threads=asked.threads).head()
    assert asked.like is not None
    vector = embed_file(asked.like, head=loaded, model=asked.model)
    return vector, key_of(loaded.spec, head_path(asked.head).read_bytes())


def _found(asked: Search, known: Index, wanted: tuple[object, str] | None, top: int) -> list[Found]:
    """The files that fit, the best first: ``top`` of them at least, if there are so many."""
    if wanted is not None:
        vector, kind = wanted
        embed(asked, known, kind)
        return known.by_vector(vector, kind, top)  # type: ignore[arg-type]
    labelled: list[Found] | None = None
    if asked.label is not None:
        labelled = known.by_label(asked.label, give_labels(asked, known))
    if asked.words is None:
        return labelled or []
    if asked.by == "meaning":
        found = known.by_vector(*give_meanings(asked.words, known), top if labelled is None else None)
    else:
        found = known.by_words(asked.words, top if labelled is None else None)
    kept = None if labelled is None else {one.file for one in labelled}
    return [one for one in found if kept is None or one.file in kept]


def _as_json(one: Found, unit: str) -> str:
    row = {"file": one.file, unit: one.score}
    if one.caption is not None:
        row |= {"caption": one.caption.text, "language": one.caption.language}
    return documents.dumps(row)


def _as_text(one: Found) -> str:
    return f"{one.score:.3f}  {printable(one.file)}" + (f"  {one.caption.shown}" if one.caption else "")
