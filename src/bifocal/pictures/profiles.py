"""Colour profiles that belong to the pixels beside them.

The colour space that an ICC profile is for is in bytes 16 to 19 of its header (ICC.1:2022, 7.2.6). A
conversion of the pixels can leave the old profile behind: that of inks beside RGB, or that of RGB beside
gray. A reader that follows it shows wrong colours, so it is left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from bifocal.errors import PictureWarning

_GRAY, _RGB = "GRAY", "RGB"


def profile_space(icc: bytes) -> str:
    """The colour space that a profile is meant for, such as RGB, GRAY or CMYK; empty if it is no profile."""
    if len(icc) < 128 or icc[36:40] != b"acsp":
        return ""
    return icc[16:20].decode("latin-1").strip()


def matching_profile(metadata: Mapping[str, bytes], *, gray: bool, name: str) -> Mapping[str, bytes]:
    """Metadata for pixels that are gray or RGB, without a profile for another kind.

    A profile is left out with a :class:`~bifocal.errors.PictureWarning`. Bytes that are no profile stay.
    """
    space, wanted = profile_space(metadata.get("icc", b"")), _GRAY if gray else _RGB
    if space in ("", wanted):
        return metadata
    warnings.warn(
        f"{name}: its colour profile is for {space}, and its pixels are {wanted}: the profile is left out.",
        PictureWarning,
        stacklevel=4,
    )
    return {key: value for key, value in metadata.items() if key != "icc"}
