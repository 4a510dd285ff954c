"""The comparison that ``bifocal bench`` makes: on a picture of 512×512 it takes about a minute."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from bifocal.measure.peers import Codec, available_peers, bifocal_codec
from bifocal.runtime.engines.float_engines import REFERENCE

#: AVIF takes a second or more for a point of its curve, so it gets these few.
AVIF_CURVE = (10, 30, 50, 70, 90)


def codecs_to_compare(
    peers: Iterable[str],
    *,
    qualities: Sequence[int] = (),
    model: str | None = None,
    backend: str = REFERENCE,
) -> tuple[list[Codec], list[str]]:
    """Bifocal, at ``qualities`` if any are given, and its peers; and a sentence for each peer that is not
    installed.

    Raises MeasureError for a name that is no peer.
    """
    ours = bifocal_codec(model, backend)
    if qualities:
        ours = dataclasses.replace(ours, curve=tuple(qualities))
    others, missing = available_peers(peers)
    others = [dataclasses.replace(c, curve=AVIF_CURVE) if c.name == "avif" else c for c in others]
    return [ours, *others], missing
