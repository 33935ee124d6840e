"""How hits become an answer that keeps to a budget of tokens: pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from soma_core.domain.cursor import Seen
from soma_core.domain.excerpts import count_tokens, least_tokens
from soma_core.domain.query import Hit, Recall, RecallQuery
from soma_core.domain.rendering import BETWEEN, CUT, NOT_RELEVANT, entry, foot, framed, head, notes, rendered

PASSAGE_TOKENS = 260
"""Each hit gets up to so much room before any gets more: a whole passage."""
LEAST_TOKENS = 96
"""A text is cut to no less, and a shorter one not at all: the hit is left out instead."""

Part = Callable[[Hit, int], str]
"""The part of a hit's text that matched, of at most so many tokens."""


def answered(found: Recall, part: Part, seen: Seen, query: RecallQuery) -> Recall:
    """The answer with as many of its hits as fit, in the order that is wanted, its text, and the cursor for it.

    `found` has all the hits there could be, the best first.
    """
    max_tokens, by_time = query.max_tokens, query.order == "time"
    answer = _showing(found, found.hits, seen, by_time)
    least = sum(least_tokens(hit.memory.text) for hit in found.hits)
    if least <= max_tokens and (tokens := count_tokens(text := framed(answer))) <= max_tokens:
        return replace(answer, text=text, tokens=tokens)
    # What is said beside the hits takes its room first, unless that is most of it: it is left out then.
    beside = [NOT_RELEVANT, CUT, *notes(replace(answer, omitted=len(found.hits)))]
    room = max_tokens - count_tokens(BETWEEN.join(beside)) - 1
    packed = pack(found.hits, room if 2 * room > max_tokens else max_tokens, part)
    answer = _showing(found, packed, seen, by_time)
    text = rendered(answer, max_tokens)
    return replace(answer, text=text, tokens=count_tokens(text))


def _showing(found: Recall, hits: Sequence[Hit], seen: Seen, by_time: bool) -> Recall:
    shown = [(hit.memory.id, hit.memory.version) for hit in hits]
    alike = [(each.id, each.version) for hit in hits for each in hit.alike]
    if by_time:
        hits = sorted(hits, key=lambda hit: (hit.memory.occurred_at, hit.memory.id))
    return replace(found, hits=hits, omitted=len(found.hits) - len(hits), cursor=str(seen.adding([*alike, *shown])))


def pack(hits: Sequence[Hit], room: int, part: Part) -> list[Hit]:
    """The hits whose entries fit into `room` tokens, in their order.

    As many come in as there is room for with `LEAST_TOKENS` of each text. All then grow together up to a passage, and
    after that to their whole texts, the best first. Where not even the first comes in, it gets what room there is.
    """
    whole = _Whole(hits)
    frames = [_frame(hit) for hit in hits]
    shares: dict[int, int] = {}
    spare = room
    for number, frame in enumerate(frames):
        least = whole.at_most(number, frame + LEAST_TOKENS)
        if least <= spare:
            shares[number] = least
            spare -= least
    if not shares:
        return [_cut(hit, part(hit, max(1, room - _frame(hit)))) for hit in hits[:1]]
    shares = _grown(shares, {n: whole.at_most(n, frames[n] + PASSAGE_TOKENS) for n in shares}, room)
    spare = room - sum(shares.values())
    packed: list[Hit] = []
    for number, share in shares.items():
        hit, share = hits[number], share + spare
        if (tokens := whole.at_most(number, share + 1)) > share:
            hit = _cut(hit, part(hit, share - frames[number]))
            tokens = _tokens(hit)
        spare = share - tokens
        packed.append(hit)
    return packed


class _Whole:
    """What each hit takes whole; the longest of them need not be measured."""

    def __init__(self, hits: Sequence[Hit]) -> None:
        self._hits = hits
        self._measured: dict[int, int] = {}

    def at_most(self, number: int, most: int) -> int:
        """What a hit takes, or `most` where that is more."""
        if number not in self._measured:
            if least_tokens(self._hits[number].memory.text) >= most:
                return most
            self._measured[number] = _tokens(self._hits[number])
        return min(most, self._measured[number])


def _grown(shares: Mapping[int, int], most: Mapping[int, int], room: int) -> dict[int, int]:
    """The shares, the small ones raised to one level as far as there is room; none over its own `most`."""
    low, high = 0, max(most.values())
    raised = dict(shares)
    while low <= high:
        level = (low + high) // 2
        tried = {n: max(share, min(most[n], level)) for n, share in shares.items()}
        if sum(tried.values()) <= room:
            raised, low = tried, level + 1
        else:
            high = level - 1
    return raised


def _tokens(hit: Hit) -> int:
    """What a hit takes of an answer, with what parts it from the next."""
    return count_tokens(entry(hit) + BETWEEN)


def _frame(hit: Hit) -> int:
    """What a hit takes whose text is cut to nothing."""
    return count_tokens(head(hit.memory) + foot(hit.alike, cut=hit.memory.text != "") + BETWEEN)


def _cut(hit: Hit, text: str) -> Hit:
    return replace(hit, memory=replace(hit.memory, text=text), cut=text != hit.memory.text)
