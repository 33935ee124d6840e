"""Memories that say the same, and those that only look like it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from soma_core.domain.cursor import Seen
from soma_core.domain.folding import choose, says_the_same
from soma_core.domain.memory import Memory
from tests.support.memories import memory


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The user prefers dark mode.", "User prefers  dark mode"),
        ("Deploy runs on Friday!", "deploy runs on friday."),
        ("She said “yes”.", 'she said "yes"'),
        ("- buy milk", "Buy milk"),
        ("Ｃａｆé", "café"),
        ("🦊", "🦊"),
        ("the", "the"),
    ],
)
def test_what_differs_in_case_spacing_marks_and_articles_says_the_same(one: str, other: str) -> None:
    assert says_the_same(memory(one), memory(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The meeting is on 5 May", "The meeting is on 6 May"),
        ("Ana likes tea", "Ana likes tea?"),
        ("Ana likes tea", "Ana likes no tea"),
        ("Ana beat Ben", "Ben beat Ana"),
        ("It is -5 degrees", "It is 5 degrees"),
        ("It is \u20135 degrees", "It is 5 degrees"),
        ("It costs 10.5", "It costs 105"),
        ("Written in C", "Written in C++"),
        ("Written in C", "Written in C#"),
        ("👍", "👎"),
        ("the", "a"),
        ("ดี", "ดู"),
    ],
)
def test_a_number_name_negation_order_or_sign_makes_another_memory(one: str, other: str) -> None:
    assert not says_the_same(memory(one), memory(other))


def test_another_speaker_or_payload_makes_another_memory() -> None:
    assert says_the_same(memory("I like tea", speaker="Ana"), memory("I like tea", speaker="ana"))
    assert not says_the_same(memory("I like tea", speaker="Ana"), memory("I like tea", speaker="Ben"))
    assert says_the_same(memory("I like tea", payload={"a": 1, "b": 2}), memory("I like tea", payload={"b": 2, "a": 1}))
    assert not says_the_same(memory("I like tea", payload={"a": 1}), memory("I like tea", payload={"a": True}))


def test_the_best_of_those_that_say_the_same_stands_for_them_and_the_next_take_their_places() -> None:
    memories = [memory("tea", 1), memory("Tea.", 2), memory("coffee", 3), memory("TEA", 4), memory("milk", 5)]
    chosen = choose(memories, 3, Seen(), fold=True)
    assert [fold.memory.id.int for fold in chosen.folds] == [1, 3, 5]
    assert [each.id.int for each in chosen.folds[0].alike] == [2, 4]
    assert [fold.memory.id.int for fold in choose(memories, 3, Seen(), fold=False).folds] == [1, 2, 3]


def test_what_the_caller_has_is_passed_over_and_counted_but_not_a_later_version_of_it() -> None:
    seen = Seen().adding([(memory("", 1).id, 1), (memory("", 2).id, 1), (memory("", 9).id, 1)])
    memories = [memory("tea", 1), memory("coffee", 2, version=2), memory("milk", 3)]
    chosen = choose(memories, 3, seen, fold=True)
    assert ([fold.memory.id.int for fold in chosen.folds], chosen.seen) == ([2, 3], 1)


def test_no_more_memories_are_read_than_are_needed() -> None:
    def reading() -> Iterator[Memory]:
        yield from (memory(f"text {number}", number) for number in range(3))
        raise AssertionError("a fourth was read")

    assert len(choose(reading(), 3, Seen(), fold=True).folds) == 3
