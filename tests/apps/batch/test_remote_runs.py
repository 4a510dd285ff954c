"""Runs from and into stores: the same results, resumed the same way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import bifocal
from bifocal.apps import batch
from bifocal.errors import OptionError
from bifocal.storage import filesystem, remote
from tests.conftest import made_picture
from tests.storage.test_remote import server as server  # the fixture

fsspec = pytest.importorskip("fsspec", reason="URLs need the remote extra")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    """A folder in memory with three pictures in ``in``."""
    memory = fsspec.filesystem("memory")
    for seed, name in enumerate(("a.png", "sub/b.png", "sub/c.png")):
        bifocal.write_picture(bifocal.Picture(made_picture(40, 60, seed=seed)), tmp_path / "x.png")
        filesystem.make_folder(f"memory://here/in/{name}")
        remote.put(tmp_path / "x.png", f"memory://here/in/{name}")
    yield "memory://here"
    memory.rm("/", recursive=True)


def test_a_run_between_stores_is_resumed(store: str, tiny_folder: Path, tmp_path: Path) -> None:
    worker = batch.Worker("encode", model=str(tiny_folder))
    report = batch.run(worker, [f"{store}/in"], f"{store}/out")
    assert (report.done, report.failed) == (3, ())
    assert remote.find(f"{store}/out") == ["a.bfc", "bifocal-encode.jsonl", "sub/b.bfc", "sub/c.bfc"]
    assert batch.run(worker, [f"{store}/in"], tmp_path / "local").done == 3
    for name in ("a.bfc", "sub/b.bfc", "sub/c.bfc"):
        assert remote.read(f"{store}/out/{name}") == (tmp_path / "local" / name).read_bytes()
    assert batch.run(worker, [f"{store}/in"], f"{store}/out", resume=True).kept == 3
    remote.put(tmp_path / "x.png", f"{store}/in/a.png")  # another picture now
    (tmp_path / "y").write_bytes(b"damaged")
    remote.put(tmp_path / "y", f"{store}/out/sub/c.bfc")
    again = batch.run(worker, [f"{store}/in"], f"{store}/out", resume=True)
    assert (again.done, again.kept) == (2, 1)
    shard = batch.run(worker, [f"{store}/in"], f"{store}/out", resume=True, shard=(1, 2))
    assert shard.done == 0 and shard.kept > 0
    decoder = batch.Worker("decode", model=str(tiny_folder))
    assert batch.run(decoder, [f"{store}/out"], tmp_path / "back").done == 3


def test_a_result_there_that_no_run_made_is_kept(store: str, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "y").write_bytes(b"somebody's")
    filesystem.make_folder(f"{store}/out/a.bfc")
    remote.put(tmp_path / "y", f"{store}/out/a.bfc")
    worker = batch.Worker("encode", model=str(tiny_folder))
    with pytest.raises(OptionError, match="exists already"):
        batch.run(worker, [f"{store}/in"], f"{store}/out")
    report = batch.run(worker, [f"{store}/in"], f"{store}/out", resume=True)
    assert report.done == 2 and "not of this run" in report.failed[0].error
    assert remote.read(f"{store}/out/a.bfc") == b"somebody's"


def test_a_folder_of_a_web_server(server: str, tiny_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    bifocal.write_picture(bifocal.Picture(made_picture(40, 60)), tmp_path / "in" / "a.png")
    worker = batch.Worker("encode", model=str(tiny_folder))
    assert batch.run(worker, [f"{server}/in"], tmp_path / "out", jobs=2).done == 1
    assert batch.run(worker, [f"{server}/in"], tmp_path / "out", resume=True).kept == 1
    bifocal.write_picture(bifocal.Picture(made_picture(40, 64)), tmp_path / "in" / "a.png")
    assert batch.run(worker, [f"{server}/in/a.png"], tmp_path / "out", resume=True).done == 1
    assert bifocal.decode_file(tmp_path / "out" / "a.bfc", model=tiny_folder).width == 64


def test_memory_is_not_shared_by_processes(store: str, tiny_folder: Path) -> None:
    with pytest.raises(OptionError, match="one process"):
        batch.run(batch.Worker("encode", model=str(tiny_folder)), [f"{store}/in"], f"{store}/out", jobs=2)


def test_file_urls_are_folders_here(tmp_path: Path, tiny_folder: Path) -> None:
    (tmp_path / "in").mkdir()
    bifocal.write_picture(bifocal.Picture(made_picture(40, 60)), tmp_path / "in" / "a.png")
    worker = batch.Worker("encode", model=str(tiny_folder))
    source, out = (tmp_path / "in").as_uri(), (tmp_path / "out").as_uri()
    assert batch.run(worker, [source], out, jobs=2).done == 1
    assert batch.run(worker, [str(tmp_path / "in")], str(tmp_path / "out"), resume=True).kept == 1
