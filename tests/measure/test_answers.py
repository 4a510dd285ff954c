"""The times of answers: what is compared is what it says, and both classifiers of pixels run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bifocal
from bifocal.errors import HeadError
from bifocal.measure import MeasureError
from bifocal.measure.answers import WAYS, answer_table, time_answers
from bifocal.measure.bench import write_csv
from tests.conftest import made_picture
from tests.tiny_head import bits_head, dense_head, mean_graph, spec_of, write_head


@pytest.fixture
def pictures(tmp_path: Path, tiny_model: bifocal.Model) -> Path:
    (tmp_path / "in").mkdir()
    Image.fromarray(made_picture(70, 100)).save(tmp_path / "in" / "a.png")
    Image.fromarray(made_picture(30, 40)[:, :, 0]).save(tmp_path / "in" / "b.png")
    data = bifocal.encode(made_picture(64, 64), 33, model=tiny_model)
    (tmp_path / "in" / "c.bfc").write_bytes(data)
    return tmp_path / "in"


def pixel_head(path: Path) -> Path:
    spec = spec_of(b"8 bytes!", reads="pixels", channels=3, window=2)
    return write_head(path, spec, [mean_graph(3, "pixels")], {"weight": np.eye(3, dtype=np.float16) / 64})


@pytest.mark.parametrize("by_pixels", [False, True])
def test_every_way_answers(
    pictures: Path, tiny_folder: Path, tiny_model: bifocal.Model, by_pixels: bool
) -> None:
    head = dense_head(pictures / "head.bfh", tiny_model.entropy.fingerprint)
    against = pixel_head(pictures / "pixels.bfh") if by_pixels else None
    timings = time_answers(
        [pictures], head=head, against=against, model=tiny_folder, qualities=(20, 80), repeats=1
    )
    assert [(t.picture_name, t.quality) for t in timings] == [
        ("c.bfc", 33),
        ("a.png", 20),
        ("a.png", 80),
        ("b.png", 20),
        ("b.png", 80),
    ]
    assert all(min(t.picture, t.labels, t.both, t.classify) > 0 for t in timings)
    assert by_pixels or all(t.same for t in timings)  # latents made again are nearly the same
    table = answer_table(timings)
    assert all(table.count(f"  {way} ") == 3 for way in WAYS) and "quality 33, 1 picture of 64×64" in table
    write_csv(pictures / "out.csv", timings)
    assert (pictures / "out.csv").read_text("utf-8").startswith("picture_name,quality,width,height,bytes")


def test_what_cannot_be_compared_is_refused(
    pictures: Path, tiny_folder: Path, tiny_model: bifocal.Model
) -> None:
    fingerprint = tiny_model.entropy.fingerprint
    head = dense_head(pictures / "head.bfh", fingerprint)
    for wrong, why in (
        ({"head": head, "against": head}, "takes one that reads pixels"),
        ({"head": pixel_head(pictures / "p.bfh")}, "reads pixels, not streams"),
        ({"head": dense_head(pictures / "o.bfh", b"8 bytes!")}, "bifocal-train head"),
        ({"head": bits_head(pictures / "b.bfh", fingerprint, least=1.0)}, "which pixels do not have"),
    ):
        with pytest.raises(HeadError, match=why):
            time_answers([pictures], model=tiny_folder, **wrong)
    (pictures / "empty").mkdir()
    with pytest.raises(MeasureError, match="No pictures"):
        time_answers([pictures / "empty"], head=head, model=tiny_folder)
    with pytest.raises(HeadError, match=r"not streams.*--against"):
        bifocal.analyse(
            (pictures / "c.bfc").read_bytes(), head=pixel_head(pictures / "p.bfh"), model=tiny_model
        )
