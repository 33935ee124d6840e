"""Each step of the ranking, alone."""

from __future__ import annotations

from typing import Any

import pytest

from soma_core.domain import boosts, structure
from soma_core.domain.asking import Question
from soma_core.domain.candidates import Candidates, Features
from soma_core.domain.query import Parts
from soma_core.domain.scoring import SCALE, STEPS, Score, ranked, scored

DAY = 86_400_000_000
NOW = 1_000 * DAY + DAY // 2


def seen(**given: Any) -> Features:
    fields: dict[str, Any] = {"version": 1, "type": "episodic", "thread": None, "position": None, "speaker": None}
    fields |= {"words": 10, "question": False, "standing": False, "occurred_at": 0, "importance": 0.5}
    return Features(**fields | given)


def candidates(*given: Features, scores: list[float] | None = None, **question: Any) -> Candidates:
    fields: dict[str, Any] = {"text": "What was it?", "now": NOW}
    return Candidates(Question(**fields | question), list(given), scores or [1.0] * len(given))


def turns(*speakers: str | None, **each: list[Any]) -> list[Features]:
    """A thread in order, one turn a speaker."""
    named = [{name: values[n] for name, values in each.items()} for n in range(len(speakers))]
    return [seen(thread="t", position=n, speaker=who, **named[n]) for n, who in enumerate(speakers)]


# Who stands beside whom.


def test_neighbours_stand_right_beside_in_the_same_thread_whatever_the_order_given() -> None:
    found = candidates(
        seen(thread="a", position=2), seen(thread="b", position=1), seen(thread="a", position=1), seen(position=0)
    )
    assert (found.before, found.after) == ([2, -1, -1, -1], [-1, -1, 0, -1])


def test_neighbours_lend_their_scores_and_who_is_no_candidate_lends_nothing() -> None:
    found = candidates(*turns("Ana", "Ben", "Ana"), seen(thread="t", position=7), scores=[1.0, 2.0, 4.0, 8.0])
    assert list(structure.neighbours(found)) == [2.0, 5.0, 2.0, 0.0]


# Structure.


def test_an_answer_gets_the_score_of_the_question_before_it() -> None:
    found = candidates(*turns("Ana", "Ben", "Ana", question=[True, False, False]), scores=[2.0, 0.5, 1.0])
    assert list(structure.answers(found)) == [0.0, 2.0, 0.0]


@pytest.mark.parametrize("speakers", [("Ana", "Ana"), (None, None), ("Ana", "assistant"), ("Ana", "AI")])
def test_nobody_answers_himself_and_an_assistant_answers_everything(speakers: tuple[str | None, str | None]) -> None:
    found = candidates(*turns(*speakers, question=[True, False]), scores=[2.0, 0.5])
    assert not any(structure.answers(found))


def test_a_bare_question_is_no_answer() -> None:
    assert list(structure.questions(candidates(seen(question=True), seen()))) == [-1.0, 0.0]


def test_a_thread_on_the_subject_lifts_its_memories_by_how_far_it_stands_out() -> None:
    given = [seen(thread=name, position=n) for n, name in enumerate("aaabb")]
    lifts = list(structure.threads(candidates(*given, seen(), scores=[3.0, 1.0, 0.0, 1.0, 1.0, 9.0])))
    assert lifts == pytest.approx([1.0, 1.0, 1.0, -1.0, -1.0, 0.0])


@pytest.mark.parametrize("names", ["", "a", "ab"])
def test_threads_that_are_alike_or_alone_lift_nothing(names: str) -> None:
    given = [seen(thread=name, position=0) for name in names]
    assert list(structure.threads(candidates(*given, seen()))) == []


def test_a_thread_with_one_memory_counts_as_strong_as_that() -> None:
    lifts = structure.threads(candidates(seen(thread="a"), seen(thread="b"), scores=[2.0, 1.0]))
    assert list(lifts) == pytest.approx([1.0, -1.0])


def test_in_short_chat_more_words_tell_more_up_to_sixty() -> None:
    short, long, longer = structure.substance(candidates(*(seen(words=n) for n in (2, 60, 600)), seen(words=5)))[:3]
    assert 0 < short < long == longer


def test_among_long_texts_the_number_of_words_hardly_counts() -> None:
    in_chat = structure.substance(candidates(seen(words=1), seen(words=20), seen(words=30)))
    among_long = structure.substance(candidates(seen(words=1), seen(words=300), seen(words=300)))
    assert max(among_long) - min(among_long) < (max(in_chat) - min(in_chat)) / 4


def test_an_assistants_words_come_after_what_people_said() -> None:
    found = candidates(*turns("user", "Assistant", None, words=[20, 100, 30]))
    assert list(structure.assistants(found)) == [0.0, -1.0, 0.0]
    assert list(structure.assistants(candidates(*turns("Ana", "Ben")))) == []


@pytest.mark.parametrize("text", ["What did you recommend?", "Give me a summary of it"])
def test_an_assistants_words_count_where_they_are_asked_for(text: str) -> None:
    assert list(structure.assistants(candidates(*turns("user", "assistant", words=[9, 99]), text=text))) == []


@pytest.mark.parametrize(("words", "given"), [(5, 0.0), (10, 0.0), (20, -0.5), (30, -1.0), (90, -1.0)])
def test_an_assistant_that_is_brief_drowns_nobody(words: int, given: float) -> None:
    found = candidates(*turns("user", "assistant", words=[10, words]))
    assert list(structure.assistants(found)) == pytest.approx([0.0, given])
    assert list(structure.assistants(candidates(*turns("assistant", "AI", words=[10, words])))) == []


def test_a_persons_standing_instruction_is_lifted() -> None:
    found = candidates(*turns("user", "assistant", "user", standing=[True, True, False]))
    assert list(structure.standing(found)) == [1.0, 0.0, 0.0]


def test_where_most_are_standing_instructions_none_is_lifted() -> None:
    assert list(structure.standing(candidates(*[seen(standing=True)] * 5))) == []
    assert list(structure.standing(candidates(seen(), seen()))) == []


# Boosts.


def test_what_a_named_speaker_said_is_lifted() -> None:
    found = candidates(*turns("Ana", "Ben", None), named=frozenset({"Ana"}))
    assert list(boosts.speakers(found)) == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("named", [{"Ana", "Ben"}, {"Ana", "Ben", "Cleo"}])
def test_nobody_is_lifted_where_every_speaker_is_named(named: set[str]) -> None:
    assert list(boosts.speakers(candidates(*turns("Ana", "Ben", None), named=frozenset(named)))) == []


def test_nobody_is_lifted_where_nobody_spoke_or_is_named() -> None:
    assert list(boosts.speakers(candidates(seen(), seen(), named=frozenset({"Ana"})))) == []
    assert not any(boosts.speakers(candidates(*turns("Ana", "Ben"))))


def test_what_happened_in_a_named_time_is_lifted_from_its_first_moment_to_before_its_end() -> None:
    given = [seen(occurred_at=moment) for moment in (9, 10, 19, 20, 30)]
    assert list(boosts.periods(candidates(*given, periods=((10, 20), (30, 31))))) == [0.0, 1.0, 1.0, 0.0, 1.0]


def test_nothing_is_lifted_where_no_time_is_named_or_all_happened_then() -> None:
    given = [seen(occurred_at=moment) for moment in (9, 30)]
    assert list(boosts.periods(candidates(*given, periods=()))) == []
    assert list(boosts.periods(candidates(*given, periods=((0, 100),)))) == []


def test_importance_counts_from_what_is_usual() -> None:
    given = [seen(importance=weight) for weight in (0.0, 0.5, 1.0)]
    assert list(boosts.importance(candidates(*given))) == [-1.0, 0.0, 1.0]
    assert list(boosts.importance(candidates(seen(), seen()))) == []


@pytest.mark.parametrize(("type", "half_life"), [("episodic", 30), ("semantic", 365), ("procedural", 365)])
def test_recency_is_halved_in_the_half_life_of_the_type(type: str, half_life: int) -> None:
    today = NOW - NOW % DAY
    ages = [0, half_life, 2 * half_life]
    given = [seen(type=type, occurred_at=today - age * DAY) for age in ages]
    assert list(boosts.recency(candidates(*given))) == pytest.approx([1.0, 0.5, 0.25])


def test_what_lies_in_the_future_is_as_new_as_today() -> None:
    assert list(boosts.recency(candidates(seen(occurred_at=NOW + 10**15), seen(occurred_at=NOW)))) == [1.0, 1.0]


def test_recency_is_the_same_all_day_and_with_ages_alike_changes_no_order() -> None:
    given = [seen(occurred_at=0), seen(occurred_at=NOW - 40 * DAY)]
    morning, night = (boosts.recency(candidates(*given, now=NOW - NOW % DAY + n)) for n in (0, DAY - 1))
    assert list(morning) == list(night)
    same = boosts.recency(candidates(seen(), seen()))
    assert same[0] == same[1]


# All together.


def ranking(features: dict[int, Features], dense: dict[int, float], **how: Any) -> dict[int, Score]:
    return scored(Question(how.pop("text", "What was it?"), NOW), dense, how.pop("lexical", {}), features, **how)


def test_a_memory_that_an_arm_lacks_gets_nothing_there() -> None:
    found = ranking({1: seen(), 2: seen()}, {1: SCALE}, lexical={1: 1.0, 2: 2.0})
    assert [(score.dense, score.lexical) for score in found.values()] == [(1.5, 0.5), (0.0, 1.0)]


def test_what_the_records_do_not_know_is_no_candidate() -> None:
    assert ranking({1: seen()}, {1: 1.0, 2: 2.0}).keys() == {1}
    assert ranking({}, {1: 1.0}) == {} == ranking({}, {})


def test_the_total_is_the_sum_of_the_parts() -> None:
    features = dict(enumerate(turns("Ana", "Ben", "assistant", question=[True, False, False]), 1))
    for score in ranking(features, {1: 3.0, 2: 1.0, 3: 0.0}).values():
        assert score.total == pytest.approx(sum(score[1:]))
        assert score.parts == Parts(**score._asdict())


@pytest.mark.parametrize("step", STEPS)
def test_a_step_left_out_adds_nothing(step: str) -> None:
    features = {1: seen(thread="a", position=0, speaker="Ana", question=True, importance=1.0, standing=True)}
    features |= {
        2: seen(thread="a", position=1, speaker="Ben"),
        3: seen(thread="b", position=0, speaker="Ben", words=90),
    }
    features |= {4: seen(thread="a", position=2, speaker="Ana", occurred_at=NOW)}
    features |= {5: seen(thread="b", position=1, speaker="AI", words=90)}
    question = Question("What did Ana say?", NOW, frozenset({"Ana"}), ((NOW, NOW + 1),))
    scores = {1: 3.0, 2: 2.0, 3: 1.0, 4: 1.0, 5: 0.0}
    with_all, without = (scored(question, scores, scores, features, left_out) for left_out in ((), {step}))
    bare = scored(question, scores, scores, features, STEPS)
    assert all(score.total == pytest.approx(score.dense + score.lexical) for score in bare.values())
    assert (with_all == without) is (step == "voice")


def test_equal_scores_go_by_time_then_by_id_the_newest_first() -> None:
    features = {1: seen(occurred_at=5), 2: seen(occurred_at=9), 3: seen(occurred_at=5), 4: seen(occurred_at=5)}
    same = ranking(features, dict.fromkeys(features, 1.0), without=STEPS)
    assert ranked(same, features, 9) == [2, 4, 3, 1]
    assert ranked(same, features, 2) == [2, 4]


def test_one_candidate_is_ranked() -> None:
    found = ranking({1: seen(thread="t", position=0, speaker="Ana")}, {1: SCALE})
    assert ranked(found, {1: seen()}, 10) == [1]
