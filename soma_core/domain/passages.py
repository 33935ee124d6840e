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


def split_passages(text: str) -> list[str]:
    """`text` in order, in passages of at most 180 words, cut between sentences where that is possible."""
    if len(text) <= PASSAGE_CHARS and len(text.split()) <= PASSAGE_WORDS:
        return [text.strip()] if text.strip() else []
    passages: list[str] = []
    current: list[str] = []
    words = chars = 0
    for piece in _pieces(text):
        size = len(piece.split())
        if current and (words + size > PASSAGE_WORDS or chars + len(piece) > PASSAGE_CHARS):
            passages.append("".join(current).strip())
            current, words, chars = [], 0, 0
        current.append(piece)
        words += size
        chars += len(piece)
    passages.append("".join(current).strip())
    return [passage for passage in passages if passage]


def _pieces(text: str) -> list[str]:
    """Sentences with the white space that follows them; longer ones cut at words, then at characters."""
    pieces: list[str] = []
    for sentence in _sentences(text):
        if len(sentence) <= PASSAGE_CHARS and len(sentence.split()) <= PASSAGE_WORDS:
            pieces.append(sentence)
            continue
        words = re.findall(r"\S+\s*", sentence)
        pieces.extend(word[i : i + PASSAGE_CHARS] for word in words for i in range(0, len(word), PASSAGE_CHARS))
    return pieces


def _sentences(text: str) -> Iterator[str]:
    """The text in order, cut after the white space that follows the end of a sentence or line."""
    start = 0
    for end in re.finditer(r"[.!?][\"')\]]*\s+|\n+", text):
        yield text[start : end.end()]
        start = end.end()
    yield text[start:]


def spoken(passage: str, speaker: str | None) -> str:
    """What the dense arm sees of a passage: who spoke, and what was said."""
    return f"{speaker}: {passage}" if speaker else passage


def dated(passage: str, speaker: str | None, occurred_at: datetime) -> str:
    """What the lexical arm sees of a passage: also its date in words."""
    day = f"{occurred_at.day} {MONTHS[occurred_at.month - 1]} {occurred_at.year}"
    return f"{day} {spoken(passage, speaker)}"
