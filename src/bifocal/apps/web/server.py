"""What the page asks for, answered: an ASGI app on the loopback address, for whoever has its token.

Every address begins with the token, the name of the host has to be ours (so that no other page can reach this
one by a name that it makes up), uploads are counted while they come, and pictures are sent as PNG files that
we made. What goes wrong is ``{"error": ...}``; the page sets it as text, never as HTML.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from bifocal.apps.web.gallery import Gallery
from bifocal.apps.web.pictures import PEERS, OpenPicture, Shelf, Tools, evidence_png, plain, png
from bifocal.errors import BifocalError, LimitExceeded
from bifocal.hardware.pages.html import STYLE

STATIC = Path(__file__).parent / "static"
_FILES = {"": ("page.html", "text/html"), "page.js": ("page.js", "text/javascript")}
_FILES |= {"page.css": ("page.css", "text/css")}
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; img-src 'self' blob:; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
#: Jobs that compute at a time; others wait.
JOBS = 2

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass
class Page:
    """The state of the page: what it works with, what is open, and how much an upload may have."""

    tools: Tools
    gallery: Gallery
    upload: int = 1 << 26
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    shelf: Shelf = field(default_factory=Shelf)
    turns: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(JOBS))

    def app(self) -> _Guard:
        """The ASGI app."""
        routes = [
            Route("/", self._file),
            Route("/{name:str}", self._file),
            Route("/api/start", self._start),
            Route("/api/pictures", self._upload, methods=["PUT"]),
            Route("/api/pictures/{id:int}/{what:str}", self._picture),
            Route("/api/gallery", self._gallery),
            Route("/api/gallery/savings", self._savings),
            Route("/api/gallery/{number:int}/thumbnail", self._thumbnail),
            Route("/api/gallery/{number:int}/open", self._open, methods=["PUT"]),
        ]
        app = Starlette(
            routes=[Mount(f"/{self.token}", routes=routes)],
            exception_handlers={HTTPException: _http_error, BifocalError: _error, Exception: _unexpected},
        )
        return _Guard(app)

    async def _file(self, request: Request) -> Response:
        name, kind = _FILES.get(request.path_params.get("name", ""), ("", ""))
        if not name:
            raise HTTPException(404)
        text = (STATIC / name).read_text(encoding="utf-8")
        return Response((STYLE + text if kind == "text/css" else text), media_type=kind)

    async def _start(self, request: Request) -> Response:
        about = {
            "files": len(self.gallery.entries),
            "upload": self.upload,
            "peers": list(PEERS),
            "detector": None if self.tools.detector is None else self.tools.detector.name,
            "model": self.tools.model.name,
            "head": self.tools.head.name,
        }
        return JSONResponse(about)

    async def _upload(self, request: Request) -> Response:
        data = bytearray()
        async for chunk in request.stream():
            data += chunk
            if len(data) > self.upload:
                raise LimitExceeded(
                    f"this file is larger than {self.upload:,} bytes, which is the most that the page takes. "
                    "Start it with a larger --max-upload, or open the file by its name."
                )
        name = request.query_params.get("name", "picture")[:300]
        return await self._work(lambda: self._opened(name, bytes(data)))

    async def _open(self, request: Request) -> Response:
        number = request.path_params["number"]
        return await self._work(lambda: self._opened(*self.gallery.read(number)))

    def _opened(self, name: str, data: bytes) -> Response:
        picture = OpenPicture(name, data, self.tools)
        return JSONResponse({"id": self.shelf.add(picture), **picture.describe()})

    async def _gallery(self, request: Request) -> Response:
        first, wanted = _number(request, "first", 0, 0, 1 << 31), request.query_params.get("search", "")[:200]
        return await self._work(lambda: JSONResponse(self.gallery.rows(first, wanted)))

    async def _savings(self, request: Request) -> Response:
        quality = _number(request, "quality", 60, 1, 100)
        return await self._work(lambda: JSONResponse(self.gallery.savings(quality)))

    async def _thumbnail(self, request: Request) -> Response:
        number = request.path_params["number"]
        return await self._work(lambda: _image(self.gallery.thumbnail(number)))

    async def _picture(self, request: Request) -> Response:
        answer = _ANSWERS.get(request.path_params["what"])
        if answer is None:
            raise HTTPException(404)
        picture = self.shelf[request.path_params["id"]]
        quality = _number(request, "quality", 60, 0, 100)
        return await self._work(lambda: answer(picture, quality, request))

    async def _work(self, job: Callable[[], Response]) -> Response:
        def waited() -> Response:
            with self.turns:
                return job()

        return await run_in_threadpool(waited)


class _Guard:
    """Refuses other hosts, and adds the headers that keep the page to itself."""

    def __init__(self, app: Starlette) -> None:
        self.app = app

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1").partition(":")[0]

        async def sent(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                own = [(key.encode(), value.encode()) for key, value in _HEADERS.items()]
                message["headers"] = [*message["headers"], *own]
            await send(message)

        if host not in ("127.0.0.1", "localhost"):
            await JSONResponse({"error": "this page is for this machine alone."}, 403)(scope, receive, sent)
            return
        await self.app(scope, receive, sent)


def _coded(picture: OpenPicture, quality: int, request: Request) -> Response:
    made = picture.coded(quality)
    h, w = made.pixels.shape[:2]
    about = {"bytes": len(made.data), "bpp": 8 * len(made.data) / (h * w), "psnr": _finite(made.psnr)}
    return JSONResponse({**about, "encode": made.encode, "decode": made.decode})


def _peer(picture: OpenPicture, quality: int, request: Request) -> Response:
    from bifocal.measure.metrics import psnr

    own, size, pixels = picture.peer(request.query_params.get("codec", ""), quality)
    return JSONResponse({"quality": own, "bytes": size, "psnr": _finite(psnr(picture.original, pixels))})


def _labels(picture: OpenPicture, quality: int, request: Request) -> Response:
    labels, seconds = picture.labels(quality)
    rows = [{"name": plain(name), "probability": value} for name, value in labels.top(5)]
    evidence = labels.evidence is not None
    about = {"labels": rows, "confident": labels.confident, "seconds": seconds, "evidence": evidence}
    decode = None if quality == 0 else picture.coded(quality).decode
    return JSONResponse({**about, "decode": decode})


def _evidence(picture: OpenPicture, quality: int, request: Request) -> Response:
    labels, _ = picture.labels(quality)
    left, top, right, bottom = picture.window
    size = (picture.width, picture.height) if quality == 0 else (right - left, bottom - top)
    return _image(evidence_png(labels, _number(request, "class", 0, 0, 1 << 20), *size))


def _low(picture: OpenPicture, quality: int, request: Request) -> Response:
    pixels, seconds, size, of = picture.low(quality)
    h, w = pixels.shape[:2]
    return JSONResponse({"width": w, "height": h, "seconds": seconds, "bytes": _finite(size), "of": of})


def _boxes(picture: OpenPicture, quality: int, request: Request) -> Response:
    rows = [{key: plain(v) if isinstance(v, str) else v for key, v in row.items()} for row in
            picture.boxes(quality).rows()]  # fmt: skip
    return JSONResponse({"boxes": rows})


_ANSWERS: dict[str, Callable[[OpenPicture, int, Request], Response]] = {
    "original.png": lambda picture, quality, request: _image(png(picture.original)),
    "coded": _coded,
    "coded.png": lambda picture, quality, request: _image(png(picture.coded(quality).pixels)),
    "coded.bfc": lambda picture, quality, request: Response(
        picture.coded(quality).data, media_type="application/octet-stream"
    ),
    "peer": _peer,
    "peer.png": lambda picture, quality, request: _image(
        png(picture.peer(request.query_params.get("codec", ""), quality)[2])
    ),
    "labels": _labels,
    "evidence.png": _evidence,
    "low": _low,
    "low.png": lambda picture, quality, request: _image(png(picture.low(quality)[0])),
    "boxes": _boxes,
}


def _image(data: bytes) -> Response:
    return Response(data, media_type="image/png")


def _finite(value: float) -> float | None:
    """A number that JSON has; None for an infinite PSNR."""
    return value if abs(value) < float("inf") else None


def _number(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isdecimal() and text.isascii() and len(text) < 12 and least <= int(text) <= most):
        raise HTTPException(400, f"{name} has to be a whole number from {least} to {most}.")
    return int(text)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code)


async def _error(request: Request, error: Exception) -> Response:
    status = 413 if isinstance(error, LimitExceeded) else 422
    return JSONResponse({"error": plain(str(error))}, status)


async def _unexpected(request: Request, error: Exception) -> Response:
    name = type(error).__name__
    return JSONResponse({"error": f"{name}: this is unexpected; please report it, with the file."}, 500)
