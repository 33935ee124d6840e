"""What holds of answers for any memories: the budget, the cursor, and that folding loses nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import combinations
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soma_core.domain.cursor import MAX_CURSOR, MOST_SEEN, Seen
from soma_core.domain.errors import InvalidInput
from soma_core.domain.excerpts import count_tokens, cut_to, excerpt
from soma_core.domain.folding import choose, says_the_same
from soma_core.domain.packing import answered
from soma_core.domain.passages import passage_spans
from soma_core.domain.query import Alike, Hit, Recall, RecallQuery
from soma_core.domain.relevance import Relevance
from tests.support.clock import NOON
from tests.support.memories import hit, memory

pieces = [
    "word ", "a\n", "End. ", "Really?! ", '"Quoted." ', "\n\n", " ", "five words are in here " * 20, "x" * 700,
    "記" * 900, "🦊", "zebra ",
]  # fmt: skip
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    st.lists(st.sampled_from(pieces), max_size=60).map("".join),
).filter(str.strip)
names = st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256)
ids = st.tuples(st.uuids(), st.integers(1, 1 << 40))


@st.composite
def hits(draw: st.DrawFn) -> list[Hit]:
    found = []
    for number, text in enumerate(draw(st.lists(texts, max_size=12))):
        tags = draw(st.lists(names.filter(bool), max_size=3))
        alike = tuple(Alike(UUID(int=900 + n), 1, NOON + timedelta(days=n)) for n in range(draw(st.integers(0, 5))))
        made = hit(text, number, thread=draw(names), speaker=draw(names), tags=tuple(filter(None, tags)))
        found.append(replace(made, alike=alike))
    return found


def part(found: Hit, room: int) -> str:
    spans = list(passage_spans(found.memory.text))
    return excerpt(found.memory.text, spans[-1], lambda texts: [float("zebra" in text) for text in texts], room)


@given(hits(), st.integers(1, 400) | st.integers(400, 4_000), st.sampled_from(["some", "none", "unknown"]), st.data())
def test_what_is_shown_never_exceeds_the_budget_and_nothing_gets_lost(
    given_hits: list[Hit], budget: int, relevance: Relevance, data: st.DataObject
) -> None:
    degraded = data.draw(st.lists(st.text(max_size=80), max_size=2))
    seen = Seen().adding(data.draw(st.lists(ids, max_size=30)))
    found = replace(Recall(given_hits, degraded, 0, 0, seen=data.draw(st.integers(0, 9))), relevance=relevance)

    answer = answered(found, part, seen, RecallQuery("zebra", max_tokens=budget))

    assert count_tokens(answer.text) == answer.tokens <= budget
    numbers = [each.memory.id.int for each in answer.hits]
    assert numbers == sorted(set(numbers))
    assert len(numbers) + answer.omitted == len(given_hits)
    assert bool(numbers) == bool(given_hits)
    for each in answer.hits:
        whole = given_hits[each.memory.id.int].memory.text
        assert each.memory.text in whole
        assert each.memory.text.strip()
        assert each.cut == (each.memory.text != whole)


@given(texts, st.integers(1, 300))
def test_an_excerpt_is_a_part_of_the_text_within_its_room(text: str, room: int) -> None:
    for passage in passage_spans(text):
        found = excerpt(text, passage, lambda texts: [1.0 / len(each) for each in texts], room)
        assert found in text
        assert found.strip()
        assert count_tokens(found) <= room


@given(texts, st.integers(1, 100))
def test_a_cut_text_is_a_beginning_within_its_room(text: str, room: int) -> None:
    assert text.startswith(cut_to(text, room))
    assert count_tokens(cut_to(text, room)) <= room


@given(st.lists(ids, max_size=400), st.lists(ids, max_size=20))
def test_a_cursor_survives_its_own_notation_and_is_bounded(
    first: list[tuple[UUID, int]], second: list[tuple[UUID, int]]
) -> None:
    seen = Seen().adding(first).adding(second)
    assert len(seen.marks) <= MOST_SEEN
    assert len(str(seen)) <= MAX_CURSOR
    assert all(seen.has(*each) for each in [*first, *second][-MOST_SEEN:])
    if seen.marks:
        assert Seen.parse(str(seen)) == seen


@given(st.lists(ids, min_size=1, max_size=50), st.data())
def test_a_broken_cursor_is_invalid_input(shown: list[tuple[UUID, int]], data: st.DataObject) -> None:
    cursor = str(Seen().adding(shown))
    at = data.draw(st.integers(0, len(cursor) - 1))
    other = data.draw(st.sampled_from("ABCXYZabcxyz0123456789-_!é ").filter(lambda each: each != cursor[at]))
    for broken in (cursor[:at] + other + cursor[at + 1 :], cursor[:at], cursor + "AAAA"):
        with pytest.raises(InvalidInput, match="since_cursor"):
            Seen.parse(broken)


words = st.lists(st.sampled_from(["Ana", "ana,", "the", "not", "5", "-5", "likes", "tea.", "tea?", "\n"]), max_size=6)


@given(st.lists(st.tuples(words.map(" ".join).filter(str.strip), st.sampled_from(["Ana", "Ben", None])), max_size=20))
def test_folding_shows_every_distinct_memory_and_names_all_others(given_texts: list[tuple[str, str | None]]) -> None:
    memories = [memory(text, number, speaker=speaker) for number, (text, speaker) in enumerate(given_texts)]
    chosen = choose(memories, 100, Seen(), fold=True)
    shown = [fold.memory for fold in chosen.folds]
    assert all(any(says_the_same(each, like_it) for like_it in shown) for each in memories)
    assert not any(says_the_same(*pair) for pair in combinations(shown, 2))
    named = [each.id.int for fold in chosen.folds for each in (fold.memory, *fold.alike)]
    assert sorted(named) == list(range(len(memories)))
    assert all(says_the_same(each, fold.memory) for fold in chosen.folds for each in fold.alike)
