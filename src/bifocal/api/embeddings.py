"""``bifocal.embed``: numbers of a stream to compare pictures by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bifocal.api.decoding import stream_model
from bifocal.runtime.heads.embed import embed_latents, read_embedding
from bifocal.runtime.heads.file import DEFAULT_HEAD
from bifocal.runtime.heads.run import HeadLike, loaded_head
from bifocal.runtime.model import ModelLike, loaded_model
from bifocal.stream import container
from bifocal.stream.limits import DEFAULT_LIMITS, Limits
from bifocal.stream.source import StreamLike, as_source
from bifocal.types import Latents


def embed(
    data: StreamLike | Latents,
    *,
    head: HeadLike = DEFAULT_HEAD,
    model: ModelLike | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> NDArray[np.float32]:
    """Numbers that are alike for pictures that show alike things, from a stream, with no picture rebuilt.

    The result is float32 ``[numbers]`` of length 1, so that ``a @ b`` of two is their cosine: 1 for the same
    picture, near 0 for pictures that have nothing in common. Those of different heads cannot be compared.

    :param data: as for :func:`bifocal.analyse`.
    :param head: what reads the latents: a shipped head, the file of your own, or a loaded :class:`Head`.
    :param model: the model that made the stream; found among the installed ones by default.
    :param limits: what to refuse before any work is done.
    :raises HeadError: if there is no such head, it gives no embedding, or it is for streams of another model.
    :raises StreamError: if the stream is damaged, cut short, beyond ``limits`` or not Bifocal's.
    :raises ModelMissing: if its model is not installed; the message says which release has it.
    """
    if isinstance(data, Latents):
        loaded = loaded_model(data.model if model is None else model)
        return embed_latents(data, loaded, loaded_head(head))
    stream = container.read(as_source(data, limits), limits)
    return read_embedding(stream, stream_model(stream.header, model), loaded_head(head))
