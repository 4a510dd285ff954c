"""One more plane of a picture, such as infrared or depth, in a stream. SPEC.md, section 4, is normative.

The chunk is a whole stream of a gray picture of the same size by the same model. So a reader of streams reads
it already, box by box and scale by scale, and one that does not know it skips it.
"""

from __future__ import annotations

from bifocal.errors import DamagedStream
from bifocal.stream import container
from bifocal.stream.container import Container
from bifocal.stream.limits import DEFAULT_LIMITS, Limits


def plane_of(stream: Container, limits: Limits = DEFAULT_LIMITS) -> Container | None:
    """The stream of the plane; None if the picture has none.

    :raises StreamError: if the chunk is damaged, or not of this picture.
    """
    chunk = stream.metadata.get(container.PLANE)
    if chunk is None:
        return None
    found = container.read(memoryview(chunk), limits)
    one, other = stream.header, found.header
    same = (one.width, one.height, one.wire_id, one.fingerprint)
    if not other.gray or same != (other.width, other.height, other.wire_id, other.fingerprint):
        raise DamagedStream(
            f"the plane beside the picture of {one.width}×{one.height} pixels is not a gray one of this size "
            "by the same model: the stream is damaged."
        )
    if container.PARTS & found.metadata.keys() - {container.RESTORATION}:
        raise DamagedStream("the plane beside the picture has parts of its own: the stream is damaged.")
    return found
