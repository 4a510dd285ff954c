"""Paths that are URLs: what is read and written is the same as on this machine, and errors name the URL."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import bifocal
from bifocal.apps.batch.kinds import PICTURES
from bifocal.errors import OptionError, PictureError, RemoteError
from bifocal.storage import filesystem, remote
from bifocal.storage.folders import LeftOut, search
from tests.conftest import made_picture

fsspec = pytest.importorskip("fsspec", reason="URLs need the remote extra")


@pytest.fixture
def memory() -> Iterator[str]:
    """An empty folder in fsspec's store in memory."""
    store = fsspec.filesystem("memory")
    store.makedirs("/here", exist_ok=True)
    yield "memory://here"
    store.rm("/", recursive=True)


def test_what_is_a_url() -> None:
    for url in ("s3://bucket/a.png", "https://host/a.png", "memory://a", "zip::s3://bucket/a.zip"):
        assert filesystem.is_url(url)
    for path in ("a.png", "/a/b.png", "C:\\a.png", "a:b.png", "file:///a.png", Path("s3://bucket")):
        assert not filesystem.is_url(path)
    assert filesystem.plain("file:///a%20b/c.png") == "/a b/c.png"
    assert filesystem.plain("s3://bucket/photos/") == "s3://bucket/photos"


def test_encode_and_decode_to_and_from_memory(memory: str, tiny_model: bifocal.Model, tmp_path: Path) -> None:
    bifocal.write_picture(bifocal.Picture(made_picture(40, 60)), tmp_path / "a.png")
    local = bifocal.encode_file(tmp_path / "a.png", tmp_path / "a.bfc", model=tiny_model)
    remote.put(tmp_path / "a.png", f"{memory}/a.png")
    assert bifocal.encode_file(f"{memory}/a.png", f"{memory}/a.bfc", model=tiny_model) == local
    assert remote.read(f"{memory}/a.bfc") == (tmp_path / "a.bfc").read_bytes()
    picture = bifocal.decode_file(f"{memory}/a.bfc", f"{memory}/b.png", model=tiny_model)
    assert picture == bifocal.decode_file(tmp_path / "a.bfc", model=tiny_model)
    with filesystem.fetched(f"{memory}/b.png") as copy:
        assert bifocal.read_picture(copy) == picture
    assert not copy.exists()


def test_file_urls_are_this_machine(tiny_model: bifocal.Model, tmp_path: Path) -> None:
    bifocal.write_picture(bifocal.Picture(made_picture(40, 60)), tmp_path / "a b.png")
    url = (tmp_path / "a b.png").as_uri()
    assert bifocal.encode_file(url, (tmp_path / "a.bfc").as_uri(), model=tiny_model).width == 60
    assert (tmp_path / "a.bfc").exists()
    with pytest.raises(bifocal.BifocalError, match="never overwritten"):
        bifocal.encode_file(url, tmp_path / "a b.png", model=tiny_model)


def test_errors_name_the_url_and_write_nothing(
    memory: str, tiny_model: bifocal.Model, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG no more")
    remote.put(tmp_path / "bad.png", f"{memory}/bad.png")
    with pytest.raises(PictureError, match=f"^{memory}/bad.png is no picture"):
        bifocal.encode_file(f"{memory}/bad.png", f"{memory}/x.bfc", model=tiny_model)
    with pytest.raises(RemoteError, match=f"{memory}/none.png cannot be read"):
        bifocal.encode_file(f"{memory}/none.png", f"{memory}/x.bfc", model=tiny_model)
    assert remote.find(memory) == ["bad.png"]
    with pytest.raises(OptionError, match="nowhere"):
        bifocal.decode_file("nowhere://a.bfc", model=tiny_model)


def test_without_fsspec_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(OptionError, match=r'pip install "bifocal-codec\[remote\]"'):
        bifocal.decode_file("s3://bucket/a.bfc")


def test_names_below_a_folder_there_are_those_of_a_folder_here(memory: str, tmp_path: Path) -> None:
    for name in ("b.png", "sub/a.png", "sub/deeper/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
        filesystem.make_folder(f"{memory}/{name}")
        remote.put(tmp_path / name, f"{memory}/{name}")
    names = ["b.png", "sub/a.png", "sub/deeper/c.png"]
    assert remote.find(memory) == search(memory, PICTURES, LeftOut()) == names
    assert search(os.fspath(tmp_path), PICTURES, LeftOut()) == names
    assert filesystem.is_folder(f"{memory}/sub") and not filesystem.is_folder(f"{memory}/b.png")
    assert filesystem.exists(f"{memory}/b.png") and not filesystem.exists(f"{memory}/c.png")
    assert remote.read(f"{memory}/sub/a.png") == b"sub/a.png"
    assert remote.beside(f"{memory}/x") == ["b.png", "sub"]
    before = remote.state(f"{memory}/b.png")
    remote.put(tmp_path / "sub" / "a.png", f"{memory}/b.png")
    assert remote.state(f"{memory}/b.png") != before


def test_a_store_that_shows_halves_gets_a_name_of_its_own_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not every store makes files appear whole; there we move a finished one into place."""
    from fsspec.implementations.local import LocalFileSystem

    class Slow(LocalFileSystem):  # type: ignore[misc]
        protocol = "slow"
        fail = False
        written: list[str] = []

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return str(path).removeprefix("slow://")

        def put_file(self, here: str, there: str, **rest: object) -> None:
            self.written.append(there)
            Path(there).write_bytes(Path(here).read_bytes())
            if self.fail:
                raise ConnectionError("the line went dead")

    fsspec.register_implementation("slow", Slow, clobber=True)
    (tmp_path / "a").write_bytes(b"first")
    remote.put(tmp_path / "a", f"slow://{tmp_path}/b")
    assert (tmp_path / "b").read_bytes() == b"first"
    assert Slow.written[0].startswith(f"{tmp_path}/b.") and Slow.written[0].endswith(".part")
    monkeypatch.setattr(Slow, "fail", True)
    (tmp_path / "a").write_bytes(b"second")
    with pytest.raises(RemoteError, match="the line went dead"):
        remote.put(tmp_path / "a", f"slow://{tmp_path}/b")
    assert (tmp_path / "b").read_bytes() == b"first"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server that shows ``tmp_path``."""
    pytest.importorskip("aiohttp", reason="https:// needs aiohttp")
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=os.fspath(tmp_path)))
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def test_read_from_a_web_server(server: str, tiny_model: bifocal.Model, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    bifocal.write_picture(bifocal.Picture(made_picture(40, 60)), tmp_path / "in" / "a.png")
    here = bifocal.encode_file(tmp_path / "in" / "a.png", tmp_path / "a.bfc", model=tiny_model)
    assert bifocal.encode_file(f"{server}/in/a.png", tmp_path / "b.bfc", model=tiny_model) == here
    assert bifocal.decode_file(f"{server}/a.bfc", model=tiny_model).width == 60
    assert remote.find(f"{server}/in") == ["a.png"]
    assert "Last-Modified" in remote.state(f"{server}/in/a.png")
    with pytest.raises(RemoteError, match="404|FileNotFound|none"):
        bifocal.decode_file(f"{server}/none.bfc", model=tiny_model)
