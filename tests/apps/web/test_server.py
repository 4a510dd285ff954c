"""The page by HTTP: the token, the host, bounded uploads, errors as text, and what it computes."""

from __future__ import annotations

import io
import json
import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bifocal.errors import OptionError
from tests.apps.web.conftest import EVIL
from tests.conftest import made_picture


def get(address: str, *, data: bytes | None = None, host: str = "") -> tuple[int, bytes, dict[str, str]]:
    request = urllib.request.Request(address, data=data, method="GET" if data is None else "PUT")
    if host:
        request.add_header("Host", host)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), dict(error.headers)


def ask(address: str, data: bytes | None = None) -> Any:
    status, text, _ = get(address, data=data)
    return {"status": status, **json.loads(text)}


def file_of(pixels: Any, kind: str = "PNG") -> bytes:
    made = io.BytesIO()
    Image.fromarray(pixels).save(made, kind)
    return made.getvalue()


def test_only_the_token_opens_the_page_and_only_on_this_machine(page: tuple[str, str]) -> None:
    address, host = page
    status, text, headers = get(address)
    assert status == 200 and b"<title>Bifocal</title>" in text
    assert "default-src 'none'" in headers["content-security-policy"] and "unsafe" not in str(headers)
    for wrong in (f"{host}/", f"{host}/api/start", f"{host}/{'x' * 32}/api/start", address + "server.py"):
        assert get(wrong)[0] == 404
    assert get(address, host="evil.example:80")[0] == 403
    for name in ("page.js", "page.css"):
        assert get(address + name)[0] == 200


def test_a_picture_is_coded_compared_and_read(page: tuple[str, str]) -> None:
    address, _ = page
    pixels = made_picture(96, 128, seed=5)
    picture = ask(address + "api/pictures?name=" + "a%3Cb%3E.png", file_of(pixels))
    assert (picture["name"], picture["width"], picture["height"], picture["whole"]) == (
        "a<b>.png",
        128,
        96,
        True,
    )
    own = f"{address}api/pictures/{picture['id']}/"
    sizes = [ask(f"{own}coded?quality={quality}")["bytes"] for quality in (10, 90)]
    assert sizes[0] < sizes[1]
    _, stream, headers = get(f"{own}coded.bfc?quality=90")
    assert len(stream) == sizes[1] and headers["content-type"] == "application/octet-stream"
    peer = ask(f"{own}peer?codec=jpeg&quality=90")
    assert peer["bytes"] > 0 and peer["psnr"] > 10
    with Image.open(io.BytesIO(get(f"{own}original.png")[1])) as shown:
        assert np.array_equal(np.asarray(shown), pixels)
    labels = ask(f"{own}labels?quality=90")
    assert len(labels["labels"]) == 3 and labels["seconds"] > 0 and labels["decode"] > 0
    low = ask(f"{own}low?quality=90")
    assert (low["width"], low["height"]) == (8, 6) and 0 < low["bytes"] < low["of"]
    for what, size in (("coded.png", (128, 96)), ("peer.png", (128, 96)), ("low.png", (8, 6))):
        with Image.open(io.BytesIO(get(f"{own}{what}?quality=90&codec=jpeg")[1])) as shown:
            assert shown.size == size


def test_what_cannot_be_is_an_error_and_never_html(page: tuple[str, str]) -> None:
    address, _ = page
    uploads = address + "api/pictures?name=%3Cscript%3E"
    assert ask(uploads, b"<script>no picture</script>")["status"] == 422
    too_large = ask(uploads, bytes(3_100_000))
    assert too_large["status"] == 413 and "--max-upload" in too_large["error"]
    assert ask(address + "api/pictures/999/coded?quality=5")["status"] == 422
    for question in (
        "coded?quality=101",
        "coded?quality=-1",
        "coded?quality=x",
        "coded?quality=" + "9" * 5000,
    ):
        assert ask(f"{address}api/pictures/1/{question}")["status"] in (400, 422)
    picture = ask(uploads, file_of(made_picture(64, 64)))
    own = f"{address}api/pictures/{picture['id']}/"
    for question in ("peer?codec=exe", "labels?quality=0", "boxes", "evidence.png?class=50&quality=60"):
        assert "error" in ask(own + question)
    assert get(own + "nothing")[0] == 404
    for number in (99, 10**30):
        assert get(f"{address}api/gallery/{number}/thumbnail")[0] in (404, 422)


def test_the_gallery_has_what_files_say_of_themselves(page: tuple[str, str]) -> None:
    address, _ = page
    found = ask(address + "api/gallery")
    rows = {row["name"]: row for row in found["rows"]}
    assert found["total"] == 4 and rows[EVIL]["width"] == 120 and rows["kite.bfc"]["height"] == 100
    for name in ("kite.bfc", "plain.jpg", EVIL):
        status, data, headers = get(f"{address}api/gallery/{rows[name]['number']}/thumbnail")
        assert status == 200 and headers["content-type"] == "image/png" and data[:4] == b"\x89PNG"
    names = [row["name"] for row in ask(address + "api/gallery?search=KITE")["rows"]]
    assert "kite.bfc" in names
    assert ask(address + "api/gallery?search=nothing")["total"] == 0
    saved = ask(address + "api/gallery/savings?quality=10")
    assert saved["pictures"] == 2 and saved["sampled"] == 2 and saved["saved"] <= saved["bytes"]
    stream = ask(f"{address}api/gallery/{rows['kite.bfc']['number']}/open", b"")
    assert stream["stream"] and stream["about"].startswith("stream, quality 50")


def test_captions_are_found(page: tuple[str, str]) -> None:
    found = ask(page[0] + "api/gallery?search=red+kite")
    assert {row["name"] for row in found["rows"]} >= {"kite.bfc"}


def test_a_large_picture_is_shown_in_part(page: tuple[str, str], large_picture: Path) -> None:
    picture = ask(page[0] + "api/pictures?name=large", large_picture.read_bytes())
    left, top, right, bottom = picture["window"]
    assert picture["width"] * picture["height"] == 50_000_000 and not picture["whole"]
    assert (right - left) * (bottom - top) <= 1 << 20


def test_a_port_in_use_is_a_clear_error() -> None:
    pytest.importorskip("uvicorn")
    from bifocal.apps.web.serve import bound

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OptionError, match=f"port {port} cannot be used"):
            bound(port)


def test_the_command_prints_its_address_where_there_is_no_browser(
    monkeypatch: pytest.MonkeyPatch, folder: Path, tiny_folder: Path
) -> None:
    uvicorn = pytest.importorskip("uvicorn")
    from bifocal.apps.cli.main import app

    monkeypatch.setattr("webbrowser.open", lambda address: False)
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    done = CliRunner().invoke(app, ["view", str(folder), "--model", str(tiny_folder)])
    assert done.exit_code == 0 and "open http://127.0.0.1:" in done.output and "no browser" in done.output
    missing = CliRunner().invoke(app, ["view", str(folder / "nowhere"), "--model", str(tiny_folder)])
    assert isinstance(missing.exception, OptionError)


def test_questions_at_the_same_time_are_answered(page: tuple[str, str]) -> None:
    address, _ = page
    picture = ask(address + "api/pictures?name=b", file_of(made_picture(64, 64)))
    answers: list[int] = []
    threads = [
        threading.Thread(
            target=lambda q=q: answers.append(
                ask(f"{address}api/pictures/{picture['id']}/coded?quality={q}")["bytes"]
            )  # type: ignore[misc]
        )
        for q in (10, 10, 50, 90)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4 and len(set(answers)) == 3
