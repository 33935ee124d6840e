"""Memories that say the same, shown as one."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice, zip_longest

from soma_core.domain.cursor import Seen
from soma_core.domain.memory import Memory

OPENING_CHARS = 200
OPENING_WORDS = 6
EMPTY_WORDS = frozenset({"a", "an", "the"})
DASHES = "-\u2013\u2014"
OPENING = "\"'([{<*_\u00ab\u2018\u201c"
CLOSING = "\"'.,;:!)]}>*_\u00bb\u2019\u201d\u2026"
"""Marks that may stand around a word: quotes, brackets, emphasis, and what ends a statement."""


@dataclass(slots=True)
class Fold:
    """A memory, and those after it that say the same."""

    memory: Memory
    alike: list[Memory] = field(default_factory=list)


@dataclass(slots=True)
class Chosen:
    """What an answer is made of."""

    folds: list[Fold] = field(default_factory=list)
    seen: int = 0
    """How many were passed over because the caller has them."""


def choose(memories: Iterable[Memory], limit: int, seen: Seen, fold: bool) -> Chosen:
    """The first `limit` memories that the caller does not have; with `fold`, of those that say the same only one.

    No more of `memories` is taken than is needed.
    """
    chosen = Chosen()
    openings: dict[Hashable, list[Fold]] = {}
    for memory in memories:
        if seen.has(memory.id, memory.version):
            chosen.seen += 1
            continue
        if fold:
            like_it = openings.setdefault(_opening(memory), [])
            if same := next((each for each in like_it if says_the_same(each.memory, memory)), None):
                same.alike.append(memory)
                continue
        chosen.folds.append(Fold(memory))
        if len(chosen.folds) == limit:
            break
        if fold:
            like_it.append(chosen.folds[-1])
    return chosen


def _opening(memory: Memory) -> tuple[str, ...]:
    """The first words: equal where two memories say the same, and much quicker to compare."""
    return tuple(islice(_words(memory.text[:OPENING_CHARS]), OPENING_WORDS))


def says_the_same(one: Memory, other: Memory) -> bool:
    """Whether two memories differ in no more than case, spacing, marks around words, and articles.

    Who says it and its payload count. Anything else may be the difference that matters: a number, a name, a "not", a
    question mark.
    """
    if (one.speaker or "").casefold() != (other.speaker or "").casefold():
        return False
    if json.dumps(one.payload, sort_keys=True) != json.dumps(other.payload, sort_keys=True):
        return False
    words = False
    for word, like_it in zip_longest(_words(one.text), _words(other.text)):
        if word != like_it:
            return False
        words = True
    return words or one.text == other.text


def _words(text: str) -> Iterator[str]:
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
    words = (word if word.isalnum() else _bare(word) for word in plain.casefold().split())
    return (word for word in words if word and word not in EMPTY_WORDS)


def _bare(word: str) -> str:
    """A word without the marks around it, unless they may belong to a number: -5 is not 5."""
    bare = word.lstrip(OPENING + DASHES)
    if bare[:1].isdigit() or bare.startswith("."):
        bare = word.lstrip(OPENING)
    return bare.rstrip(CLOSING + DASHES)
