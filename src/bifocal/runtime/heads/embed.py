"""An embedding of a stream: numbers of which similar pictures have similar ones, with no picture in between.

A head gives it for each window (:mod:`bifocal.runtime.heads.windows`); here they are averaged, weighted by
area, and brought to length 1, so that the product of two is their cosine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import HeadError
from bifocal.runtime.heads.run import EMBEDDING, Head
from bifocal.runtime.heads.windows import HeadWindows, Window, check_latents, latent_tiles, stream_tiles
from bifocal.runtime.model import Model
from bifocal.stream.container import Container
from bifocal.stream.latents import check_model
from bifocal.types import Latents

#: More numbers than this no embedding has.
MAX_NUMBERS = 1 << 14


def read_embedding(stream: Container, model: Model, head: Head) -> NDArray[np.float32]:
    """The embedding of a stream; see :func:`bifocal.embed`.

    :raises HeadError: if the head gives none, or is not for streams of ``model``.
    :raises StreamError: if a tile is damaged.
    """
    check_model(stream, model.entropy)
    check_embeds(head)
    windows = HeadWindows.of(stream.header, head.spec, model)
    tiles = stream_tiles(stream, model, head.spec)
    return _mean([(w, of_window(head, w)) for tile in tiles for w in windows.of_tile(tile)])


def embed_latents(latents: Latents, model: Model, head: Head) -> NDArray[np.float32]:
    """The embedding of latents that are decoded already.

    :raises HeadError: if the head gives none, or is not for latents of ``model``.
    :raises LatentsError: if the latents are another model's, or of another shape than the model's.
    """
    check_latents(latents, model)
    check_embeds(head)
    sizes = {"width": latents.width, "height": latents.height, "tile": latents.tile}
    windows = HeadWindows(head.spec, model, **sizes, quality=latents.quality)
    tiles = latent_tiles(latents, model, head.spec)
    return _mean([(w, of_window(head, w)) for tile in tiles for w in windows.of_tile(tile)])


def check_embeds(head: Head) -> None:
    """Raise :class:`HeadError` unless a head gives embeddings."""
    if not head.gives_embedding:
        raise HeadError(
            f"head {head.name} gives labels alone, and no embedding. Name one that does with --head, or "
            "train one: bifocal-train head --teacher efficientnet-lite0."
        )


def of_window(head: Head, window: Window) -> NDArray[np.float32]:
    """What a head gives for one window, ``[numbers]``, of any length.

    :raises HeadError: if a graph fails, or gives no embedding.
    """
    made = head.run(window.values, window.bits).arrays[EMBEDDING]
    if made.ndim != 2 or len(made) != 1 or not 0 < made.size <= MAX_NUMBERS or not np.isfinite(made).all():
        raise HeadError(
            f"head {head.name} gives an embedding {list(made.shape)}, or one that is not finite, not "
            f"[1, numbers] of at most {MAX_NUMBERS}. Export it again."
        )
    return np.asarray(made[0], np.float32)


def _mean(found: list[tuple[Window, NDArray[np.float32]]]) -> NDArray[np.float32]:
    total = sum(window.size[0] * window.size[1] * made.astype(np.float64) for window, made in found)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-12), np.float32)
