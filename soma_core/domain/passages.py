"""How a text becomes passages: the pieces that one vector stands for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
PASSAGE_WORDS = 180
PASSAGE_CHARS = 1_800
"""A bound for texts without spaces, so that no passage outgrows the embedder's window by much."""
Piece = tuple[int, int, int]
"""Where a part of a text begins and ends, and its words."""
_SENTENCE_END = re.compile(r"[.!?\n](?:(?<=\n)\n*|[\"')\]]*\s+)")
OVERLAP_WORDS = 36
OVERLAP_CHARS = 360
"""What a passage repeats of the one before, at most."""


def split_passages(text: str) -> list[str]:
    """`text` in order, in passages of at most 180 words, cut between sentences where that is possible.

    A passage begins with the last sentence or two of the one before, so that what stands at a border is found too.
    """
    return [text[start:end] for start, end in passage_spans(text)]


def is_long(text: str) -> bool:
    """Whether a text has more than one passage."""
    return len(text) > PASSAGE_CHARS or len(text.split()) > PASSAGE_WORDS


def passage_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where each passage of `split_passages` begins and ends in `text`, white space at its ends left out."""
    for start, end in _spans(text) if is_long(text) else [(0, len(text))]:
        inner = text[start:end]
        if kept := inner.strip():
            start += len(inner) - len(inner.lstrip())
            yield start, start + len(kept)


def _spans(text: str) -> Iterator[tuple[int, int]]:
    current: list[Piece] = []
    held = 0
    for piece in _pieces(text):
        _, end, words = piece
        if current and (held + words > PASSAGE_WORDS or end - current[0][0] > PASSAGE_CHARS):
            yield current[0][0], current[-1][1]
            current = _overlap(current)
            held = sum(words for _, _, words in current)
            if current and (held + words > PASSAGE_WORDS or end - current[0][0] > PASSAGE_CHARS):
                current, held = [], 0
        current.append(piece)
        held += words
    if current:
        yield current[0][0], current[-1][1]


def _overlap(pieces: list[Piece]) -> list[Piece]:
    """The last whole pieces of a passage, as far as they are few words; never all of it."""
    words, first = 0, len(pieces)
    while first > 1:
        words += pieces[first - 1][2]
        if words > OVERLAP_WORDS or pieces[-1][1] - pieces[first - 1][0] > OVERLAP_CHARS:
            break
        first -= 1
    return pieces[first:]


def _pieces(text: str) -> Iterator[Piece]:
    """Sentences with the white space that follows them; longer ones cut at words, then at characters."""
    for start, end in sentence_spans(text):
        sentence = text[start:end]
        words = len(sentence.split())
        if words <= PASSAGE_WORDS and end - start <= PASSAGE_CHARS:
            yield start, end, words
            continue
        for word in re.finditer(r"\S+\s*", sentence):
            for at in range(word.start(), word.end(), PASSAGE_CHARS):
                yield start + at, start + min(at + PASSAGE_CHARS, word.end()), 1


def sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    """The text in order, cut after the white space that follows the end of a sentence or line."""
    start = 0
    for found in _SENTENCE_END.finditer(text):
        yield start, found.end()
        start = found.end()
    if start < len(text) or not text:
        yield start, len(text)


def spoken(passage: str, speaker: str | None) -> str:
    """What the dense arm sees of a passage: who spoke, and what was said."""
    return f"{speaker}: {passage}" if speaker else passage


def dated(passage: str, speaker: str | None, occurred_at: datetime) -> str:
    """What the lexical arm sees of a passage: also its date in words."""
    day = f"{occurred_at.day} {MONTHS[occurred_at.month - 1]} {occurred_at.year}"
    return f"{day} {spoken(passage, speaker)}"
