"""Where files are: local paths, URLs, and writes that are whole or not at all."""
