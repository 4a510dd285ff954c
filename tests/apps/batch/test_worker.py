"""The worker: small, picklable, and nothing that is wrong with a file comes out of it as an exception."""

from __future__ import annotations

import warnings
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest

import bifocal
from bifocal.apps import batch
from bifocal.apps.batch.worker import reason
from bifocal.errors import PictureWarning
from bifocal.storage.paths import Pair
from tests.conftest import made_picture


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    bifocal.write_picture(bifocal.Picture(made_picture(40, 60)), tmp_path / "a.png")
    return tmp_path / "a.png"


def test_it_travels_light_and_does_what_the_api_does(picture: Path, tiny_folder: Path) -> None:
    worker = batch.Worker("encode", {"quality": 30}, model=str(tiny_folder), threads=1)
    target = picture.with_name("new") / "a.bfc"
    assert worker.do(batch.FileTask(Pair("a.png", str(picture), str(target)))).state == "done"
    assert len(ForkingPickler.dumps(worker)) < 500  # and has not grown by its work: no model travels with it
    bifocal.encode_file(picture, picture.with_name("b.bfc"), 30, model=tiny_folder)
    assert target.read_bytes() == picture.with_name("b.bfc").read_bytes()


def test_columns_in_and_columns_out(picture: Path, tiny_folder: Path) -> None:
    """As Ray's map_batches calls it, with arrays of strings."""
    worker = batch.Worker("encode", model=str(tiny_folder))
    bad = picture.with_name("bad.png")
    bad.write_bytes(b"no picture")
    targets = [str(picture.with_name(name)) for name in ("x.bfc", "y.bfc")]
    answer = worker({"source": np.array([str(picture), str(bad)]), "target": np.array(targets)})  # type: ignore[dict-item]
    assert answer["source"] == [str(picture), str(bad)] and answer["target"] == targets
    assert answer["state"] == ["done", "failed"]
    assert answer["bytes_out"] == [Path(targets[0]).stat().st_size, 0]
    assert answer["error"][0] == "" and "bad.png is no picture" in answer["error"][1]


def test_words_to_the_user_come_along(
    picture: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = bifocal.encode_file

    def talkative(*arguments: object, **options: object) -> object:
        warnings.warn("a.png has 16 bits, coded at 8", PictureWarning, stacklevel=1)
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(bifocal, "encode_file", talkative)
    worker = batch.Worker("encode", model=str(tiny_folder))
    for _ in range(2):  # every file is told of, not only the first
        outcome = worker.do(batch.FileTask(Pair("a.png", str(picture), str(picture.with_suffix(".bfc")))))
        assert outcome.state == "done" and outcome.notes == ("a.png has 16 bits, coded at 8",)


def test_whatever_goes_wrong_is_an_outcome(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(bifocal, "encode_file", broken)
    outcome = batch.Worker("encode").do(batch.FileTask(Pair("a.png", str(picture), "x.bfc")))
    assert outcome.state == "failed" and "ZeroDivisionError" in outcome.error and "report" in outcome.error
    missing = batch.Worker("decode").do(batch.FileTask(Pair("n.bfc", "n.bfc", "n.png")))
    assert missing.error == "n.bfc: No such file or directory."


def test_reasons_name_their_file_once() -> None:
    pair = Pair("a.png", "in/a.png", "out/a.bfc")
    assert reason(MemoryError(), pair).startswith("in/a.png: not enough memory")
    assert reason(bifocal.BifocalError("in/a.png is odd"), pair) == "in/a.png is odd"
    assert reason(bifocal.BifocalError("odd\nit is"), pair) == "in/a.png: odd it is"
    assert reason(PermissionError(13, "Permission denied", "out"), pair) == "out: Permission denied."
