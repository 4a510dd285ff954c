"""Classes by example, without training: the nearest mean of the embeddings of a few pictures of each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bifocal.api.embeddings import embed
from bifocal.api.encoding import encode
from bifocal.errors import HeadError, OptionError
from bifocal.pictures.formats import is_picture_name
from bifocal.pictures.reading import read_picture
from bifocal.runtime.cards import installed
from bifocal.runtime.heads.file import DEFAULT_HEAD
from bifocal.runtime.heads.run import Head, HeadLike, loaded_head
from bifocal.runtime.model import Model, ModelLike, loaded_model
from bifocal.storage.paths import is_stream_name
from bifocal.types import Labels

#: Shares of classes are the softmax of cosines times this. They are not calibrated.
SHARPNESS = 12.0
#: As many examples are read of a class.
MOST_EXAMPLES = 1000


@dataclass(frozen=True, eq=False)
class Examples:
    """Classes and the mean embedding of the examples of each, float32 ``[classes, numbers]``, of length 1."""

    names: tuple[str, ...]
    means: NDArray[np.float32]
    head: str

    @classmethod
    def of(cls, found: Mapping[str, Sequence[NDArray[np.float32]]], head: str) -> Examples:
        """From embeddings by class.

        :raises OptionError: if there are fewer than two classes, or one is empty.
        """
        if len(found) < 2 or not all(found.values()):
            raise OptionError("examples are of two or more classes, with a picture of each at least.")
        means = np.stack([np.mean(np.stack(list(rows)), axis=0) for rows in found.values()])
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        return cls(tuple(found), means.astype(np.float32), head)

    def labels(self, embedding: NDArray[np.float32]) -> Labels:
        """Classes by the cosine of their mean with an embedding.

        >>> one, other = np.eye(2, dtype=np.float32)
        >>> Examples.of({"cat": [one], "dog": [other]}, "mine").labels(other).name
        'dog'
        """
        near = self.means.astype(np.float64) @ embedding.astype(np.float64)
        shares = np.exp(SHARPNESS * (near - near.max()))
        shares /= shares.sum()
        order = np.argsort(-shares, kind="stable")
        return Labels(tuple(self.names[k] for k in order), shares[order].astype(np.float32), self.head)


def read_examples(
    folder: str | os.PathLike[str], *, head: HeadLike = DEFAULT_HEAD, model: ModelLike | None = None
) -> Examples:
    """The classes of a folder with one subfolder of pictures, or of ``.bfc`` files, for each.

    :param head: what gives the embeddings; as for :func:`bifocal.embed`.
    :param model: the model whose streams the head reads; found among the installed ones by default.
    :raises OptionError: if there are no such subfolders.
    :raises HeadError: if there is no such head, or it gives no embedding.
    :raises PictureError: if an example cannot be read; of a stream, :class:`StreamError`.
    """
    path, loaded = Path(folder), loaded_head(head)
    if not path.is_dir():
        raise OptionError(
            f"{path} is not a folder. Give one that has a subfolder of examples for each class."
        )
    classes = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    files = {
        one.name: [p for p in sorted(one.rglob("*")) if _is_example(p)][:MOST_EXAMPLES] for one in classes
    }
    files = {name: found for name, found in files.items() if found}
    if len(files) < 2:
        raise OptionError(
            f"{path} has {len(files)} subfolders with pictures or .bfc files. Examples "
            "are of two classes at least, one subfolder each."
        )
    return Examples.of(
        {
            name: [embed_file(file, head=loaded, model=model) for file in found]
            for name, found in files.items()
        },
        loaded.name,
    )


@lru_cache(maxsize=4)
def kept_examples(folder: str, head: Head, model: Model | None) -> Examples:
    """As :func:`read_examples`, for the next stream too."""
    return read_examples(folder, head=head, model=model)


def embed_file(
    file: str | os.PathLike[str], *, head: HeadLike = DEFAULT_HEAD, model: ModelLike | None = None
) -> NDArray[np.float32]:
    """The embedding of a ``.bfc`` file, or of a picture, which is encoded for it in memory.

    Raises what :func:`bifocal.embed`, :func:`bifocal.read_picture` and :func:`bifocal.encode` raise.
    """
    path, loaded = Path(file), loaded_head(head)
    if is_stream_name(path):
        with path.open("rb") as stream:
            return embed(stream, head=loaded, model=model)
    codec = model_of(loaded) if model is None else loaded_model(model)
    return embed(encode(read_picture(path), model=codec, lossless=False), head=loaded, model=codec)


def model_of(head: Head) -> Model:
    """The installed model whose streams a head reads.

    :raises HeadError: if it is not installed.
    """
    for card in installed():
        if card.fingerprint == head.spec.fingerprint:
            return loaded_model(card.folder)
    raise HeadError(
        f"head {head.name} reads streams of model {head.spec.codec} ({head.spec.fingerprint}), which is not "
        "installed. Name the model's folder with --model."
    )


def _is_example(path: Path) -> bool:
    return path.name[0] != "." and (is_picture_name(path) or is_stream_name(path)) and path.is_file()
