"""One file per system, assembled from :mod:`bifocal.learn.nets`; reading the file is reading the paper."""
