"""``bifocal view``: a page on this machine that shows what the codec does to your pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bifocal._version import DEFAULT_MODEL
from bifocal.apps.cli import options
from bifocal.errors import OptionError, install_command

Shown = Annotated[
    list[str] | None,
    typer.Argument(help="Pictures, .bfc streams, or folders of them.", show_default="drop them on the page"),
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port of the page.", show_default="a free one")]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Only print the address.")]
Detector = Annotated[
    Path | None, typer.Option(help="A .bfd file, by `bifocal-train detect`: its boxes are drawn.")
]
MaxUpload = Annotated[int, typer.Option("--max-upload", min=1, help="Most megabytes of a dropped file.")]


def view(
    inputs: Shown = None,
    port: Port = 0,
    no_browser: NoBrowser = False,
    head: options.HeadName = "imagenette",
    detector: Detector = None,
    model: options.Model = None,
    max_pixels: options.MaxPixels = None,
    max_upload: MaxUpload = 64,
) -> None:
    """Show pictures in the browser: qualities, other codecs at equal bytes, labels, and what arrives first.

    The page is on this machine only, and nothing leaves it.
    """
    try:
        from bifocal.apps.web.serve import serve
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise OptionError(f"the page needs starlette and uvicorn: {install_command('web')}.") from error
    from bifocal.apps.web.gallery import Gallery
    from bifocal.apps.web.pictures import Tools
    from bifocal.apps.web.server import Page
    from bifocal.runtime.heads.run import Head
    from bifocal.runtime.model import Model
    from bifocal.stream.limits import Limits

    limits = Limits() if max_pixels is None else Limits(pixels=max_pixels)
    finder = None if detector is None else Head.load(detector)
    tools = Tools(Model.load(model or DEFAULT_MODEL), Head.load(head), finder, limits)
    page = Page(tools, Gallery(inputs or [], tools), upload=max_upload * 10**6)
    serve(page, port, browser=not no_browser, say=lambda text: print(text, file=sys.stderr, flush=True))
