"""What file managers need for streams: a MIME type, and a program that makes thumbnails.

Two small files in the user's data folder (``$XDG_DATA_HOME``, by default ``~/.local/share``): one for the
shared MIME database, one for the thumbnailers of GNOME, Cinnamon, MATE and Xfce. Nothing else is touched.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from bifocal.apps.plugins.register import MIME, SUFFIX
from bifocal.errors import OptionError, OutputError
from bifocal.storage.filesystem import write_atomically
from bifocal.stream.container import MAGIC

_MIME_FILE = "mime/packages/bifocal-codec.xml"
_THUMBNAILER_FILE = "thumbnailers/bifocal-codec.thumbnailer"

#: Programs that make the desktop read what was changed, and the folder that each is given.
_UPDATES = (("update-mime-database", "mime"), ("update-desktop-database", "applications"))


def install() -> list[Path]:
    """Install the MIME type and the thumbnailer for this user; returns the files written.

    Installing again replaces them, which is needed when Python has moved.

    :raises OptionError: on a system whose desktop does not follow freedesktop.org.
    :raises OutputError: if a file cannot be written.
    """
    home = _data_home()
    written = []
    for name, content in _files().items():
        path = home / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{path} cannot be written: {error.strerror or error}.") from error
        write_atomically(path, content.encode())
        written.append(path)
    _update(home)
    return written


def uninstall() -> list[Path]:
    """Undo :func:`install`; returns the files removed, none if it was not installed.

    :raises OptionError: on a system whose desktop does not follow freedesktop.org.
    :raises OutputError: if a file cannot be removed.
    """
    home = _data_home()
    removed = []
    for name in _files():
        path = home / name
        try:
            path.unlink()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise OutputError(f"{path} cannot be removed: {error.strerror or error}.") from error
        removed.append(path)
    if removed:
        _update(home)
    for path in removed:
        with suppress(OSError):  # not empty: others have files there
            path.parent.rmdir()
    return removed


def can_update() -> bool:
    """Whether the program is there that makes a new MIME type known at once."""
    return shutil.which(_UPDATES[0][0]) is not None


def _files() -> Mapping[str, str]:
    return {_MIME_FILE: _mime_info(), _THUMBNAILER_FILE: _thumbnailer()}


def _mime_info() -> str:
    magic = "".join(f"\\x{byte:02x}" for byte in MAGIC)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<mime-info xmlns="http://www.freedesktop.org/standards/shared-mime-info">
  <mime-type type="{MIME}">
    <comment>Bifocal image</comment>
    <generic-icon name="image-x-generic"/>
    <magic priority="60">
      <match type="string" offset="0" value="{magic}"/>
    </magic>
    <glob pattern="*{SUFFIX}"/>
  </mime-type>
</mime-info>
"""


def _thumbnailer() -> str:
    return f"""[Thumbnailer Entry]
TryExec={sys.executable}
Exec={_quoted(sys.executable)} -m bifocal desktop thumbnail %i %o %s
MimeType={MIME};
"""


def _quoted(argument: str) -> str:
    """An argument as the Desktop Entry Specification quotes it; a percent sign is doubled."""
    escaped = re.sub(r'(["`$\\])', r"\\\1", argument).replace("%", "%%")
    return f'"{escaped}"'


def _data_home() -> Path:
    if sys.platform in ("win32", "darwin"):
        raise OptionError(
            "file managers of this system do not follow freedesktop.org; there is nothing to install."
        )
    given = os.environ.get("XDG_DATA_HOME", "")
    if os.path.isabs(given):  # the specification: ignore others
        return Path(given)
    try:
        return Path.home() / ".local" / "share"
    except RuntimeError as error:
        raise OutputError("this user has no home folder. Set XDG_DATA_HOME.") from error


def _update(home: Path) -> None:
    for program, folder in _UPDATES:
        found = shutil.which(program)
        if found and (home / folder).is_dir():
            with suppress(OSError, subprocess.TimeoutExpired):  # it runs at the next login, too
                subprocess.run([found, str(home / folder)], check=False, capture_output=True, timeout=60)
