"""Where a head looked: the tokens that each stage kept, or the evidence for the likeliest classes.

The picture is decoded only to be shown; the head reads the latents of the same stream, which is entropy
decoded once for both.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import bifocal
from bifocal.errors import HeadError, OptionError
from bifocal.measure.metrics import rgb
from bifocal.pictures.writing import write_picture
from bifocal.runtime.heads.run import loaded_head
from bifocal.storage import filesystem
from bifocal.types import Labels, Picture

_MARGIN, _CAPTION = 10, 44
_PAPER, _INK, _GREY = (250, 250, 248), (24, 24, 24), (96, 96, 96)
#: Longer side of a panel: smaller pictures are enlarged by a whole factor, larger ones made smaller.
_SIDE = 512
#: Heading, caption, and light of 0 to 1 for each pixel.
_Shown = tuple[str, str, NDArray[np.float32]]
#: Brightness of a token that is no longer computed, or is no evidence.
_DIM = 0.2


def explain_file(
    streams: Sequence[str | os.PathLike[str]],
    target: str | os.PathLike[str],
    *,
    head: str | os.PathLike[str],
    model: str | os.PathLike[str] | None = None,
) -> None:
    """Draw :func:`explain` of the one stream that is named into the picture file ``target``.

    :raises OptionError: if several streams are named, or none.
    :raises HeadError: if the head has no selectors and gives no evidence of single tokens.
    :raises OutputError: if ``target`` cannot be written, or its suffix names no format.
    """
    if len(streams) != 1:
        raise OptionError(f"one stream is drawn, and {len(streams)} were named. Name one of them.")
    loaded = loaded_head(head)
    if not (loaded.spec.stages or loaded.gives_evidence):
        raise HeadError(
            f"head {loaded.name} has no selectors and gives no evidence of single tokens, so nothing can be "
            "drawn. Train one with bifocal-train head, or export this one again (docs/reading.md)."
        )
    with filesystem.opened(streams[0]) as file:
        picture, labels = bifocal.decode_and_analyse(file, head=loaded, model=model, evidence=True)
    write_picture(Picture(np.asarray(explain(picture, labels))), Path(target))


def explain(picture: Picture, labels: Labels) -> Image.Image:
    """Panels side by side: what each selector kept, or the evidence for the two most likely classes.

    What a stage had dropped is darkened; so are, for a class, tokens with more evidence for the others.

    :raises HeadError: if the labels have neither.

    >>> kept = np.array([[True, False]])
    >>> labels = Labels(("dog",), np.array([1.0], np.float32), "tiny", 16, (kept, kept))
    >>> explain(Picture(np.full((16, 30, 3), 200, np.uint8)), labels).size
    (1050, 336)
    """
    pixels = rgb(picture.pixels)
    h, w = pixels.shape[:2]
    factor = _SIDE / max(h, w)
    factor = max(int(factor), 1) if factor >= 1 else factor
    across, down = max(round(w * factor), 1), max(round(h * factor), 1)
    panels = _stages(labels, h, w) if labels.kept else _classes(labels, h, w)
    size = len(panels) * (across + _MARGIN) + _MARGIN, down + _CAPTION + 2 * _MARGIN
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    title, figures = ImageFont.load_default(17), ImageFont.load_default(13)
    for number, (heading, caption, light) in enumerate(panels):
        left = _MARGIN + number * (across + _MARGIN)
        draw.text((left, _MARGIN), heading, _INK, title)
        draw.text((left, _MARGIN + 22), caption, _GREY, figures)
        shown = (pixels * (_DIM + (1 - _DIM) * light[:, :, None])).astype(np.uint8)
        resample = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.LANCZOS
        sheet.paste(Image.fromarray(shown).resize((across, down), resample), (left, _MARGIN + _CAPTION))
    return sheet


def _stages(labels: Labels, h: int, w: int) -> list[_Shown]:
    """A panel for each selector: bright where a token was kept."""
    name, probability = labels.top(1)[0]
    caption, token = f"{name} {100 * probability:.0f} %", np.ones((labels.token, labels.token), np.float32)
    lights = [np.kron(kept, token)[:h, :w].astype(np.float32) for kept in labels.kept]
    return [
        (f"stage {number}: {kept.sum()} of {kept.size} tokens", caption, light)
        for number, (kept, light) in enumerate(zip(labels.kept, lights, strict=True), 1)
    ]


def _classes(labels: Labels, h: int, w: int) -> list[_Shown]:
    """A panel for each of the two most likely classes: bright where the evidence is, on one scale."""
    if labels.evidence is None:
        raise HeadError(
            f"head {labels.head} gives no evidence of single tokens, or has too many classes for so large a "
            "picture. Cut the picture, or train a head with bifocal-train head."
        )
    evidence = (labels.evidence - labels.evidence.mean(0))[:2]
    evidence = (evidence - evidence.min()) / max(float(np.ptp(evidence)), 1e-6)
    panels = []
    for (name, probability), one in zip(labels.top(2), evidence, strict=True):
        rows, columns = one.shape
        size = columns * labels.token, rows * labels.token
        light = np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BILINEAR))
        panels.append((f"{name} {100 * probability:.0f} %", "bright: evidence for it", light[:h, :w]))
    return panels
