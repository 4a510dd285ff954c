"""Questions that were answered once by measuring, each in a folder of its own: see README.md."""
