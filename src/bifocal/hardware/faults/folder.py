"""The folder that the results of a command are written to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from bifocal.errors import OutputError
from bifocal.hardware.faults.campaigns.journal import refuse_journal
from bifocal.storage.filesystem import refuse_existing, write_atomically


class ResultFolder:
    """Writes files into a folder, each whole or not at all; without a folder it writes nothing.

    Make it before the work begins, so that what may not be replaced is refused in time. ``journal`` names a
    file of unfinished work in the folder: with ``resume`` the results of the run that left it are replaced.

    :param names: the files that will be written; none may exist unless ``overwrite``.
    :raises OutputError: if one exists and may not be replaced.
    :raises CampaignError: if the journal exists and is not to be resumed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        names: Sequence[str],
        *,
        overwrite: bool = False,
        journal: str | None = None,
        resume: bool = False,
    ) -> None:
        self.path = None if path is None else Path(path)
        self.journal = None if self.path is None or journal is None else self.path / journal
        unfinished = self.journal is not None and self.journal.exists()
        if self.journal is not None and unfinished and not resume:
            refuse_journal(self.journal)
        self.overwrite = overwrite or unfinished
        if self.path is not None and not self.overwrite:
            for name in names:
                refuse_existing(self.path / name)

    def make(self) -> None:
        """Make the folder if it is not there.

        :raises OutputError: if it cannot be made.
        """
        if self.path is not None:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(
                    f"the folder {self.path} cannot be made: {error.strerror}. Name another one with --out."
                ) from error

    def write(self, name: str, text: str) -> None:
        """Write one file.

        :raises OutputError: if it cannot be written, or exists by now and may not be replaced.
        """
        if self.path is not None:
            self.make()
            write_atomically(self.path / name, text.encode(), overwrite=self.overwrite)

    def finish(self) -> None:
        """All is written: the journal is not needed any more."""
        if self.journal is not None:
            self.journal.unlink(missing_ok=True)
