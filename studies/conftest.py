"""The tiny model of the tests, for the tests of studies."""

from __future__ import annotations

from tests.conftest import tiny_folder, tiny_model

__all__ = ["tiny_folder", "tiny_model"]
