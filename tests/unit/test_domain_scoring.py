"""Scores."""

from __future__ import annotations

from uuid import UUID

import pytest

from soma_core.domain.query import Parts
from soma_core.domain.scoring import best_by_memory, fuse, ranked, spread

A, B, C = UUID(int=1), UUID(int=2), UUID(int=3)


def test_a_memory_scores_as_its_best_passage() -> None:
    assert best_by_memory([(A, 1.0), (B, -2.0), (A, 3.0), (A, 2.0)]) == {A: 3.0, B: -2.0}


def test_an_arm_is_spread_from_nought_to_three() -> None:
    assert spread({A: 0.2, B: 0.4, C: 0.6}) == pytest.approx({A: 0.0, B: 1.5, C: 3.0})
    assert spread({A: 0.4, B: 0.4}) == {A: 3.0, B: 3.0}
    assert spread({}) == {}


def test_a_memory_that_an_arm_lacks_gets_nothing_there() -> None:
    assert fuse({A: 3.0}, {A: 1.0, B: 2.0}) == {A: Parts(1.5, 0.5, 2.0), B: Parts(0.0, 1.0, 1.0)}


def test_equal_scores_go_by_id_the_newest_first() -> None:
    same = Parts(1, 1, 2)
    assert ranked({A: same, C: same, B: same}, 2) == [C, B]
    assert ranked({B: same, C: same, A: same}, 3) == [C, B, A]
