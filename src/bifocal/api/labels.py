"""``bifocal.analyse`` and ``bifocal.decode_and_analyse``: labels from streams."""

from __future__ import annotations

from bifocal.api.decoding import picture_metadata, stream_model
from bifocal.runtime.decoding import decode_pixels, decode_transparency
from bifocal.runtime.heads.classify import LabelReader, label_latents, read_labels
from bifocal.runtime.heads.file import DEFAULT_HEAD
from bifocal.runtime.heads.run import HeadLike, loaded_head
from bifocal.runtime.model import ModelLike, loaded_model
from bifocal.stream import container
from bifocal.stream.limits import DEFAULT_LIMITS, Limits
from bifocal.stream.source import StreamLike, as_source
from bifocal.types import Labels, Latents, Picture


def analyse(
    data: StreamLike | Latents,
    *,
    head: HeadLike = DEFAULT_HEAD,
    model: ModelLike | None = None,
    limits: Limits = DEFAULT_LIMITS,
    evidence: bool = False,
) -> Labels:
    """Say what a stream shows, from its latents: no picture is rebuilt, and no synthesis weights are read.

    :param data: as for :func:`bifocal.decode`; or latents that are decoded already.
    :param head: what reads the latents: a shipped head, the file of your own, or a loaded :class:`Head`.
    :param model: the model that made the stream; found among the installed ones by default.
    :param limits: what to refuse before any work is done.
    :param evidence: also collect ``Labels.evidence``, what each token says for every class.
    :raises HeadError: if there is no such head, it is damaged, or it is for streams of another model.
    :raises StreamError: if the stream is damaged, cut short, beyond ``limits`` or not Bifocal's.
    :raises ModelMissing: if its model is not installed; the message says which release has it.

    >>> import bifocal, numpy
    >>> labels = analyse(bifocal.encode(numpy.full((64, 64, 3), 90, numpy.uint8)))
    >>> len(labels.names), labels.name in labels.names
    (10, True)
    """
    if isinstance(data, Latents):
        loaded = loaded_model(data.model if model is None else model)
        return label_latents(data, loaded, loaded_head(head), evidence=evidence)
    stream = container.read(as_source(data, limits), limits)
    return read_labels(stream, stream_model(stream.header, model), loaded_head(head), evidence=evidence)


def decode_and_analyse(
    data: StreamLike,
    *,
    head: HeadLike = DEFAULT_HEAD,
    model: ModelLike | None = None,
    limits: Limits = DEFAULT_LIMITS,
    backend: str | None = None,
    evidence: bool = False,
) -> tuple[Picture, Labels]:
    """The picture of :func:`bifocal.decode` and the labels of :func:`bifocal.analyse`, for one entropy
    decoding.

    Arguments and errors are theirs.
    """
    stream = container.read(as_source(data, limits), limits)
    header, reader = stream.header, loaded_head(head)
    loaded = stream_model(header, model)
    loaded = loaded if backend is None else loaded.on(backend)
    labels = LabelReader.of(header, reader, loaded, evidence=evidence)
    alpha = decode_transparency(stream)
    pixels = decode_pixels(stream, loaded, watch=labels.add, count=reader.spec.bits)
    return Picture(pixels, picture_metadata(stream), alpha), labels.labels()
