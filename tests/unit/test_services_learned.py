"""The learned arm where its model fails."""

from __future__ import annotations

from collections.abc import Sequence

from soma_core.ports.sparse import Weights
from soma_core.services.learned import Learned


class Failing:
    """A sparse model that cannot weigh poison."""

    model_id = "failing"
    ready = True

    def load(self) -> None:
        pass

    def weigh(self, texts: Sequence[str]) -> list[Weights]:
        if any("poison" in text for text in texts):
            raise RuntimeError
        return [{len(text): 1.0} for text in texts]


def test_a_passage_that_cannot_be_weighed_takes_nothing_from_those_beside_it() -> None:
    assert Learned(Failing()).of_passages(["tea", "poison", ""]) == ([{3: 1.0}, None, {0: 1.0}], 1)


def test_a_question_that_cannot_be_weighed_is_answered_without_and_says_so() -> None:
    degraded: list[str] = []
    assert Learned(Failing()).of_question("poison", degraded) is None
    assert degraded == ["learned: the sparse model failed, the answer is without it"]


def test_without_a_model_there_is_no_arm_and_nothing_is_said() -> None:
    degraded: list[str] = []
    assert Learned(None).of_question("tea", degraded) is None
    assert Learned(None).of_passages(["tea"]) == ([None], 0)
    assert degraded == []
