"""One file per system, assembled from :mod:`bifocal.nets`; reading the file is reading the paper."""
