"""Scores."""

from __future__ import annotations

from uuid import UUID

import pytest

from soma_core.domain.scoring import TIES, best_by_memory, settled, spread

A, B, C = UUID(int=1), UUID(int=2), UUID(int=3)


def test_a_memory_scores_as_its_best_passage() -> None:
    assert best_by_memory([(A, 1.0), (B, -2.0), (A, 3.0), (A, 2.0)]) == {A: 3.0, B: -2.0}


def test_an_arm_is_spread_from_nought_to_three() -> None:
    assert spread({A: 0.2, B: 0.4, C: 0.6}) == pytest.approx({A: 0.0, B: 1.5, C: 3.0})
    assert spread({A: 0.4, B: 0.4}) == {A: 3.0, B: 3.0}
    assert spread({}) == {}


def test_of_equal_scores_at_the_place_where_a_list_was_cut_off_none_is_kept() -> None:
    assert settled([3.0, 2.0, 1.0, 1.0], limit=4) == 2
    assert settled([3.0, 2.0, 1.0, 1.0], limit=5) == 4
    assert settled([], limit=5) == 0
    assert settled([1.0] * 200, limit=200) == 200 - TIES
