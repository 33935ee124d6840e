"""The part of a long text that is worth showing: pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from soma_core.domain.passages import sentence_spans

Overlap = Callable[[Sequence[str]], Sequence[float]]
"""How much of the question's words each text holds, 0 to 1."""


def count_tokens(text: str) -> int:
    """About how many tokens a language model counts: a quarter of the bytes, at least one a word."""
    return max(math.ceil(len(text.encode()) / 4), len(text.split()))


def cut_to(text: str, room: int) -> str:
    """The beginning of `text`, in whole words where it has any, of at most `room` tokens."""
    if count_tokens(text) <= room:
        return text
    kept = text.encode()[: 4 * room].decode(errors="ignore")
    ends = [word.end() for word in re.finditer(r"\S+", kept)]
    if len(kept) < len(text) and len(ends) > 1 and not (kept[-1].isspace() or text[len(kept)].isspace()):
        ends.pop()  # a part of a word
    return kept[: ends[min(len(ends), room) - 1]] if ends else kept


def excerpt(text: str, passage: tuple[int, int], overlap: Overlap, room: int) -> str:
    """The sentences of `text` that fit into `room` tokens, around the one of the passage that the question names most.

    One run of the text, as it stands there; of a sentence that is too long alone, its beginning.
    """
    spans = list(sentence_spans(text))
    inside = [n for n, (start, end) in enumerate(spans) if start < passage[1] and end > passage[0]]
    scores = dict(zip(inside, overlap([text[slice(*spans[n])] for n in inside]), strict=True))
    first = last = max(inside, key=lambda n: (scores[n], -n))
    start, end = spans[first]
    if count_tokens(text[start:end].strip()) > room:
        return _long_sentence(text, (max(start, passage[0]), min(end, passage[1])), overlap, room)
    while True:
        around = [n for n in (first - 1, last + 1) if 0 <= n < len(spans)]
        around.sort(key=lambda n: (-scores.get(n, -1.0), -n))
        grown = next((n for n in around if _tokens_between(text, spans, min(n, first), max(n, last)) <= room), None)
        if grown is None:
            return text[spans[first][0] : spans[last][1]].strip()
        first, last = min(first, grown), max(last, grown)


def _tokens_between(text: str, spans: Sequence[tuple[int, int]], first: int, last: int) -> int:
    return count_tokens(text[spans[first][0] : spans[last][1]].strip())


def _long_sentence(text: str, span: tuple[int, int], overlap: Overlap, room: int) -> str:
    """The part of one sentence that the question names most."""
    words = [(m.start() + span[0], m.end() + span[0]) for m in re.finditer(r"\S+", text[slice(*span)])]
    parts: list[str] = []
    for start in range(0, len(words), max(1, room // 2)):
        parts.append(cut_to(text[words[start][0] : span[1]], room).strip())
    scores = overlap(parts)
    return parts[max(range(len(parts)), key=lambda n: (scores[n], -n))]
