"""Errors: what they say survives the way from a worker process to its parent."""

from __future__ import annotations

import copy
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from bifocal import errors
from bifocal.errors import BifocalError, BoundError, ModelMissing
from bifocal.measure import MeasureError

#: Arguments of the errors whose constructors make the message themselves.
MADE_FROM = {BoundError: ("predict.0", 1, 7, 16_777_300), ModelMissing: (1, b"8 bytes!", (0, 1, 0))}


def every_kind(kind: type[BifocalError] = BifocalError) -> Iterator[type[BifocalError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from every_kind(below)


def made(kind: type[BifocalError]) -> BifocalError:
    return kind(*MADE_FROM.get(kind, ("it broke: mend it",)))


def raise_error(kind: type[BifocalError]) -> None:
    error = made(kind)
    error.add_note("while reading a.bfc")
    raise error


@pytest.mark.parametrize("kind", sorted(set(every_kind()), key=lambda kind: kind.__name__))
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy])
def test_an_error_is_copied_whole(kind: type[BifocalError], again: type) -> None:
    """Copying and pickling take the same road, ``__reduce_ex__``."""
    error = made(kind)
    error.add_note("while reading a.bfc")
    twin = again(error)
    assert type(twin) is kind and twin is not error
    assert (str(twin), vars(twin)) == (str(error), vars(error))


def test_errors_come_back_from_worker_processes() -> None:
    kinds = [ModelMissing, BoundError, errors.OptionError, MeasureError]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        for kind, job in [(kind, pool.submit(raise_error, kind)) for kind in kinds]:
            with pytest.raises(kind) as caught:
                job.result(timeout=60)
            assert str(caught.value) == str(made(kind))
            assert {**vars(made(kind)), "__notes__": ["while reading a.bfc"]}.items() <= vars(
                caught.value
            ).items()
