"""Where a head looked: the picture with the tokens that each stage kept, one panel a stage.

People would rather look than read. The picture is decoded for them alone; the head reads the latents of the
same stream, for one entropy decoding.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bifocal import api
from bifocal.errors import HeadError, OptionError
from bifocal.pictures import remote
from bifocal.pictures.files import write_picture
from bifocal.pictures.paths import find_files, is_stream_name
from bifocal.types import Labels, Picture

_MARGIN, _CAPTION = 10, 44
_PAPER, _INK, _GREY = (250, 250, 248), (24, 24, 24), (96, 96, 96)
#: Longer side of a panel: smaller pictures are enlarged by a whole factor, larger ones made smaller.
_SIDE = 512
#: What is left of the light of a token that is no longer computed.
_DIM = 0.2


def explain_file(
    inputs: Sequence[str | os.PathLike[str]],
    target: str | os.PathLike[str],
    *,
    head: str | os.PathLike[str],
    model: str | os.PathLike[str] | None = None,
) -> None:
    """Draw :func:`explain` of the one stream that ``inputs`` name into the picture file ``target``.

    :raises OptionError: if they name several streams, or none.
    :raises HeadError: if the head has no selectors: it computes every token.
    :raises OutputError: if ``target`` cannot be written, or its suffix names no format.
    """
    found = find_files(inputs, is_stream_name)
    if len(found) > 1:
        raise OptionError(f"one stream is drawn, and {len(found)} were named. Name one of them.")
    loaded = api.load_head(head)
    if not loaded.spec.stages:
        raise HeadError(
            f"head {loaded.name} has no selectors: it computes every token of every picture, so there is "
            "nothing to draw. Name a head with token selection (docs/reading.md)."
        )
    with remote.opened(found[0]) as file:
        picture, labels = api.decode_and_analyse(file, head=loaded, model=model)
    write_picture(Picture(np.asarray(explain(picture, labels))), Path(target))


def explain(picture: Picture, labels: Labels) -> Image.Image:
    """One panel for each stage of ``labels``, side by side; what the stage had dropped is darkened.

    >>> kept = np.array([[True, False]])
    >>> labels = Labels(("dog",), np.array([1.0], np.float32), "tiny", 16, (kept, kept))
    >>> explain(Picture(np.full((16, 30, 3), 200, np.uint8)), labels).size
    (1050, 336)
    """
    pixels = picture.pixels if not picture.gray else np.repeat(picture.pixels[:, :, None], 3, axis=2)
    h, w = pixels.shape[:2]
    factor = _SIDE / max(h, w)
    factor = max(int(factor), 1) if factor >= 1 else factor
    across, down = max(round(w * factor), 1), max(round(h * factor), 1)
    count = len(labels.kept)
    sheet = Image.new("RGB", (count * (across + _MARGIN) + _MARGIN, down + _CAPTION + 2 * _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    title, figures = ImageFont.load_default(17), ImageFont.load_default(13)
    name, probability = labels.top(1)[0]
    for number, kept in enumerate(labels.kept):
        left = _MARGIN + number * (across + _MARGIN)
        draw.text((left, _MARGIN), f"stage {number + 1}: {kept.sum()} of {kept.size} tokens", _INK, title)
        draw.text((left, _MARGIN + 22), f"{name} {100 * probability:.0f} %", _GREY, figures)
        mask = np.kron(kept, np.ones((labels.token, labels.token), bool))[:h, :w]
        shown = np.where(mask[:, :, None], pixels, pixels * _DIM).astype(np.uint8)
        resample = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.LANCZOS
        panel = Image.fromarray(shown).resize((across, down), resample)
        sheet.paste(panel, (left, _MARGIN + _CAPTION))
    return sheet
