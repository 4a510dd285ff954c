"""``bifocal desktop``: streams in file managers."""

from __future__ import annotations

from typing import Annotated

import typer

from bifocal.apps.cli.launch import new_app

desktop = new_app("Make file managers know streams and show thumbnails (freedesktop.org: Linux, BSD).")


@desktop.command()
def install() -> None:
    """Install the MIME type image/x-bifocal and a thumbnailer for this user."""
    from bifocal.apps.desktop.integration import can_update
    from bifocal.apps.desktop.integration import install as install_files

    for path in install_files():
        print(path)
    if not can_update():
        print("update-mime-database is not installed: file managers may need it (package shared-mime-info).")


@desktop.command()
def uninstall() -> None:
    """Remove what install wrote."""
    from bifocal.apps.desktop.integration import uninstall as remove_files

    removed = remove_files()
    for path in removed:
        print(f"removed {path}")
    if not removed:
        print("not installed: nothing to remove.")


@desktop.command()
def thumbnail(
    source: Annotated[str, typer.Argument(metavar="STREAM", help="The stream.", show_default=False)],
    target: Annotated[str, typer.Argument(metavar="PNG", help="The PNG to write.", show_default=False)],
    size: Annotated[
        int, typer.Argument(metavar="SIZE", min=1, max=4096, help="Longest side in pixels.")
    ] = 256,
) -> None:
    """Write a small PNG of a stream, as file managers ask for it."""
    from bifocal.apps.desktop.thumbnail import write_thumbnail

    write_thumbnail(source, target, size)
