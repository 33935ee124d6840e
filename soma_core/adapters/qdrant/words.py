"""What the lexical arm makes of a text: weighted stems, in the language of the setting or of the text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache

import qdrant_edge as edge

from soma_core.domain.errors import InvalidInput
from soma_core.domain.languages import AUTO, NONE, STEMMED, detect
from soma_core.domain.unspaced import grams

WITHOUT = "english"
"""Taken for a text that tells no language."""
FOREIGN = 0.25
"""The weight of a question's words in the stems of other languages than its own. At 1 they cost English a point of
recall@10; at 0 a text taken for another language would not be found by its own words."""


class Words:
    """Texts and questions as sparse vectors of BM25; texts in scripts without spaces by their pairs of characters.

    With the language "auto" a text has the stems of its own language, and a question those of its own and, with less
    weight, of all others: what it means may be told in another, and few words tell too little of which they are in.
    So a word always meets itself, whatever a text was taken for.
    """

    def __init__(self, language: str) -> None:
        self._language = language
        if language != AUTO:
            _bm25(language)

    def document(self, text: str) -> edge.SparseVector:
        """A text as it is kept."""
        return _weighed(text, self._of(text))

    def query(self, text: str) -> edge.SparseVector:
        """A question as it is searched with; without indices where it has only stop words."""
        rest, pairs = grams(text)
        own = self._of(rest)
        vectors = [_bm25(own).embed_query(rest), *_pairs(pairs, query=True)]
        if self._language == AUTO:
            telling = " ".join(word for word in rest.split() if _bm25(own).embed_query(word).indices)
            for language in (*STEMMED, NONE):
                vector = _bm25(language).embed_query(telling)
                vectors.append(edge.SparseVector(vector.indices, [FOREIGN] * len(vector.indices)))
        return _merged(vectors)

    def overlaps(self, query: str, texts: Sequence[str]) -> list[float]:
        """How much of a question's words each text holds, 0 to 1, in the language of the text."""
        shares: list[float] = []
        for text in texts:
            language = self._of(text)
            wanted = _wanted(query, language)
            held = wanted.intersection(_stems(text, language)) if wanted else ()
            shares.append(len(held) / len(wanted) if wanted else 0.0)
        return shares

    def _of(self, text: str) -> str:
        if self._language != AUTO:
            return self._language
        found = detect(text)
        return WITHOUT if found is None else found if found in STEMMED else NONE


def _weighed(text: str, language: str) -> edge.SparseVector:
    """A text as it is kept."""
    rest, pairs = grams(text)
    found = _bm25(language).embed_document(rest)
    return _merged([found, *_pairs(pairs, query=False)]) if pairs else found


@lru_cache(maxsize=16)
def _wanted(query: str, language: str) -> frozenset[int]:
    """The words of a question, which is asked of many texts."""
    return frozenset(_stems(query, language))


def _stems(text: str, language: str) -> list[int]:
    """The words of a text without weights: made like a question, it takes half as long."""
    rest, pairs = grams(text)
    found = _bm25(language).embed_query(rest).indices
    return [*found, *_pairs(pairs, query=True)[0].indices] if pairs else found


def _pairs(pairs: list[str], *, query: bool) -> list[edge.SparseVector]:
    if not pairs:
        return []
    text = " ".join(pairs)
    return [_as_written().embed_query(text) if query else _as_written().embed_document(text)]


def _merged(vectors: Iterable[edge.SparseVector]) -> edge.SparseVector:
    """All of the vectors in one; what several hold has its greatest weight."""
    first, *others = vectors
    if not others:
        return first
    weights = dict(zip(first.indices, first.values, strict=True))
    for vector in others:
        for index, weight in zip(vector.indices, vector.values, strict=True):
            weights[index] = max(weight, weights.get(index, weight))
    return edge.SparseVector(list(weights), list(weights.values()))


@cache
def _bm25(language: str) -> edge.Bm25:
    """The encoder of a language; "none" has no stems and no stop words. Raises `InvalidInput`."""
    if language == NONE:
        return edge.Bm25(_config(stemmer=edge.DisabledStemmer(), stopwords=edge.StopwordsSet(set(), set())))
    try:
        return edge.Bm25(_config(language=language))
    except ValueError as error:
        raise InvalidInput(f"language: {error}", fields=("language",)) from error


@cache
def _as_written() -> edge.Bm25:
    """The encoder of what is cut into words already."""
    none = edge.StopwordsSet(set(), set())
    return edge.Bm25(_config(tokenizer=edge.TokenizerType.Whitespace, stemmer=edge.DisabledStemmer(), stopwords=none))


def _config(
    *,
    language: str | None = None,
    tokenizer: edge.TokenizerType | None = None,
    stemmer: edge.DisabledStemmer | None = None,
    stopwords: edge.StopwordsSet | None = None,
) -> edge.Bm25Config:
    return edge.Bm25Config(
        k=0.9,
        b=0.4,
        avg_len=40,
        ascii_folding=True,
        language=language,
        tokenizer=tokenizer,
        stemmer=stemmer,
        stopwords=stopwords,
    )
