"""The ``bifocal-train`` command: one file a command."""
