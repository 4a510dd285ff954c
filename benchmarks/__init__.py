"""Bifocal beside other codecs, and the promises that its documents make, measured: see README.md."""
