"""An integer subnet as a head: for streams of a codec, or for pixels as the other side of a comparison."""

from __future__ import annotations

from bifocal.errors import OptionError
from bifocal.learn.packing.heads import PackedHead
from bifocal.learn.search.graph import network_graph
from bifocal.learn.search.integer import IntegerNetwork
from bifocal.runtime.heads.file import FORMAT
from bifocal.runtime.model import Model


def pack_integer_head(
    net: IntegerNetwork, *, name: str, classes: tuple[str, ...], base: Model | None
) -> PackedHead:
    """Pack a network that reads latents for streams of ``base``, pooled to its grid with magnitudes; or one
    that reads pixels, without a codec.

    :raises OptionError: if the codec is missing, or one too many.
    """
    form = net.form
    latents = form.reads == "latents"
    if latents == (base is None):
        raise OptionError("a network that reads latents is packed for a codec, and one of pixels for none.")
    graph, weights = network_graph(net, "head")
    stride = base.entropy.plan.y_stride if base else 16
    spec = {
        "format": FORMAT,
        "kind": "classify",
        "name": name,
        "codec": base.name if base else "none",
        "fingerprint": base.entropy.fingerprint.hex() if base else "0" * 16,
        "classes": list(classes),
        "channels": form.channels // 2 if latents else 3,
        "window": form.grid if latents else max(1, form.grid * form.patch // stride),
        "token": stride if latents else min(form.patch, stride),
        "stride": stride,
        "reads": form.reads,
    }
    if latents:
        spec |= {"grid": form.grid, "magnitudes": True}
    return PackedHead((graph,), weights, spec)
