"""Labels of many streams: entropy decoding in threads, and one run of the head for many pictures.

A run of a network has a cost of its own, and its products use the processor better when they are large. So
pictures that a head sees in one window, always so with a grid, wait until enough of equal shape are decoded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import NamedTuple

from bifocal.runtime.heads.classify import LabelReader, answers, read_labels
from bifocal.runtime.heads.run import Head
from bifocal.runtime.heads.windows import Window, stream_tiles
from bifocal.runtime.model import Model
from bifocal.stream.container import Container
from bifocal.stream.latents import check_model
from bifocal.types import Labels

#: Opens one stream while it is decoded, and finds its model. What is wrong with it is raised in a thread.
Opened = Callable[[], AbstractContextManager[tuple[Container, Model]]]


class _Waiting(NamedTuple):
    """A picture that is decoded as far as the head reads it: its one window, and who takes the answer."""

    reader: LabelReader
    window: Window


def read_many(
    streams: Iterable[Opened], head: Head, *, batch: int, threads: int
) -> Iterator[Labels | Exception]:
    """Labels of each stream, in order, or what was raised for it. At most ``2·batch`` are held at a time."""
    with ThreadPoolExecutor(threads, "bifocal-read") as pool:
        left, decoding = iter(streams), deque[Future[_Waiting | Labels]]()
        try:
            while True:
                while len(decoding) < 2 * batch and (one := next(left, None)) is not None:
                    decoding.append(pool.submit(_decode, one, head))
                if not decoding:
                    return
                yield from _labels(
                    head, [_result(decoding.popleft()) for _ in range(min(batch, len(decoding)))]
                )
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _decode(opened: Opened, head: Head) -> _Waiting | Labels:
    with opened() as (stream, model):
        check_model(stream, model.entropy)
        reader = LabelReader.of(stream.header, head, model)
        if not reader.single:
            return read_labels(stream, model, head)
        windows = [w for tile in stream_tiles(stream, model, head.spec) for w in reader.windows(*tile)]
        return _Waiting(reader, windows[0])


def _result(future: Future[_Waiting | Labels]) -> _Waiting | Labels | Exception:
    try:
        return future.result()
    except Exception as error:  # whose stream it is, only the caller knows
        return error


def _labels(head: Head, decoded: list[_Waiting | Labels | Exception]) -> list[Labels | Exception]:
    """Answers in the order of ``decoded``; windows of equal shape go through the head at once."""
    groups: dict[tuple[int, ...], list[_Waiting]] = {}
    for one in decoded:
        if isinstance(one, _Waiting):
            groups.setdefault(one.window.values.shape, []).append(one)
    failed: dict[int, Exception] = {}
    for group in groups.values():
        try:
            for one, said in zip(group, answers(head, [one.window for one in group]), strict=True):
                one.reader.take(one.window, said)
        except Exception as error:
            failed |= {id(one): error for one in group}
    return [
        failed.get(id(one)) or one.reader.labels() if isinstance(one, _Waiting) else one for one in decoded
    ]
