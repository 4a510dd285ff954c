"""Pictures of unusual kinds on the command line: a warning on standard error, or a refusal that helps."""

from __future__ import annotations

import numpy as np
from PIL import Image

import bifocal
from tests.apps.cli.test_commands import Command, command
from tests.conftest import made_picture

__all__ = ["command"]  # the fixture


def test_sixteen_bits_are_rounded_with_a_warning_or_strictly_refused(command: Command) -> None:
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save("deep.png")
    made = command("encode", "deep.png", "-o", "deep.bfc")
    assert made.status == 0
    assert made.err == (
        "bifocal: deep.png has 16 bits a channel; it is coded at 8, rounded (strict refuses instead).\n"
    )
    refused = command("encode", "deep.png", "-o", "other.bfc", "--strict")
    assert refused.status == 1 and "refuses to round" in refused.err


def test_transparency_is_shown_kept_and_never_dropped(command: Command) -> None:
    alpha = np.arange(48, dtype=np.uint8).reshape(6, 8)
    bifocal.write_picture(bifocal.Picture(made_picture(6, 8), alpha=alpha), "a.png")
    assert command("encode", "a.png").status == 0
    assert "  alpha     " in command("info", "a.bfc").out
    assert command("decode", "a.bfc", "-o", "b.png").status == 0
    assert np.array_equal(bifocal.read_picture("b.png").alpha, alpha)
    refused = command("decode", "a.bfc", "-o", "b.jpg")
    assert refused.status == 1 and "Choose .png, .webp or .tif" in refused.err


def test_metadata_that_a_format_does_not_hold_is_named(command: Command) -> None:
    bifocal.write_picture(bifocal.Picture(made_picture(6, 8), {"exif": b"II*\0\x08\0\0\0\0\0"}), "a.png")
    assert command("encode", "a.png").status == 0
    made = command("decode", "a.bfc", "-o", "a.ppm")
    assert made.status == 0
    assert made.err == "bifocal: a.ppm: PPM holds no metadata: EXIF of 16 bytes is left out.\n"


def test_ink_is_refused_with_the_command_that_converts_it(command: Command) -> None:
    Image.new("CMYK", (8, 8)).save("ink.jpg")
    refused = command("encode", "ink.jpg")
    assert refused.status == 1 and "python -c" in refused.err and "ink-rgb.png" in refused.err
