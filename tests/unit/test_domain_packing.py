"""Packing an answer into its budget."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from soma_core.domain.cursor import Seen
from soma_core.domain.excerpts import count_tokens, cut_to, excerpt
from soma_core.domain.packing import LEAST_TOKENS, answered, pack
from soma_core.domain.query import Alike, Hit, Recall, RecallQuery
from tests.support.clock import NOON
from tests.support.memories import hit, memory

LONG = "Filler stands here for nothing. " * 200


def beginning(found: Hit, room: int) -> str:
    return cut_to(found.memory.text, room)


def answer(hits: list[Hit], max_tokens: int, **fields: Any) -> Recall:
    return answered(
        replace(Recall(hits, [], 0, 0), **fields), beginning, Seen(), RecallQuery("zebra", max_tokens=max_tokens)
    )


def shown(found: Recall, max_tokens: int = 2_000) -> str:
    assert count_tokens(found.text) == found.tokens <= max_tokens
    return found.text


def test_ten_long_hits_all_come_in_before_one_is_whole() -> None:
    found = answer([hit(LONG, number) for number in range(10)], 2_000)
    assert [each.memory.id.int for each in found.hits] == list(range(10))
    assert found.omitted == 0
    assert all(each.cut and count_tokens(each.memory.text) >= LEAST_TOKENS for each in found.hits)
    assert found.tokens > 1_900


def test_what_short_hits_leave_goes_to_the_long_ones_the_best_first() -> None:
    found = answer([hit(LONG, 1), hit("short", 2), hit(LONG, 3)], 2_000)
    sizes = [count_tokens(each.memory.text) for each in found.hits]
    assert sizes[0] > 1_400
    assert sizes[2] > 200
    assert [each.cut for each in found.hits] == [False, False, True]


def test_a_short_text_is_left_out_rather_than_cut() -> None:
    found = answer([hit("word " * 50, number) for number in range(5)], 200)
    assert not any(each.cut for each in found.hits)
    assert len(found.hits) + found.omitted == 5
    assert found.omitted > 0
    assert f"({found.omitted} more did not fit into max_tokens)" in shown(found, 200)


def test_a_hit_that_does_not_fit_lets_smaller_ones_in() -> None:
    hits = [hit("one two", 1), hit("word " * 50, 2), hit("three", 3)]
    assert [each.memory.text for each in pack(hits, 25, beginning)] == ["one two", "three"]


@pytest.mark.parametrize(
    "text",
    ["a\n" * 100, "a\tb\n" * 50, "\n\na b " * 40, "日本語" * 40, "🦊" * 30, "x" * 500],
    ids=lambda text: repr(text[:4]),
)
@pytest.mark.parametrize("budget", [1, 7, 10, 30])
def test_the_best_is_cut_where_not_even_that_one_fits(text: str, budget: int) -> None:
    found = answer([hit(text), hit(text, 2)], budget)
    assert (len(found.hits), found.omitted) == (1, 1)
    assert found.hits[0].cut
    assert found.hits[0].memory.text.strip()
    assert shown(found, budget)


def test_a_thread_and_tags_of_any_length_leave_room_for_the_text() -> None:
    tags = tuple(f"{n}" * 200 for n in range(64))
    found = answer([hit("Ana likes tea", thread="t" * 256, speaker="s" * 256, tags=tags)], 200)
    assert "Ana likes tea" in shown(found, 200)


def test_the_text_says_what_is_beside_the_hits() -> None:
    degraded = ["dense: the embedding model is not loaded"]
    found = answer([hit("Ana likes tea")], 2_000, relevance="none", seen=3, degraded=degraded)
    text = shown(found)
    assert text.startswith("Nothing clearly relevant was found. The nearest:\n\n[000000000001]")
    assert "(3 more you have already)" in text
    assert "(degraded: dense: the embedding model is not loaded)" in text
    assert f"(cursor: {found.cursor})" in text


@pytest.mark.parametrize("max_tokens", [500, 2_000])
def test_long_hits_leave_room_for_what_is_said_beside_them(max_tokens: int) -> None:
    hits = [hit(LONG, number) for number in range(20)]
    found = answer(hits, max_tokens, relevance="none", seen=3, degraded=["filters: a reason of some length"])
    text = shown(found, max_tokens)
    assert text.startswith("Nothing clearly relevant was found.")
    for note in (
        "a part of a longer text",
        "3 more you have",
        "more did not fit",
        "a reason of some length",
        found.cursor,
    ):
        assert note in text


def test_an_answer_with_nothing_says_so() -> None:
    assert shown(answer([], 2_000)) == "Nothing was found."
    assert shown(answer([], 2_000, seen=2)).startswith("Nothing new was found.")
    assert shown(answer([], 2), 2) == "Nothing"


def test_an_entry_is_dated_and_has_id_thread_tags_and_speaker() -> None:
    found = answer([hit("I like tea", speaker="Ana", thread="kitchen", tags=("taste",))], 2_000)
    assert shown(found).startswith("[000000000001] 2026-03-14 in kitchen #taste\nAna: I like tea")


def test_what_was_folded_is_counted_and_named_with_its_day() -> None:
    alike = tuple(Alike(memory("", n).id, 1, NOON + timedelta(days=n)) for n in range(2, 7))
    text = shown(answer([replace(hit("Ran 5 km"), alike=alike)], 2_000))
    assert f"(5 alike: [000000000002] {NOON + timedelta(days=2):%Y-%m-%d}, " in text
    assert " and 2 more)" in text


def test_the_cursor_of_an_answer_holds_what_was_shown_and_folded_but_not_what_was_left_out() -> None:
    folded = replace(hit("one", 1), alike=(Alike(memory("", 2).id, 1, NOON),))
    seen = Seen.parse(answer([folded, hit("word " * 80, 3)], 100).cursor)
    assert [seen.has(memory("", number).id, 1) for number in (1, 2, 3)] == [True, True, False]


def test_an_excerpt_is_the_sentences_around_what_was_asked_for() -> None:
    text = "One is here. Two is here. Three has zebra. Four is here. Five is here."
    whole = (0, len(text))
    overlap = lambda texts: [float("zebra" in each) for each in texts]  # noqa: E731
    assert excerpt(text, whole, overlap, 5) == "Three has zebra."
    assert excerpt(text, whole, overlap, 8) == "Three has zebra. Four is here."
    assert excerpt(text, whole, overlap, 16) == "Two is here. Three has zebra. Four is here. Five is here."
    assert excerpt(text, whole, overlap, 100) == text


def test_an_excerpt_of_one_endless_sentence_is_the_part_that_was_asked_for() -> None:
    text = "word " * 300 + "zebra " + "word " * 300
    found = excerpt(text, (0, len(text)), lambda texts: [float("zebra" in each) for each in texts], 20)
    assert "zebra" in found
    assert count_tokens(found) <= 20
