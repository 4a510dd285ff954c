"""The page of a search: thumbnails of what was found. Captions and names are other people's text: escaped."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from bifocal.apps.cli.launch import printable
from bifocal.errors import BifocalError

if TYPE_CHECKING:
    from bifocal.api.search import Found

#: Longest side of a thumbnail in pixels.
SIDE = 240
_STYLE = """<style>.found{display:grid;grid-template-columns:repeat(auto-fill,minmax(250px,1fr));gap:16px;
margin-top:20px}.found figure{margin:0}.found img{display:block;margin:0 auto 8px;max-width:100%}
.found figcaption{font-size:14px;overflow-wrap:anywhere}</style>"""
#: The page runs nothing and loads nothing, whatever a caption says.
_POLICY = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
)


def write_page(
    found: Sequence[Found], sought: str, unit: str, path: Path | None, *, force: bool, show: bool
) -> None:
    """Write the page, to a temporary file if no other is named, and open it in the browser if asked to.

    :raises OutputError: if it cannot be written.
    """
    from bifocal.storage.filesystem import write_atomically

    if path is None:
        path = Path(tempfile.mkdtemp(prefix="bifocal-search-"), "found.html")
    write_atomically(path, page(found, sought, unit).encode("utf-8", "replace"), overwrite=force)
    if show:
        import webbrowser

        webbrowser.open(path.absolute().as_uri())


def page(found: Sequence[Found], sought: str, unit: str) -> str:
    """The page as HTML, in one file."""
    from bifocal.hardware.pages.html import document

    cards = "".join(_card(one, unit) for one in found)
    parts = [
        _POLICY,
        _STYLE,
        f"<h1>{escape(printable(sought))}</h1>",
        f'<p class="sub">{len(found)} streams, the best first</p><div class="found">{cards}</div>',
    ]
    return document(f"bifocal search: {printable(sought)}", parts)


def _card(one: Found, unit: str) -> str:
    caption = f'<p dir="auto"><bdi>{escape(one.caption.text)}</bdi></p>' if one.caption else ""
    return (
        f'<figure class="card">{_thumbnail(one.file)}<figcaption>{caption}'
        f'<code>{escape(printable(one.file))}</code><p class="note">{unit} {one.score:.3f}</p>'
        "</figcaption></figure>"
    )


def _thumbnail(file: str) -> str:
    """A small picture, mostly from the low band; words in its place if it cannot be had."""
    from bifocal.apps.desktop.thumbnail import write_thumbnail

    with tempfile.TemporaryDirectory(prefix="bifocal-") as folder:
        target = Path(folder, "thumbnail.png")
        try:
            write_thumbnail(file, target, SIDE)
            data = base64.b64encode(target.read_bytes()).decode("ascii")
        except (BifocalError, ValueError, OSError) as error:
            return f'<p class="note">no picture: {escape(printable(str(error)))}</p>'
    return f'<img alt="" src="data:image/png;base64,{data}">'
