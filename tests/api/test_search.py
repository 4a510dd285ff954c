"""Searching: what is kept for the next search, words and vectors; and classes by example."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bifocal
from bifocal.api.examples import Examples, embed_file, read_examples
from bifocal.api.search import Found, Index, caption_of_stream, index_file, noted
from bifocal.api.search_folders import state_of
from bifocal.errors import HeadError, NotAStream, OptionError, OutputError
from bifocal.storage.paths import split_file
from bifocal.types import Caption
from tests.conftest import made_picture
from tests.runtime.heads.test_embed import embedding_head

ONE, OTHER = np.eye(2, dtype=np.float32)


def by_folder(files: list[str]) -> dict[str, list[str]]:
    """Names of files by the folder."""
    found: dict[str, list[str]] = {}
    for file in files:
        folder, name = split_file(file)
        found.setdefault(folder, []).append(name)
    return found


def filled(place: Path, captions: dict[str, str]) -> list[str]:
    """Files with these captions, known to an index."""
    with Index(place) as index:
        for file in captions:
            Path(file).parent.mkdir(exist_ok=True)
            Path(file).write_bytes(b"1")
        for file in index.update(by_folder(list(captions))):
            index.put(file, state_of(file), Caption(captions[file]) if captions[file] else None)
    return list(captions)


def test_an_index_comes_back_from_its_file_and_knows_what_changed(tmp_path: Path) -> None:
    place = tmp_path / "cache" / "index"
    one, other, last = names = [str(tmp_path / "in" / name) for name in ("a", "ü\udcff", "c")]
    filled(place, {one: "a red cup", other: "two dogs", last: ""})
    with Index(place) as index:
        assert index.update(by_folder(names)) == []
        assert [found.file for found in index.by_words("the dog")] == [other]
        index.put_vector(one, "k", ONE)
        index.put_vector(other, "k", OTHER)
        index.put_labels(one, "h", [("golf ball", 0.9), ("church", 0.1)])
        assert index.without_vector("k") == [last] and index.without_vector("another") == names
    Path(last).write_bytes(b"12")
    Path(one).unlink()
    with Index(place) as index:
        assert index.update(by_folder([other, last, "new"])) == [last, "new"]
        assert index.by_vector(OTHER, "k") == [(other, 1.0, None)] and not index.by_words("cup")


def test_words_and_labels_find_files(tmp_path: Path) -> None:
    one, other, third = filled(
        tmp_path / "index",
        {
            str(tmp_path / name): text
            for name, text in (
                ("1", "a child on a beach"),
                ("2", "children of a Café, 红茶杯"),
                ("3", "a beach"),
            )
        },
    )
    with Index(tmp_path / "index") as index:
        index.update(by_folder([one, other, third]))
        assert [found.file for found in index.by_words("Beaches and a child")] == [one, third]
        assert [found.file for found in index.by_words("cafe")] == [other]
        assert [found.file for found in index.by_words("茶")] == [other]
        assert not index.by_words("zebra") and not index.by_words('" OR *') and not index.by_words("—")
        index.put_labels(third, "h", [("golf ball", 0.9), ("church", 0.2)])
        assert index.by_label("Ball", "h") == [(third, 0.9, None)] and not index.by_label("church", "h")
        assert not index.by_label("ball", "another head") and not index.by_label("", "h")
        assert [found.file for found in index.by_words("golf")] == [third]
        found = index.with_captions(index.by_words("golf"))
        assert found[0].caption == Caption("a beach") and found[0].score > 0
        assert isinstance(found[0], Found) and dict(index.captions())[one] == "a child on a beach"


def test_what_was_moved_takes_along_what_is_known_and_nothing_else_is_lost(tmp_path: Path) -> None:
    place = tmp_path / "index"
    one = str(tmp_path / "one" / "a.bfc")
    other = str(tmp_path / "other" / "a.bfc")
    filled(place, {one: "a cup"})
    with Index(place) as index:
        index.update(by_folder([one]))
        index.put_vector(one, "k", ONE)
    os.rename(tmp_path / "one", tmp_path / "two")
    moved = str(tmp_path / "two" / "a.bfc")
    with Index(place) as index:
        assert index.update(by_folder([moved])) == [] and index.by_vector(ONE, "k")[0].file == moved
    filled(place, {other: "a spoon"})
    with Index(place) as index:
        index.update(by_folder([other]))
        assert not index.by_words("cup"), "only what is searched is found"
        assert index.update(by_folder([moved, other])) == [], "and the rest stays known"


@pytest.mark.parametrize("cut", [0, 100, 5000, -1])
def test_a_damaged_index_is_made_again(tmp_path: Path, cut: int) -> None:
    place = tmp_path / "index"
    filled(place, {str(tmp_path / "a"): "a cup"})
    data = bytearray(place.read_bytes())
    if cut == -1:
        data[100:4096] = os.urandom(3996)
    place.write_bytes(bytes(data if cut == -1 else data[:cut]))
    with Index(place) as index:
        assert index.update(by_folder([str(tmp_path / "a")])) == [str(tmp_path / "a")]


def test_damage_that_shows_late_is_said_and_the_next_search_works(tmp_path: Path) -> None:
    place, names = tmp_path / "index", [str(tmp_path / f"in/{k}") for k in range(300)]
    filled(place, dict.fromkeys(names, "a red cup"))
    data = bytearray(place.read_bytes())
    data[-8192:] = bytes([0xFF]) * 8192
    place.write_bytes(data)
    for _ in range(2):
        try:
            with Index(place) as index:
                for file in index.update(by_folder(names)):
                    index.put(file, state_of(file), Caption("a cup"))
                assert len(index.by_words("cup")) == 300
        except OutputError as error:
            assert "is damaged" in str(error) and not place.exists()


def test_a_file_whose_reading_was_stopped_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Index(tmp_path / "index") as index:
        index.update(by_folder(["a", "b"]))
        index.put("a", (1, 1), Caption("a cup"))
        monkeypatch.setattr(index, "_add_words", stop)
        index.put("b", (1, 1), Caption("a cup"))
    monkeypatch.setattr("bifocal.api.search.states_of", lambda folder, names: [(1, 1)] * len(names))
    monkeypatch.setattr("bifocal.api.search.exists", lambda *path: True)
    with Index(tmp_path / "index") as index:
        assert index.update(by_folder(["a", "b"])) == ["b"]


def test_a_file_that_is_no_index_is_never_replaced(tmp_path: Path) -> None:
    photo, others = tmp_path / "photo.jpg", tmp_path / "other.sqlite"
    Image.fromarray(made_picture(9, 9)).save(photo)
    with sqlite3.connect(others) as database:
        database.execute("CREATE TABLE mine (x)")
    database.close()
    for path in (photo, others, tmp_path):
        with pytest.raises(OptionError, match="no index"):
            Index(path)
    with pytest.raises(OutputError, match="cannot be used"):
        Index(photo / "index")
    with Index() as index:
        assert index.update(by_folder(["none"])) == ["none"]


def test_an_index_has_a_place_for_each_folder() -> None:
    here = {"XDG_CACHE_HOME": "/cache"}
    places = {index_file([folder], here) for folder in "cd"}
    assert len(places) == 2 and {place.parent for place in places} == {Path("/cache/bifocal")}


def test_a_caption_is_read_without_decoding(tiny_model: bifocal.Model, tmp_path: Path) -> None:
    file = tmp_path / "a.bfc"
    xmp = b'<x dc:description="a cup"/>'
    file.write_bytes(bifocal.encode(made_picture(40, 60), model=tiny_model, metadata={"xmp": xmp}))
    assert caption_of_stream(str(file)) == Caption("a cup")
    data = bytearray(bifocal.encode(made_picture(40, 60), model=tiny_model, caption="a red cup"))
    data[-1] ^= 1  # the payload is not looked at
    file.write_bytes(data)
    assert caption_of_stream(str(file)) == Caption("a red cup")
    data[data.index(b"red")] ^= 1
    file.write_bytes(data)
    with noted() as notes:
        assert caption_of_stream(str(file)) is None and "damaged" in notes[0]
    file.write_bytes(b"text")
    with pytest.raises(NotAStream):
        caption_of_stream(str(file))


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


def test_a_folder_that_did_not_change_is_not_compared_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, names = tmp_path / "index", [str(tmp_path / "in" / name) for name in ("a", "b", "ü\udcff")]
    filled(place, dict.fromkeys(names, "a cup"))
    with Index(place) as index, monkeypatch.context() as patch:
        patch.setattr(index, "_compare", None)
        assert index.update(by_folder(names)) == []
        assert [found.file for found in index.by_words("cup")] == sorted(names)
        assert index.with_captions(index.by_words("cup", 1))[0].caption == Caption("a cup")
        assert index.without_vector("k") == names
    with Index(place) as index:
        assert index.update(by_folder(names[:2])) == [], "some of a folder are found alone"
        assert [found.file for found in index.by_words("cup")] == names[:2]
    Path(names[0]).write_bytes(b"another")
    Path(names[1]).unlink()
    with Index(place) as index:
        assert index.update(by_folder([names[0], names[2]])) == [names[0]]
        assert [found.file for found in index.by_words("cup")] == [names[2]]
    with Index(place) as index:
        assert index.update(by_folder([names[0], names[2]])) == [names[0]], "it was not read"


def test_a_folder_that_is_named_twice_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in/a").write_bytes(b"1")
    with Index() as index:
        assert index.update({"in/": ["a"], "./in/": ["a", "b"]}) == ["in/a", "in/b"]
        for file in ("in/a", "in/b"):
            index.put(file, (1, 1), Caption("a cup"))
        assert [found.file for found in index.by_words("cup")] == ["in/a", "in/b"]
