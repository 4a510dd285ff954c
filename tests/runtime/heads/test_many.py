"""Many streams at once: the labels of one at a time, in order, whatever is wrong with some."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import bifocal
from bifocal.errors import DamagedStream, OptionError, StreamError
from bifocal.runtime.heads.run import Head, Outputs
from tests.conftest import made_picture
from tests.tiny_head import batch_head, bits_head, dense_head, selecting_head

SIZES = [(130, 300), (64, 64), (40, 70), (64, 64), (200, 90), (64, 64)]


@pytest.fixture(scope="module")
def streams(tiny_model: bifocal.Model) -> list[bytes]:
    return [bifocal.encode(made_picture(*size), 30 + k, model=tiny_model) for k, size in enumerate(SIZES)]


@pytest.mark.parametrize("kind", ["open", "pooled", "fixed", "bits", "selectors"])
def test_labels_are_those_of_one_stream_at_a_time(
    tiny_model: bifocal.Model, streams: list[bytes], tmp_path: Path, kind: str
) -> None:
    path, fingerprint = tmp_path / "a.bfh", tiny_model.entropy.fingerprint
    if kind == "bits":
        bits_head(path, fingerprint, least=4.0)
    elif kind == "selectors":
        selecting_head(path, fingerprint)
    elif kind == "fixed":
        dense_head(path, fingerprint)
    else:
        batch_head(path, fingerprint, grid=4 if kind == "pooled" else 0)
    head = bifocal.Head.load(path, threads=1)
    made = list(bifocal.analyse_many(streams, head=head, model=tiny_model, batch=3, jobs=2))
    for data, labels in zip(streams, made, strict=True):
        alone = bifocal.analyse(data, head=head, model=tiny_model)
        assert isinstance(labels, bifocal.Labels) and labels.names == alone.names
        np.testing.assert_allclose(labels.probabilities, alone.probabilities, rtol=1e-4)


def test_pictures_of_one_grid_go_through_the_head_together(
    tiny_model: bifocal.Model, streams: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = bifocal.Head.load(batch_head(tmp_path / "a.bfh", tiny_model.entropy.fingerprint, grid=3))
    counts = []
    run_many = Head.run_many

    def counted(self: Head, values: list[object], bits: object = None) -> list[Outputs]:
        counts.append(len(values))
        return run_many(self, values, bits)  # type: ignore[arg-type]

    monkeypatch.setattr(Head, "run_many", counted)
    assert len(list(bifocal.analyse_many(streams, head=head, model=tiny_model, batch=6, jobs=1))) == 6
    assert counts == [6]


def test_a_damaged_stream_stops_the_others_only_if_asked_to(
    tiny_model: bifocal.Model, streams: list[bytes], tmp_path: Path
) -> None:
    head = bifocal.Head.load(dense_head(tmp_path / "a.bfh", tiny_model.entropy.fingerprint))
    given = [streams[0], streams[1][:-1], b"nothing", streams[2][:-9] + bytes(9), streams[3]]
    made = list(bifocal.analyse_many(given, head=head, model=tiny_model, keep_going=True))
    assert [isinstance(one, bifocal.Labels) for one in made] == [True, False, False, False, True]
    assert all(isinstance(one, StreamError) for one in made[1:4]) and isinstance(made[3], DamagedStream)
    labels = bifocal.analyse_many(given, head=head, model=tiny_model, batch=1)
    next(labels)
    with pytest.raises(StreamError):
        next(labels)


def test_streams_are_taken_as_they_are_needed(
    tiny_model: bifocal.Model, streams: list[bytes], tmp_path: Path
) -> None:
    head = bifocal.Head.load(dense_head(tmp_path / "a.bfh", tiny_model.entropy.fingerprint))
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield streams[1]

    labels = bifocal.analyse_many(endless(), head=head, model=tiny_model, batch=2, jobs=1)
    assert taken == 0
    next(labels)
    assert taken <= 4
    labels.close()  # type: ignore[attr-defined]
    with pytest.raises(OptionError, match="batch is 0"):
        bifocal.analyse_many([], head=head, batch=0)
