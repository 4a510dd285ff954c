"""Where training commands take a folder for each class, shards of ``pack-dataset`` are taken, too."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import overload


@overload
def as_folder(path: Path, work: Path | None = None) -> AbstractContextManager[Path]: ...
@overload
def as_folder(path: Path | None, work: Path | None = None) -> AbstractContextManager[Path | None]: ...
def as_folder(path: Path | None, work: Path | None = None) -> AbstractContextManager[Path | None]:
    """A folder for each class of what may be shards or a zip file; gone at the end, if it was made."""
    from bifocal.apps.data.unpacking import unpacked

    if path is None:
        return nullcontext()
    return unpacked(path, work if work is not None and work.is_dir() else None)
