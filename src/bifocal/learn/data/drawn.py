"""Pictures made by code: windows of text, charts, shapes and flat areas, so that a codec learns sharp edges.

Photographs hold few of them, and no collection of screenshots comes with a clear licence.
"""

from __future__ import annotations

import random
import string

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SIDE = 512
Colour = tuple[int, int, int]


def drawn_picture(seed: int, side: int = SIDE) -> NDArray[np.uint8]:
    """One picture, uint8 ``[side, side, 3]``, the same for the same seed."""
    rng = random.Random(seed)
    dark = rng.random() < 0.3
    paper = _gray(rng, 10, 50) if dark else _gray(rng, 225, 255)
    picture = Image.new("RGB", (side, side), paper)
    draw = ImageDraw.Draw(picture)
    if rng.random() < 0.3:
        _gradient(picture, rng)
    for _ in range(rng.randint(3, 7)):
        part = rng.choices((_text, _chart, _bars, _panel, _shapes), weights=(4, 1, 1, 2, 1))[0]
        part(draw, rng, _box(rng, side), dark)
    return np.asarray(picture)


def _gray(rng: random.Random, least: int, most: int) -> Colour:
    level = rng.randint(least, most)
    return level, level, min(255, level + rng.randint(0, 8))


def _colour(rng: random.Random) -> Colour:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def _ink(rng: random.Random, dark: bool) -> Colour:
    if rng.random() < 0.2:
        return _colour(rng)
    return _gray(rng, 200, 255) if dark else _gray(rng, 0, 70)


def _box(rng: random.Random, side: int) -> tuple[int, int, int, int]:
    width, height = rng.randint(side // 4, side * 3 // 4), rng.randint(side // 8, side // 2)
    left, top = rng.randint(-20, side - width), rng.randint(-20, side - height)
    return left, top, left + width, top + height


def _gradient(picture: Image.Image, rng: random.Random) -> None:
    """A straight run of one colour into another, in place of the flat paper."""
    ramp = Image.linear_gradient("L").resize(picture.size).rotate(rng.choice((0, 90, 180, 270)))
    one, other = (Image.new("RGB", picture.size, _colour(rng)) for _ in range(2))
    picture.paste(Image.composite(one, other, ramp))


def _text(draw: ImageDraw.ImageDraw, rng: random.Random, box: tuple[int, int, int, int], dark: bool) -> None:
    size = rng.choice((9, 10, 11, 12, 13, 14, 16, 20, 28, 44))
    font = ImageFont.load_default(size)
    ink, letters = _ink(rng, dark), string.ascii_letters + string.digits + ".,:;-()"
    for y in range(box[1], box[3], int(size * rng.uniform(1.2, 1.7))):
        words = ("".join(rng.choices(letters, k=rng.randint(2, 10))) for _ in range(12))
        draw.text((box[0], y), " ".join(words)[: (box[2] - box[0]) * 2 // size], fill=ink, font=font)


def _chart(draw: ImageDraw.ImageDraw, rng: random.Random, box: tuple[int, int, int, int], dark: bool) -> None:
    left, top, right, bottom = box
    draw.line([(left, top), (left, bottom), (right, bottom)], fill=_ink(rng, dark))
    for _ in range(rng.randint(1, 4)):
        y = float(rng.uniform(top, bottom))
        line = []
        for x in range(left, right, rng.choice((1, 4, 16))):
            y = min(max(y + rng.gauss(0, 6), top), bottom)
            line.append((x, y))
        draw.line(line, fill=_colour(rng), width=rng.randint(1, 3))


def _bars(draw: ImageDraw.ImageDraw, rng: random.Random, box: tuple[int, int, int, int], dark: bool) -> None:
    left, top, right, bottom = box
    step, colour = rng.randint(6, 40), _colour(rng)
    for x in range(left, right, step):
        draw.rectangle((x, rng.randint(top, bottom - 1), x + step * 2 // 3, bottom), fill=colour)


def _panel(draw: ImageDraw.ImageDraw, rng: random.Random, box: tuple[int, int, int, int], dark: bool) -> None:
    """A window: a frame, a title and rows of buttons."""
    face = _gray(rng, 40, 90) if dark else _gray(rng, 215, 250)
    draw.rounded_rectangle(box, rng.choice((0, 4, 10)), fill=face, outline=_ink(rng, dark))
    draw.rectangle((box[0], box[1], box[2], box[1] + 18), fill=_colour(rng))
    for y in range(box[1] + 26, box[3] - 16, 24):
        draw.rounded_rectangle(
            (box[0] + 8, y, box[0] + 8 + rng.randint(16, 90), y + 14), 3, fill=_colour(rng)
        )


def _shapes(
    draw: ImageDraw.ImageDraw, rng: random.Random, box: tuple[int, int, int, int], dark: bool
) -> None:
    for _ in range(rng.randint(2, 6)):
        corners = [
            (rng.randint(box[0], box[2]), rng.randint(box[1], box[3])) for _ in range(rng.randint(3, 6))
        ]
        draw.polygon(corners, fill=_colour(rng), outline=_ink(rng, dark))
    x, y = box[:2]
    draw.ellipse((x, y, x + rng.randint(8, 120), y + rng.randint(8, 120)), fill=_colour(rng))
