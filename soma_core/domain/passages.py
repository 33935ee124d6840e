"""How a text becomes passages: the pieces that one vector stands for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
PASSAGE_WORDS = 180
PASSAGE_CHARS = 1_800
"""A bound for texts without spaces, so that no passage outgrows the embedder's window by much."""
OVERLAP_WORDS = 36
OVERLAP_CHARS = 360
"""What a passage repeats of the one before, at most."""


def split_passages(text: str) -> list[str]:
    """`text` in order, in passages of at most 180 words, cut between sentences where that is possible.

    A passage begins with the last sentence or two of the one before, so that what stands at a border is found too.
    """
    return [text[start:end] for start, end in passage_spans(text)]


def passage_spans(text: str) -> list[tuple[int, int]]:
    """Where each passage of `split_passages` begins and ends in `text`, white space at its ends left out."""
    if len(text) <= PASSAGE_CHARS and len(text.split()) <= PASSAGE_WORDS:
        return _trimmed(text, [(0, len(text))])
    spans: list[tuple[int, int]] = []
    current: list[_Piece] = []
    held = 0
    for piece in _pieces(text):
        if current and not _fits(piece, current[0].start, held):
            spans.append((current[0].start, current[-1].end))
            current = _overlap(current)
            held = sum(each.words for each in current)
            if current and not _fits(piece, current[0].start, held):
                current, held = [], 0
        current.append(piece)
        held += piece.words
    if current:
        spans.append((current[0].start, current[-1].end))
    return _trimmed(text, spans)


class _Piece(NamedTuple):
    start: int
    end: int
    words: int


def _fits(piece: _Piece, start: int, held: int) -> bool:
    """Whether a piece goes into the passage that begins at `start` and holds so many words."""
    return held + piece.words <= PASSAGE_WORDS and piece.end - start <= PASSAGE_CHARS


def _overlap(pieces: list[_Piece]) -> list[_Piece]:
    """The last whole pieces of a passage, as far as they are few words; never all of it."""
    words, first = 0, len(pieces)
    while first > 1:
        words += pieces[first - 1].words
        if words > OVERLAP_WORDS or pieces[-1].end - pieces[first - 1].start > OVERLAP_CHARS:
            break
        first -= 1
    return pieces[first:]


def _trimmed(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans without the white space at their ends; blank ones are left out."""
    found = []
    for start, end in spans:
        inner = text[start:end]
        if kept := inner.strip():
            start += len(inner) - len(inner.lstrip())
            found.append((start, start + len(kept)))
    return found


def _pieces(text: str) -> Iterator[_Piece]:
    """Sentences with the white space that follows them; longer ones cut at words, then at characters."""
    for start, end in sentence_spans(text):
        sentence = text[start:end]
        words = len(sentence.split())
        if len(sentence) <= PASSAGE_CHARS and words <= PASSAGE_WORDS:
            yield _Piece(start, end, words)
            continue
        for word in re.finditer(r"\S+\s*", sentence):
            for at in range(word.start(), word.end(), PASSAGE_CHARS):
                yield _Piece(start + at, start + min(at + PASSAGE_CHARS, word.end()), 1)


def sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    """The text in order, cut after the white space that follows the end of a sentence or line."""
    start = 0
    for end in re.finditer(r"[.!?][\"')\]]*\s+|\n+", text):
        yield start, end.end()
        start = end.end()
    if start < len(text):
        yield start, len(text)


def spoken(passage: str, speaker: str | None) -> str:
    """What the dense arm sees of a passage: who spoke, and what was said."""
    return f"{speaker}: {passage}" if speaker else passage


def dated(passage: str, speaker: str | None, occurred_at: datetime) -> str:
    """What the lexical arm sees of a passage: also its date in words."""
    day = f"{occurred_at.day} {MONTHS[occurred_at.month - 1]} {occurred_at.year}"
    return f"{day} {spoken(passage, speaker)}"
