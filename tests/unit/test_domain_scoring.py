"""Scores and packing."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from soma_core.domain.memory import Memory, MemoryType
from soma_core.domain.query import Hit, Parts
from soma_core.domain.scoring import best_by_memory, count_tokens, pack, spread
from tests.support.clock import NOON

A, B, C = UUID(int=1), UUID(int=2), UUID(int=3)


def hit(text: str, key: UUID = A) -> Hit:
    values: dict[str, Any] = {"thread": None, "position": None, "speaker": None, "coordinate": None}
    times: dict[str, Any] = {"occurred_at": NOON, "recorded_at": NOON, "created_at": NOON}
    memory = Memory(key, "ns", 1, text, MemoryType.EPISODIC, (), **values, **times, importance=0.5, payload={})
    return Hit(memory, Parts(1.0, 1.0, 2.0))


def test_a_memory_scores_as_its_best_passage() -> None:
    assert best_by_memory([(A, 1.0), (B, -2.0), (A, 3.0), (A, 2.0)]) == {A: 3.0, B: -2.0}


def test_an_arm_is_spread_from_nought_to_three() -> None:
    assert spread({A: 0.2, B: 0.4, C: 0.6}) == pytest.approx({A: 0.0, B: 1.5, C: 3.0})
    assert spread({A: 0.4, B: 0.4}) == {A: 3.0, B: 3.0}
    assert spread({}) == {}


def test_a_hit_that_does_not_fit_lets_smaller_ones_in() -> None:
    hits = [hit("one two"), hit("word " * 50, B), hit("three", C)]
    packed, used = pack(hits, 5)
    assert [h.memory.text for h in packed] == ["one two", "three"]
    assert used == 4


def test_the_best_is_cut_where_not_even_that_one_fits() -> None:
    packed, used = pack([hit("word " * 50)], 10)
    assert packed[0].cut
    assert 0 < used <= 10
    assert ("word " * 50).startswith(packed[0].memory.text)


@pytest.mark.parametrize(
    "text",
    ["a\n" * 100, "a\tb\n" * 50, "\n\na b " * 40, "日本語" * 40, "🦊" * 30, "x" * 500],
    ids=lambda text: repr(text[:4]),
)
@pytest.mark.parametrize("budget", [1, 7, 10])
def test_a_cut_text_keeps_to_the_budget_whatever_parts_its_words(text: str, budget: int) -> None:
    packed, used = pack([hit(text)], budget)
    assert count_tokens(packed[0].memory.text) == used <= budget
    assert packed[0].memory.text.strip()


def test_nothing_is_packed_from_nothing() -> None:
    assert pack([], 10) == ([], 0)
