"""Start the page: a free port on the loopback address, the browser, and an end with Ctrl-C."""

from __future__ import annotations

import socket
import webbrowser
from collections.abc import Callable

import uvicorn

from bifocal.apps.web.server import Page
from bifocal.errors import OptionError

HOST = "127.0.0.1"


def bound(port: int) -> socket.socket:
    """A socket on the loopback address; port 0 takes a free one.

    :raises OptionError: if the port is in use.
    """
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((HOST, port))
    except OSError as error:
        made.close()
        raise OptionError(
            f"port {port} cannot be used ({error.strerror}). Leave --port out to take a free one."
        ) from error
    return made


def serve(page: Page, port: int, *, browser: bool, say: Callable[[str], None] = print) -> None:
    """Serve the page until Ctrl-C. Without a browser its address is printed all the same.

    :raises OptionError: if the port is in use.
    """
    with bound(port) as listening:
        address = f"http://{HOST}:{listening.getsockname()[1]}/{page.token}/"
        say(f"open {address}  (Ctrl-C ends)")
        if browser and not webbrowser.open(address):
            say("no browser was found here: open the address yourself.")
        config = uvicorn.Config(page.app(), log_level="error", access_log=False, lifespan="off")
        uvicorn.Server(config).run(sockets=[listening])
