"""A comparison picture: the same photograph by several codecs, whole above, one detail enlarged below.

Made with Pillow alone and saved without loss, so that what is seen is what the codecs did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from bifocal.measure import MeasureError

_MARGIN = 10
_CAPTION = 42
_PAPER = (250, 250, 248)
_INK = (24, 24, 24)
_GREY = (96, 96, 96)
_FRAME = (255, 210, 0)


@dataclass(frozen=True)
class Panel:
    """One column: uint8 RGB ``pixels`` [h, w, 3], a title and a line of figures."""

    title: str
    figures: str
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Crop:
    """The detail to enlarge, in pixels of the picture."""

    left: int
    top: int
    width: int
    height: int


def comparison(panels: Sequence[Panel], crop: Crop, *, columns: int = 4, whole: bool = True) -> Image.Image:
    """Lay panels side by side, ``columns`` a row: the whole picture with the crop framed, and the crop
    below it.

    A column is as wide as needed to enlarge the crop by a whole factor to 300 pixels or more; the enlargement
    repeats pixels and never smooths them. ``whole=False`` leaves out the upper pictures.

    Raises MeasureError when panels differ in size, there are none, or the crop leaves the picture.

    >>> grey = np.full((40, 60, 3), 128, np.uint8)
    >>> comparison([Panel("a", "", grey), Panel("b", "", grey)], Crop(0, 0, 30, 20), whole=False).size
    (630, 262)
    """
    if columns < 1:
        raise MeasureError("A comparison needs at least one column. Give some.")
    h, w = _check(panels, crop)
    factor = max(1, -(-300 // crop.width))
    cell_w, crop_h = crop.width * factor, crop.height * factor
    whole_h = round(h * cell_w / w) if whole else 0
    cell_h = _CAPTION + (whole_h + _MARGIN if whole else 0) + crop_h
    across = min(columns, len(panels))
    down = -(-len(panels) // across)
    sheet = Image.new(
        "RGB",
        (across * (cell_w + _MARGIN) + _MARGIN, down * (cell_h + _MARGIN) + _MARGIN),
        _PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    title_font, figure_font = ImageFont.load_default(17), ImageFont.load_default(13)
    for n, panel in enumerate(panels):
        left = _MARGIN + (n % across) * (cell_w + _MARGIN)
        top = _MARGIN + (n // across) * (cell_h + _MARGIN)
        draw.text((left, top), panel.title, _INK, title_font)
        draw.text((left, top + 22), panel.figures, _GREY, figure_font)
        top += _CAPTION
        picture = Image.fromarray(panel.pixels)
        if whole:
            sheet.paste(_framed(picture, crop, (cell_w, whole_h)), (left, top))
            top += whole_h + _MARGIN
        box = (crop.left, crop.top, crop.left + crop.width, crop.top + crop.height)
        detail = picture.crop(box).resize((cell_w, crop_h), Image.Resampling.NEAREST)
        sheet.paste(detail, (left, top))
    return sheet


def _check(panels: Sequence[Panel], crop: Crop) -> tuple[int, int]:
    """Height and width that all panels have; MeasureError unless they agree and the crop fits in."""
    if not panels:
        raise MeasureError("A comparison needs at least one panel. Give some.")
    h, w = panels[0].pixels.shape[:2]
    if any(p.pixels.shape != (h, w, 3) or p.pixels.dtype != np.uint8 for p in panels):
        raise MeasureError("Panels differ in size or are not uint8 RGB. Decode all to one shape first.")
    if not (0 <= crop.left <= crop.left + crop.width <= w and 0 <= crop.top <= crop.top + crop.height <= h):
        raise MeasureError(f"{crop} leaves the {w}x{h} picture. Choose a crop inside it.")
    if crop.width < 1 or crop.height < 1:
        raise MeasureError(f"{crop} is empty. Choose at least one pixel.")
    return h, w


def _framed(picture: Image.Image, crop: Crop, size: tuple[int, int]) -> Image.Image:
    """The whole picture made smaller, with a frame around the crop."""
    small = picture.resize(size, Image.Resampling.LANCZOS)
    scale = size[0] / picture.width
    left, top = crop.left * scale, crop.top * scale
    right, bottom = (crop.left + crop.width) * scale - 1, (crop.top + crop.height) * scale - 1
    ImageDraw.Draw(small).rectangle([left, top, right, bottom], outline=_FRAME, width=2)
    return small


def busiest_crop(pixels: NDArray[np.uint8], width: int, height: int) -> Crop:
    """Where a picture of at least this size has the most local contrast, which is where codecs differ.

    >>> flat = np.zeros((64, 64, 3), np.uint8)
    >>> flat[40:48:2, 32:40] = 255
    >>> crop = busiest_crop(flat, 32, 32)
    >>> crop.top <= 40 and crop.top + crop.height >= 48
    True
    """
    h, w = pixels.shape[:2]
    if h < height or w < width:
        raise MeasureError(f"A {w}x{h} picture has no {width}x{height} crop. Ask for a smaller one.")
    gray = pixels.astype(np.float64).mean(axis=2)
    change = np.zeros((h + 1, w + 1))
    change[1:, 2:] += np.abs(np.diff(gray, axis=1))
    change[2:, 1:] += np.abs(np.diff(gray, axis=0))
    sums = change.cumsum(axis=0).cumsum(axis=1)
    boxes = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(int(np.argmax(boxes)), boxes.shape)
    return Crop(int(left), int(top), width, height)
