"""The release, and the name under which it is installed; the import name and the commands are ``bifocal``."""

from __future__ import annotations

__version__ = "0.5.0"

#: Model of :func:`bifocal.encode` unless another is asked for.
DEFAULT_MODEL = "bifocal-2"
#: What pip installs. ``bifocal`` on the package index is somebody else's program.
DISTRIBUTION = "bifocal-codec"
