"""The part of a long text that is worth showing: pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from soma_core.domain.passages import sentence_spans

Overlap = Callable[[Sequence[str]], Sequence[float]]
"""How much of the question's words each text holds, 0 to 1."""


def count_tokens(text: str) -> int:
    """About how many tokens a language model counts: a quarter of the bytes, at least one a word."""
    return _tokens(len(text.encode()), len(text.split()))


def least_tokens(text: str) -> int:
    """No more than `count_tokens`, and at once however long the text is."""
    return len(text) // 4


def _tokens(size: int, words: int) -> int:
    return max((size + 3) // 4, words)


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

    One run of the text, as it stands there; of a sentence that is too long alone, a part.
    """
    spans = _sentences_near(text, passage, room)
    inside = [n for n, (start, end) in enumerate(spans) if start < passage[1] and end > passage[0]]
    scores = dict(zip(inside, overlap([text[slice(*spans[n])] for n in inside]), strict=True))
    first = last = max(inside, key=lambda n: (scores[n], -n))
    if count_tokens(text[slice(*spans[first])].strip()) > room:
        start, end = spans[first]
        return _part_of_sentence(text[max(start, passage[0]) : min(end, passage[1])], overlap, room)
    size, words = _size(text, spans[first])
    while True:
        chosen = None
        for n in (last + 1, first - 1):
            if 0 <= n < len(spans) and (chosen is None or scores.get(n, -1.0) > scores.get(chosen, -1.0)):
                more = _size(text, spans[n])
                if _tokens(size + more[0], words + more[1]) <= room:
                    chosen, grown = n, (size + more[0], words + more[1])
        if chosen is None:
            return text[spans[first][0] : spans[last][1]].strip()
        size, words = grown
        first, last = min(first, chosen), max(last, chosen)


def _size(text: str, span: tuple[int, int]) -> tuple[int, int]:
    """The bytes and words of a part."""
    part = text[slice(*span)]
    return len(part.encode()), len(part.split())


def _sentences_near(text: str, passage: tuple[int, int], room: int) -> list[tuple[int, int]]:
    """The sentences of a passage, and the whole ones before and after it that might get into an excerpt."""
    low, high = max(0, passage[0] - 4 * room), min(len(text), passage[1] + 4 * room)
    spans = [(low + start, low + end) for start, end in sentence_spans(text[low:high])]
    if low > 0 and spans[0][1] <= passage[0]:
        del spans[0]
    if high < len(text) and spans[-1][0] >= passage[1]:
        del spans[-1]
    return spans


def _part_of_sentence(sentence: str, overlap: Overlap, room: int) -> str:
    """The part of one sentence that the question names most."""
    starts = [word.start() for word in re.finditer(r"\S+", sentence)][:: max(1, room // 2)]
    parts = [cut_to(sentence[start:], room).strip() for start in starts]
    scores = overlap(parts)
    return parts[max(range(len(parts)), key=lambda n: (scores[n], -n))]
