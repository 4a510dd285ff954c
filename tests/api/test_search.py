"""Searching by embeddings: what is kept for the next search, and classes by example."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bifocal
from bifocal.api.examples import Examples, embed_file, read_examples
from bifocal.api.search import Index, index_file, state_of
from bifocal.errors import HeadError, OptionError
from tests.conftest import made_picture
from tests.runtime.heads.test_embed import embedding_head

ONE, OTHER = np.eye(2, dtype=np.float32)


def test_an_index_comes_back_from_its_file_and_knows_what_changed(tmp_path: Path) -> None:
    index, names = Index("head"), []
    for name, vector in (("a", ONE), ("ü\udcff", OTHER)):
        path = str(tmp_path / name)
        Path(path).write_bytes(b"1")
        index.add(path, state_of(path), vector)
        names.append(path)
    index.write(tmp_path / "index.npz")
    again = Index.read(tmp_path / "index.npz", "head")
    assert again.stale(names) == [] and again.nearest(OTHER, 1) == [(names[1], 1.0)]
    Path(names[0]).write_bytes(b"12")
    assert again.stale([*names, "new"]) == [names[0], "new"]
    again.keep(names[:1])
    assert list(again.vectors) == names[:1]
    assert not Index.read(tmp_path / "index.npz", "another head").vectors


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04nothing", b"text"])
def test_a_damaged_index_counts_as_empty(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "index.npz").write_bytes(content)
    assert not Index.read(tmp_path / "index.npz", "head").vectors
    assert not Index.read(tmp_path / "none.npz", "head").vectors


def test_a_file_that_is_no_index_is_never_replaced(tmp_path: Path) -> None:
    photo, index = tmp_path / "photo.jpg", tmp_path / "index.npz"
    Image.fromarray(made_picture(9, 9)).save(photo)
    with pytest.raises(OptionError, match="no index"):
        Index.refuse_other(photo)
    Index("", {"a": ONE}, {"a": (1, 2)}).write(index)
    index.write_bytes(index.read_bytes()[:200])  # damaged: it is made again
    Index.refuse_other(index)
    Index.refuse_other(tmp_path / "none")


def test_an_index_has_a_place_for_each_head_and_folder() -> None:
    here = {"XDG_CACHE_HOME": "/cache"}
    places = {index_file(key, [folder], here) for key in "ab" for folder in "cd"}
    assert len(places) == 4 and {place.parent for place in places} == {Path("/cache/bifocal")}


def test_the_nearest_mean_of_examples_names_a_stream(tiny_model: bifocal.Model, tmp_path: Path) -> None:
    head = bifocal.Head.load(embedding_head(tmp_path / "a.bfh", tiny_model.entropy.fingerprint))
    for name, level in (("dark", 30), ("light", 220)):
        folder = tmp_path / "examples" / name
        folder.mkdir(parents=True)
        pixels = made_picture(40, 60) // 8 + np.uint8(level)
        Image.fromarray(pixels).save(folder / "a.png")
        (folder / "b.bfc").write_bytes(bifocal.encode(pixels, model=tiny_model))
    (tmp_path / "examples" / "empty").mkdir()
    known = read_examples(tmp_path / "examples", head=head, model=tiny_model)
    assert known.names == ("dark", "light") and known.means.shape == (2, 3)
    data = (tmp_path / "examples" / "light" / "b.bfc").read_bytes()
    labels = bifocal.analyse(data, head=head, model=tiny_model, examples=tmp_path / "examples")
    assert labels.name == "light" and labels.head == "tiny"
    np.testing.assert_allclose(labels.probabilities.sum(), 1, atol=1e-6)
    with pytest.raises(OptionError, match="two classes at least"):
        read_examples(tmp_path / "examples" / "dark", head=head, model=tiny_model)
    with pytest.raises(OptionError, match="two or more classes"):
        Examples.of({"one": [ONE]}, "x")
    with pytest.raises(HeadError, match="not installed"):
        embed_file(tmp_path / "examples" / "dark" / "a.png", head=head)
