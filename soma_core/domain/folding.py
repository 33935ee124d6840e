"""Memories that say the same, shown as one."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from soma_core.domain.cursor import Seen
from soma_core.domain.memory import Memory

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
    folds: dict[Hashable, Fold] = {}
    for memory in memories:
        if seen.has(memory.id, memory.version):
            chosen.seen += 1
            continue
        key = said(memory) if fold else memory.id
        if key in folds:
            folds[key].alike.append(memory)
            continue
        folds[key] = Fold(memory)
        chosen.folds.append(folds[key])
        if len(folds) == limit:
            break
    return chosen


def said(memory: Memory) -> Hashable:
    """What a memory says: equal where two differ in no more than case, spacing, marks around words, and articles.

    Who says it and its payload count. Anything else may be the difference that matters: a number, a name, a "not", a
    question mark.
    """
    words = [_bare(word) for word in unicodedata.normalize("NFKC", memory.text).casefold().split()]
    kept = tuple(word for word in words if word and word not in EMPTY_WORDS)
    speaker = (memory.speaker or "").casefold()
    return speaker, kept or memory.text, json.dumps(memory.payload, sort_keys=True)


def _bare(word: str) -> str:
    """A word without the marks around it, unless they may belong to a number: -5 is not 5."""
    bare = word.lstrip(OPENING + DASHES)
    if bare[:1].isdigit() or bare.startswith("."):
        bare = word.lstrip(OPENING)
    return bare.rstrip(CLOSING + DASHES)
