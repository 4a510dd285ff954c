"""Datasets of streams: every kind of source, both kinds of dataset, crops, order, states and bad input."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import bifocal
from bifocal.apps.data.packing import pack_dataset
from bifocal.apps.data.unpacking import unpacked
from bifocal.errors import (
    DamagedStream,
    LatentsError,
    OptionError,
    PictureWarning,
    StreamError,
    TruncatedStream,
)
from bifocal.runtime.heads.windows import read_latents
from bifocal.runtime.model import Model
from tests.conftest import made_picture

CLASSES = ("cat", "dog")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures of two classes; one name has a dot, and one file is no picture."""
    folder = tmp_path_factory.mktemp("data") / "pictures"
    for number in range(6):
        file = folder / CLASSES[number % 2] / ("a.b.png" if number == 0 else f"{number}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(made_picture(100, 150, seed=number)).save(file)
    (folder / "dog" / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def shards(pictures: Path, tiny_folder: Path) -> Path:
    target = pictures.parent / "shards"
    pack_dataset(pictures, target, qualities=(30, 80), per_shard=2, model=str(tiny_folder))
    return target


@pytest.fixture(scope="module")
def streams(pictures: Path, tiny_model: Model) -> Path:
    """The same pictures as a folder of streams of one quality."""
    target = pictures.parent / "streams"
    for file in sorted(pictures.rglob("*.png")):
        if file.name != "broken.png":
            out = target / file.relative_to(pictures).with_suffix(".bfc")
            out.parent.mkdir(parents=True, exist_ok=True)
            bifocal.encode_file(file, out, quality=80, model=tiny_model)
    return target


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shards, tmp_path / "copy"))


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else value == other[key]
        for key, value in one.items()
    )


def test_packing_says_what_it_made_and_what_failed(shards: Path) -> None:
    about = json.loads((shards / "dataset.json").read_text(encoding="utf-8"))
    assert about["classes"] == list(CLASSES) and about["samples"] == 6 and len(about["shards"]) == 3
    assert [row["file"] for row in about["failed"]] == ["dog/broken.png"]
    assert {path.name for path in shards.iterdir()} == {f"00000{k}.tar" for k in range(3)} | {"dataset.json"}


def test_packing_again_gives_the_same_bytes_and_needs_a_word(
    pictures: Path, shards: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="has a dataset already"):
        pack_dataset(pictures, shards, model=str(tiny_folder))
    again = pack_dataset(pictures, tmp_path / "b", qualities=(30, 80), per_shard=2, model=str(tiny_folder))
    for shard in again.manifest.shards:
        assert (tmp_path / "b" / shard.name).read_bytes() == (shards / shard.name).read_bytes()


def test_a_smaller_dataset_leaves_no_shard_of_the_larger_behind(
    streams: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    for per_shard, count in ((1, 6), (4, 2)):
        pack_dataset(streams, tmp_path / "s", per_shard=per_shard, replace=True)
        assert len(list((tmp_path / "s").glob("*.tar"))) == count
    assert len(bifocal.data.StreamDataset(tmp_path / "s", model=tiny_folder)) == 6


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "pattern", "url"])
def test_every_kind_of_source_gives_the_same_samples(
    kind: str, streams: Path, shards: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    source: Any = {
        "folder": streams,
        "tar": shards,
        "pattern": shards / "*.tar",
        "url": f"file://{shards}",
    }.get(kind)
    if kind == "zip":
        source = tmp_path / "all.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for file in sorted(streams.rglob("*.bfc")):
                archive.write(file, file.relative_to(streams))
    quality = None if kind in ("folder", "zip") else 80
    found = bifocal.data.StreamDataset(source, model=tiny_folder, quality=quality, random_crop=False)
    each = {tuple(sample["latents"].shape): sample["label"] for sample in found}
    assert len(found) == 6 and set(each) == {(4, 7, 10)} and sorted(found.labels) == [0, 0, 0, 1, 1, 1]
    reference = bifocal.data.StreamDataset(streams, model=tiny_folder, random_crop=False)
    sums = sorted(float(sample["latents"].sum()) for sample in found)
    assert sums == sorted(float(sample["latents"].sum()) for sample in reference)


def test_latents_and_pixels_are_cut_alike(streams: Path, tiny_folder: Path, tiny_model: Model) -> None:
    found = bifocal.data.StreamDataset(streams, gives="both", crop=64, channels=16, model=tiny_folder, seed=3)
    data = (streams / "dog" / "1.bfc").read_bytes()
    number = next(k for k, sample in enumerate(found.samples) if sample.key == "dog/1")
    y, pixels = read_latents(data, tiny_model).y, bifocal.decode(data, model=tiny_model).pixels
    places = set()
    for epoch in range(6):
        found.set_epoch(epoch)
        sample = found[number]
        h, w = sample["latents"].shape[1:]
        matches = [
            (row, column)
            for row in range(8 - h)
            for column in range(11 - w)
            if np.array_equal(y[:, row : row + h, column : column + w], sample["latents"].numpy())
        ]
        assert (h, w) == (4, 4) and len(matches) == 1 and sample["picture"].shape == (3, 64, 64)
        ((row, column),) = matches
        part = pixels[16 * row : 16 * row + 64, 16 * column : 16 * column + 64].transpose(2, 0, 1)
        assert np.array_equal(sample["picture"].numpy()[:, : part.shape[1], : part.shape[2]], part)
        places.add((row, column))
    assert len(places) > 1  # drawn anew each epoch


def test_a_crop_larger_than_the_picture_goes_on_at_the_edge(streams: Path, tiny_folder: Path) -> None:
    sample = bifocal.data.StreamDataset(streams, gives="both", crop=192, model=tiny_folder)[0]
    assert sample["latents"].shape == (4, 12, 12) and sample["picture"].shape == (3, 192, 192)
    assert torch.equal(sample["latents"][:, -1], sample["latents"][:, -2])


def test_qualities_are_drawn_by_epoch_and_can_be_named(shards: Path, tiny_folder: Path) -> None:
    found = bifocal.data.StreamDataset(shards, model=tiny_folder, crop=64)
    seen = set()
    for epoch in range(4):
        found.set_epoch(epoch)
        seen |= {found[k]["quality"] for k in range(6)}
    assert seen == {30, 80}
    with pytest.raises(OptionError, match="no stream called .q50.bfc"):
        _ = bifocal.data.StreamDataset(shards, model=tiny_folder, quality=50)[0]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_give_the_samples_of_this_process(shards: Path, tiny_folder: Path) -> None:
    found = bifocal.data.StreamDataset(shards, model=tiny_folder, crop=64)
    here = [found[k] for k in range(6)]
    for number, batch in enumerate(DataLoader(found, batch_size=3, num_workers=2)):
        assert batch["latents"].shape == (3, 4, 4, 4)
        for k in range(3):
            assert torch.equal(batch["latents"][k], here[3 * number + k]["latents"])


def keys(dataset: Any) -> list[str]:
    return [sample["key"] for sample in dataset]


def test_the_iterable_gives_every_sample_once_in_an_order_of_its_epoch(
    shards: Path, tiny_folder: Path
) -> None:
    found = bifocal.data.IterableStreamDataset(shards, model=tiny_folder, crop=64, shuffle=3)
    first = keys(found)
    assert len(first) == len(set(first)) == 6 and keys(found) == first
    found.set_epoch(1)
    assert keys(found) != first and sorted(keys(found)) == sorted(first)
    parts = [
        keys(bifocal.data.IterableStreamDataset(shards, model=tiny_folder, part=(k, 2))) for k in range(2)
    ]
    assert sorted(parts[0] + parts[1]) == sorted(first)


def test_the_iterable_goes_on_from_a_state(shards: Path, streams: Path, tiny_folder: Path) -> None:
    for source in (shards, streams):
        whole = list(bifocal.data.IterableStreamDataset(source, model=tiny_folder, crop=64, shuffle=2))
        begun = bifocal.data.IterableStreamDataset(source, model=tiny_folder, crop=64, shuffle=2)
        samples = iter(begun)
        assert same(next(samples), whole[0]) and same(next(samples), whole[1])
        later = bifocal.data.IterableStreamDataset(source, model=tiny_folder, crop=64, shuffle=2)
        later.load_state_dict(json.loads(json.dumps(begun.state_dict())))
        assert all(same(one, other) for one, other in zip(later, whole[2:], strict=True))
    with pytest.raises(OptionError, match="no state"):
        begun.load_state_dict({"epoch": 1})


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_the_iterable_goes_on_after_batches_of_workers(shards: Path, tiny_folder: Path) -> None:
    found = bifocal.data.IterableStreamDataset(shards, model=tiny_folder, crop=64)
    whole = [batch["key"] for batch in DataLoader(found, batch_size=2, num_workers=2)]
    found.load_state_dict(found.state_after(batches=1, batch_size=2, workers=2))
    rest = [batch["key"] for batch in DataLoader(found, batch_size=2, num_workers=2)]
    assert sorted(sum(rest, [])) == sorted(sum(whole[1:], []))


def test_a_shard_that_is_cut_short_is_found(copy: Path, tiny_folder: Path) -> None:
    shard = copy / "000001.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TruncatedStream, match="000001.tar has .* Copy this shard again"):
        bifocal.data.StreamDataset(copy, model=tiny_folder)
    (copy / "dataset.json").unlink()  # without the manifest it shows when it is read
    for length in (len(whole) // 2, 700, whole.rindex(b"ustar") // 512 * 512):
        shard.write_bytes(whole[:length])
        with pytest.raises(StreamError, match="000001.tar is cut short"):
            bifocal.data.StreamDataset(copy, model=tiny_folder)
    left = bifocal.data.IterableStreamDataset(copy, model=tiny_folder, on_error="skip")
    with pytest.warns(PictureWarning, match="left out: .*000001.tar is cut short"):
        assert len(keys(left)) >= 4
    shard.write_bytes(b"no tar file at all" * 100)
    with pytest.raises(StreamError, match="000001.tar"):
        list(bifocal.data.IterableStreamDataset(copy, model=tiny_folder))
    shard.unlink()
    with pytest.raises(StreamError, match="does not exist"):
        bifocal.data.StreamDataset([copy / "000000.tar", shard], model=tiny_folder)


def test_a_damaged_stream_is_named(copy: Path, tiny_folder: Path) -> None:
    (copy / "dataset.json").unlink()
    shard = copy / "000000.tar"
    data = bytearray(shard.read_bytes())
    data[1536 + 100] ^= 255  # inside the payload of the first stream or its neighbour
    place = data.index(b"BFC") + 300
    data[place] ^= 255
    shard.write_bytes(bytes(data))
    found = bifocal.data.StreamDataset([shard], model=tiny_folder, quality=30)
    with pytest.raises(StreamError, match=found.samples[0].key):
        _ = found[0]
    left = bifocal.data.IterableStreamDataset([shard], model=tiny_folder, quality=30, on_error="skip")
    with pytest.warns(PictureWarning, match="left out"):
        assert len(keys(left)) == 1


def test_a_class_folder_that_vanished_is_named(streams: Path, tiny_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(streams, tmp_path / "streams"))
    found = bifocal.data.StreamDataset(copy, model=tiny_folder)
    shutil.rmtree(copy / "dog")
    with pytest.raises(StreamError, match="is gone since the dataset was opened"):
        _ = found[found.labels.index(1)]


@pytest.mark.parametrize(
    "manifest", [b"", b"[]", b'{"format": 9}', b'{"format":1,"classes":[],"shards":[{"name":"../x"}]}']
)
def test_a_manifest_that_is_none_is_refused(manifest: bytes, copy: Path) -> None:
    (copy / "dataset.json").write_bytes(manifest)
    with pytest.raises(DamagedStream, match="no list of shards"):
        bifocal.data.StreamDataset(copy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": 100}, "multiple of 16"),
        ({"crop": True}, "multiple of 16"),
        ({"gives": "labels"}, "choose latents"),
        ({"channels": 0}, "1 to 16"),
        ({"threads": 0}, "1 or more"),
    ],
)
def test_options_that_cannot_be_are_refused(
    options: dict[str, Any], message: str, streams: Path, tiny_folder: Path
) -> None:
    with pytest.raises(OptionError, match=message):
        bifocal.data.StreamDataset(streams, model=tiny_folder, **options)


def test_what_is_no_dataset_is_refused(streams: Path, tmp_path: Path, tiny_folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.zip").write_bytes(b"PK nothing")
    for source, message in (
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path / "empty", "no .bfc files"),
        (tmp_path / "*.tar", "no .tar shards"),
        ([], "no .tar shards"),
        (tmp_path / "none.zip", "does not exist"),
        (streams / "dog" / "1.bfc", "no dataset"),
    ):
        with pytest.raises(OptionError, match=message):
            bifocal.data.StreamDataset(source, model=tiny_folder)
    with pytest.raises(DamagedStream, match="no zip file"):
        bifocal.data.StreamDataset(tmp_path / "bad.zip", model=tiny_folder)


def test_latents_of_another_model_are_refused(streams: Path) -> None:
    with pytest.raises(LatentsError, match="is a stream of model"):
        _ = bifocal.data.StreamDataset(streams)[0]


@pytest.mark.filterwarnings("ignore")  # WebDataset leaves its shards open
def test_webdataset_decodes_streams(shards: Path, tiny_folder: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    handler = bifocal.data.decoder("both", crop=64, model=str(tiny_folder))
    files = [str(path) for path in sorted(shards.glob("*.tar"))]
    samples = list(webdataset.WebDataset(files, shardshuffle=False).decode(handler))
    assert len(samples) == 6 and {sample["cls"] for sample in samples} == {0, 1}
    assert samples[0]["q30.bfc"]["latents"].shape == (4, 4, 4) and samples[0]["q80.bfc"]["quality"] == 80


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Hugging Face without network, caches in a folder of the test, and none of its warnings."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    yield tmp_path / "cache"


@pytest.mark.filterwarnings("ignore")
def test_hugging_face_reads_shards(shards: Path, tiny_folder: Path, quiet: Path) -> None:
    pytest.importorskip("datasets")
    options: dict[str, Any] = {"crop": 64, "model": str(tiny_folder), "cache_dir": str(quiet)}
    rows = bifocal.data.load_huggingface(shards, **options)
    assert len(rows) == 6 and rows[0]["latents.q30"].shape == (4, 4, 4)
    assert {row["label"] for row in rows} == {0, 1}
    first = next(iter(bifocal.data.load_huggingface(shards, streaming=True, **options)))
    assert np.shape(first["latents.q80"]) == (4, 4, 4)


def test_the_command_packs_and_refuses(
    streams: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from typer.testing import CliRunner

    from bifocal.apps.cli.main import app

    done = CliRunner().invoke(app, ["pack-dataset", str(streams), str(tmp_path / "s")])
    assert done.exit_code == 0 and "6 samples of 2 classes in 1 shards" in done.output
    again = CliRunner().invoke(app, ["pack-dataset", str(streams), str(tmp_path / "s")])
    assert again.exit_code == 2
    inside = CliRunner().invoke(app, ["pack-dataset", str(streams), str(streams / "s")])
    assert inside.exit_code == 2


def test_shards_become_the_folder_that_was_packed(tmp_path: Path) -> None:
    source = tmp_path / "streams"
    for name in ("cat/b.bfc", "cat/a/x.bfc", "<b>dog/a.bfc"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(name.encode())
    packed = pack_dataset(source, tmp_path / "shards", per_shard=1).folder
    with unpacked(packed) as folder:
        found = sorted(path for path in folder.rglob("*") if path.is_file())
        assert [path.parent.name for path in found] == ["<b>dog", "cat", "cat"]
        assert [path.read_bytes() for path in found] == [b"<b>dog/a.bfc", b"cat/a/x.bfc", b"cat/b.bfc"]
    assert not folder.exists()
    about = (packed / "dataset.json").read_text()
    (packed / "dataset.json").write_text(about.replace("<b>dog", "../dog"))
    with pytest.raises(DamagedStream, match="cannot be the name of a class"), unpacked(packed):
        pass
    (packed / "dataset.json").unlink()
    with unpacked(packed) as folder:
        assert {path.name for path in folder.iterdir()} == {"000000000", "000000001"}
    shard = packed / "000001.tar"
    shard.write_bytes(shard.read_bytes()[:1024])
    with pytest.raises(TruncatedStream, match="cut short"), unpacked(packed):
        pass
    with unpacked(source) as folder:
        assert folder == source, "a folder is one already"
