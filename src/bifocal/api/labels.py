"""``bifocal.analyse``, ``analyse_many`` and ``decode_and_analyse``: labels from streams."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

from bifocal.api.decoding import decode_plane, picture_metadata, stream_model
from bifocal.errors import OptionError
from bifocal.runtime.decoding import decode_pixels, decode_transparency
from bifocal.runtime.engines.onnxruntime import available_threads
from bifocal.runtime.heads.classify import LabelReader, label_latents, read_labels
from bifocal.runtime.heads.file import DEFAULT_HEAD
from bifocal.runtime.heads.many import read_many
from bifocal.runtime.heads.run import Head, HeadLike, loaded_head
from bifocal.runtime.model import Model, ModelLike, loaded_model
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
    examples: str | os.PathLike[str] | None = None,
) -> Labels:
    """Say what a stream shows, from its latents: no picture is rebuilt, and no synthesis weights are read.

    :param data: as for :func:`bifocal.decode`; or latents that are decoded already.
    :param head: what reads the latents: a shipped head, the file of your own, or a loaded :class:`Head`.
    :param model: the model that made the stream; found among the installed ones by default.
    :param limits: what to refuse before any work is done.
    :param evidence: also collect ``Labels.evidence``, what each token says for every class.
    :param examples: a folder with one subfolder of a few pictures, or ``.bfc`` files, for each class: the
        label is then the class whose examples have the nearest mean embedding, and nothing is trained. The
        head has to give embeddings.
    :raises HeadError: if there is no such head, it is damaged, or it is for streams of another model.
    :raises StreamError: if the stream is damaged, cut short, beyond ``limits`` or not Bifocal's.
    :raises ModelMissing: if its model is not installed; the message says which release has it.

    >>> import bifocal, numpy
    >>> labels = analyse(bifocal.encode(numpy.full((64, 64, 3), 90, numpy.uint8)))
    >>> len(labels.names), labels.name in labels.names
    (10, True)
    """
    if examples is not None:
        from bifocal.api.embeddings import embed
        from bifocal.api.examples import kept_examples

        reader = loaded_head(head)
        known = kept_examples(os.fspath(examples), reader, None if model is None else loaded_model(model))
        return known.labels(embed(data, head=reader, model=model, limits=limits))
    if isinstance(data, Latents):
        loaded = loaded_model(data.model if model is None else model)
        return label_latents(data, loaded, loaded_head(head), evidence=evidence)
    stream = container.read(as_source(data, limits), limits)
    return read_labels(stream, stream_model(stream.header, model), loaded_head(head), evidence=evidence)


def analyse_many(
    streams: Iterable[StreamLike],
    *,
    head: HeadLike = DEFAULT_HEAD,
    model: ModelLike | None = None,
    limits: Limits = DEFAULT_LIMITS,
    batch: int = 32,
    jobs: int | None = None,
    keep_going: bool = False,
) -> Iterator[Labels | Exception]:
    """:func:`analyse` for many streams: entropy decoding in threads, the head on many pictures at once.

    Streams are taken as they are needed, at most ``2·batch`` ahead, and labels come in their order.
    Probabilities may differ from those of :func:`analyse` in their last digits.

    :param streams: each as for :func:`analyse`.
    :param batch: pictures in one run of the head. Only pictures that it sees at once, and that have then the
        same size, share a run: all those of a head with a grid.
    :param jobs: threads that decode; as many as processors by default.
    :param keep_going: give the error of a stream that cannot be read in its place, and go on.
    :raises OptionError: if ``batch`` or ``jobs`` is below 1.

    Other errors are those of :func:`analyse`, raised at the stream that they are of.

    >>> import bifocal, numpy
    >>> streams = [bifocal.encode(numpy.full((64, 64, 3), gray, numpy.uint8)) for gray in (50, 90)]
    >>> [labels.name == bifocal.analyse(data).name for data, labels in zip(streams, analyse_many(streams))]
    [True, True]
    """
    jobs = available_threads() if jobs is None else jobs
    for name, value in (("batch", batch), ("jobs", jobs)):
        if not isinstance(value, int) or value < 1:
            raise OptionError(f"{name} is {value!r}; it has to be a whole number from 1 on.")

    @contextmanager
    def opened(data: StreamLike) -> Iterator[tuple[container.Container, Model]]:
        stream = container.read(as_source(data, limits), limits)
        yield stream, stream_model(stream.header, model)

    def answered(reader: Head) -> Iterator[Labels | Exception]:
        jobs_of = (partial(opened, data) for data in streams)
        for labels in read_many(jobs_of, reader, batch=batch, threads=jobs):
            if isinstance(labels, Exception) and not keep_going:
                raise labels
            yield labels

    return answered(loaded_head(head))


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
    plane = decode_plane(stream, model, limits, backend=backend)
    return Picture(pixels, picture_metadata(stream), alpha, plane), labels.labels()
