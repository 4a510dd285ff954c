"""The page, served on a free port while the tests of this folder run."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import bifocal
from bifocal.runtime.model import Model
from tests.conftest import made_picture
from tests.tiny_head import dense_head

#: The name of a file that would run, if it were ever taken for HTML.
EVIL = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Model) -> Path:
    """Two pictures, one with an evil name; a stream with an evil caption; and a damaged stream."""
    folder = tmp_path_factory.mktemp("shown")
    Image.fromarray(made_picture(90, 120, seed=1)).save(folder / EVIL)
    Image.fromarray(made_picture(60, 80, seed=2)).save(folder / "plain.jpg", quality=95)
    caption = bifocal.Caption("<script>alert(2)</script> a red kite")
    picture = bifocal.Picture(made_picture(100, 130, seed=3), caption=caption)
    data = bifocal.encode(picture, quality=50, model=tiny_model)
    (folder / "kite.bfc").write_bytes(data)
    (folder / "damaged.bfc").write_bytes(data[:-40] + bytes(40))
    return folder


@pytest.fixture(scope="module")
def page(
    folder: Path, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """The address of the page, with and without its token."""
    pytest.importorskip("starlette")
    uvicorn = pytest.importorskip("uvicorn")
    from bifocal.apps.web.gallery import Gallery
    from bifocal.apps.web.pictures import Tools
    from bifocal.apps.web.serve import bound
    from bifocal.apps.web.server import Page

    model = Model.load(tiny_folder, threads=1)
    path = dense_head(tmp_path_factory.mktemp("head") / "head.bfh", model.entropy.fingerprint)
    tools = Tools(model, bifocal.Head.load(path, threads=1), limits=bifocal.Limits(pixels=60_000_000))
    made = Page(tools, Gallery([str(folder)], tools), upload=3_000_000)
    with bound(0) as listening:
        host = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(
            uvicorn.Config(made.app(), log_level="critical", access_log=False, lifespan="off", loop="asyncio")
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"{host}/{made.token}/", host
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def large_picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of 50 megapixels in a small file."""
    path = tmp_path_factory.mktemp("large") / "large.jpg"
    Image.new("L", (8000, 6250), 90).save(path, quality=30)
    return path
