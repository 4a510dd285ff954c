"""Streams in file managers: their MIME type and their thumbnails, for desktops of freedesktop.org."""
