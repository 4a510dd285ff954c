"""Columns of bytes in, columns out, as Ray Data calls the classes; no Ray is needed for that."""

from __future__ import annotations

import io
import json
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bifocal
from bifocal.apps import batch
from bifocal.errors import OptionError
from tests.conftest import made_picture
from tests.tiny_head import dense_head


@pytest.fixture(scope="module")
def rows() -> dict[str, Any]:
    """Two pictures, something broken and nothing at all, with ids and a column of somebody else's."""
    files = []
    for seed in (1, 2):
        made = io.BytesIO()
        Image.fromarray(made_picture(48, 64, seed=seed)).save(made, "PNG")
        files.append(made.getvalue())
    return {
        "id": np.array(["a/1.png", "b/2.png", "broken", "empty"], object),
        "bytes": np.array([*files, b"no picture", b""], object),
        "other": np.arange(4),
    }


@pytest.fixture(scope="module")
def coded(rows: dict[str, Any], tiny_folder: Path) -> dict[str, Any]:
    return batch.ray.Encode(quality=40, model=str(tiny_folder))(rows)


def test_streams_are_those_of_the_api_and_errors_are_rows(
    rows: dict[str, Any], coded: dict[str, Any], tiny_folder: Path
) -> None:
    assert set(coded) == {*"id other stream name width height bytes_in bytes_out error".split()}
    assert list(coded["id"]) == list(rows["id"]) and list(coded["other"]) == [0, 1, 2, 3]
    for k in (0, 1):
        picture = bifocal.read_picture(io.BytesIO(rows["bytes"][k]))
        assert coded["stream"][k] == bifocal.encode(picture, 40, model=tiny_folder)
    assert list(coded["error"][:2]) == ["", ""] and list(coded["stream"][2:]) == [b"", b""]
    assert "broken" in coded["error"][2] and coded["error"][3]
    assert coded["name"][0] == batch.ray.name_of("a/1.png") and len(set(coded["name"])) == 4


def test_they_travel_light_and_wrong_options_show_at_once(tiny_folder: Path) -> None:
    assert len(ForkingPickler.dumps(batch.ray.Encode(quality=40, model=str(tiny_folder)))) < 600
    with pytest.raises(OptionError, match="quality"):
        batch.ray.Encode(quality=0)


def test_a_column_of_nothing_is_an_empty_column(tiny_folder: Path) -> None:
    none = batch.ray.Encode(model=str(tiny_folder))({"id": [], "bytes": []})
    assert len(none["stream"]) == len(none["error"]) == 0


def test_streams_are_decoded_and_labelled(
    coded: dict[str, Any], tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = bifocal.Model.load(tiny_folder, threads=1)
    monkeypatch.setattr(batch.Worker, "model_of", lambda self, header: model)
    pictures = batch.ray.Decode(keep=True)(coded)
    assert list(pictures["width"]) == [64, 64, 0, 0] and pictures["error"][2]
    with Image.open(io.BytesIO(pictures["picture"][0])) as shown:
        assert np.array_equal(np.asarray(shown), bifocal.decode(coded["stream"][0], model=model).pixels)
    head = dense_head(tmp_path / "head.bfh", model.entropy.fingerprint)
    labels = batch.ray.Classify(head=str(head))(coded)
    assert labels["label"][0] and 0 < labels["probability"][0] <= 1 and labels["label"][2] == ""
    assert "stream" not in labels and list(labels["id"]) == list(coded["id"])
    boxes = batch.ray.Detect(detector=str(tmp_path / "none.bfd"))(coded)
    assert json.loads(boxes["boxes"][0]) == [] and "none.bfd" in boxes["error"][0]


def test_results_are_written_once_and_a_rerun_does_what_is_missing(
    rows: dict[str, Any], coded: dict[str, Any], tmp_path: Path
) -> None:
    folder = str(tmp_path / "out")
    written = batch.ray.Write(folder)(coded)
    assert list(written["written"]) == [True, True, False, False] and "stream" not in written
    assert (tmp_path / "out" / coded["name"][0]).read_bytes() == coded["stream"][0]
    assert not any(batch.ray.Write(folder)(coded)["written"])
    left = batch.ray.Unfinished(folder)(rows)
    assert list(left["id"]) == ["broken", "empty"] and len(left["bytes"]) == 2
    (tmp_path / "file").write_bytes(b"")
    failed = batch.ray.Write(str(tmp_path / "file"))(coded)
    assert not any(failed["written"]) and failed["error"][0]


def test_engines_that_cannot_run_are_refused_before_anything_is_written(
    tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    bifocal.write_picture(bifocal.Picture(made_picture(40, 60)), tmp_path / "in" / "a.png")
    worker = batch.Worker("encode", model=str(tiny_folder))
    monkeypatch.setattr("bifocal.apps.batch.runs.find_spec", lambda name: None)
    for options, message in (
        ({"engine": "ray"}, "needs Ray: pip install"),
        ({"engine": "spark"}, "no engine 'spark'"),
        ({"address": "auto"}, "address is that of a Ray cluster"),
    ):
        with pytest.raises(OptionError, match=message):
            batch.run(worker, [tmp_path / "in"], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
