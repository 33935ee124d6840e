"""What holds of the domain's pure functions for any input."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soma_core.domain.asking import Question
from soma_core.domain.candidates import Features
from soma_core.domain.errors import InvalidInput
from soma_core.domain.memory import Memory, MemoryType, parse_coordinate
from soma_core.domain.passages import PASSAGE_CHARS, PASSAGE_WORDS, split_passages
from soma_core.domain.query import Hit, Parts
from soma_core.domain.scoring import SCALE, STEPS, count_tokens, pack, ranked, scored, spread
from soma_core.domain.validation import check_time
from tests.support.clock import NOON

finite = st.floats(allow_nan=False, allow_infinity=False)
keys = st.integers(0, 50).map(lambda n: UUID(int=n))
scores = st.dictionaries(keys, st.floats(-1e6, 1e6), max_size=20)
pieces = [
    "word ", "a\n", "longer-word\t", "End. ", "Really?! ", '"Quoted." ', "\n\n", " ",
    "five words are in here " * 20, "x" * 700, "記" * 900,
]  # fmt: skip
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
    st.lists(st.sampled_from(pieces), max_size=60).map("".join),
)


@given(st.lists(finite, min_size=1, max_size=8))
def test_a_coordinate_is_canonical_and_parsing_it_again_changes_nothing(numbers: list[float]) -> None:
    canonical = parse_coordinate(" , ".join(map(repr, numbers)))
    assert parse_coordinate(canonical) == canonical
    assert [float(part) for part in canonical.split(",")] == numbers
    assert " " not in canonical
    assert "-0" not in canonical.split(",")
    assert parse_coordinate(",".join(f"{n:.17e}" for n in numbers)) == canonical


@given(st.text())
def test_any_text_is_a_coordinate_or_refused(text: str) -> None:
    try:
        canonical = parse_coordinate(text)
    except InvalidInput:
        return
    assert parse_coordinate(canonical) == canonical


@given(texts)
def test_passages_lose_no_word_and_keep_to_their_bounds(text: str) -> None:
    passages = split_passages(text)
    assert "".join("".join(passages).split()) == "".join(text.split())
    assert all(passage == passage.strip() != "" for passage in passages)
    assert all(len(passage.split()) <= PASSAGE_WORDS and len(passage) <= PASSAGE_CHARS for passage in passages)
    if max((len(word) for word in text.split()), default=0) <= PASSAGE_CHARS:
        assert [word for passage in passages for word in passage.split()] == text.split()


def hit(number: int, text: str) -> Hit:
    values: dict[str, Any] = {"thread": None, "position": None, "speaker": None, "coordinate": None}
    times: dict[str, Any] = {"occurred_at": NOON, "recorded_at": NOON, "created_at": NOON}
    key = UUID(int=number)
    memory = Memory(key, "ns", 1, text, MemoryType.EPISODIC, (), **values, **times, importance=0.5, payload={})
    return Hit(memory, Parts(1.0, 1.0, 2.0))


@given(st.lists(texts.filter(str.strip), max_size=6), st.integers(1, 200))
def test_packing_never_exceeds_the_budget_and_keeps_the_order(given_texts: list[str], budget: int) -> None:
    hits = [hit(n, text) for n, text in enumerate(given_texts)]
    packed, used = pack(hits, budget)
    numbers = [h.memory.id.int for h in packed]
    assert used == sum(count_tokens(h.memory.text) for h in packed) <= budget
    assert numbers == sorted(set(numbers))
    assert bool(packed) == bool(hits)
    assert all(h.memory.text == given_texts[h.memory.id.int] or h.cut for h in packed)
    assert all(given_texts[h.memory.id.int].startswith(h.memory.text) for h in packed)


@given(scores)
def test_spreading_keeps_the_order_within_nought_and_three(given_scores: dict[UUID, float]) -> None:
    found = spread(given_scores)
    assert found.keys() == given_scores.keys()
    assert all(-1e-9 <= score <= SCALE + 1e-9 for score in found.values())
    order = sorted(given_scores, key=lambda key: given_scores[key])
    assert all(found[a] <= found[b] for a, b in itertools.pairwise(order))
    if given_scores:
        assert math.isclose(max(found.values()), SCALE)


MICROS = 10**18
features = st.builds(
    Features,
    version=st.just(1),
    type=st.sampled_from(["episodic", "semantic", "procedural"]),
    thread=st.sampled_from([None, "a", "b", "c"]),
    position=st.none() | st.integers(0, 5),
    speaker=st.sampled_from([None, "Ana", "Ben", "assistant", "", "(a", "Ana Lu"]),
    words=st.integers(0, 10_000),
    question=st.booleans(),
    standing=st.booleans(),
    occurred_at=st.integers(-MICROS, MICROS),
    importance=st.floats(0, 1),
)
candidates = st.dictionaries(st.integers(0, 50), features, max_size=20)
arms = st.dictionaries(st.integers(0, 50), st.floats(-1e6, 1e6), max_size=20)
MOMENT = st.integers(-MICROS, MICROS)
texts_of_questions = st.sampled_from(["What did Ana say?", "remind me who", "", "?", "a" * 5_000, "記憶 🦊", "summary"])
questions = st.builds(
    Question,
    text=texts_of_questions,
    now=MOMENT,
    named=st.frozensets(st.sampled_from(["Ana", "Ben", "Ana Lu"])),
    periods=st.lists(st.tuples(MOMENT, MOMENT), max_size=2).map(tuple),
)
without = st.frozensets(st.sampled_from(STEPS))


@given(questions, arms, arms, candidates, without)
def test_every_score_is_finite_and_the_sum_of_its_parts(
    question: Question,
    dense: dict[int, float],
    lexical: dict[int, float],
    known: dict[int, Features],
    left_out: frozenset[str],
) -> None:
    found = scored(question, spread(dense), spread(lexical), known, left_out)
    assert found.keys() == (dense.keys() | lexical.keys()) & known.keys()
    for parts in found.values():
        added = parts.structure + parts.boosts + parts.importance + parts.recency
        assert math.isfinite(parts.total)
        assert math.isclose(parts.total, parts.dense + parts.lexical + added, abs_tol=1e-9)
        assert -1e-9 <= parts.dense + parts.lexical <= SCALE + 1e-9
        assert abs(parts.importance) <= SCALE / 10
        assert 0 <= parts.recency <= SCALE / 10


@given(questions, arms, arms, candidates, st.integers(1, 60), st.randoms())
def test_the_ranking_does_not_depend_on_the_order_given(
    question: Question,
    dense: dict[int, float],
    lexical: dict[int, float],
    known: dict[int, Features],
    limit: int,
    rng: Any,
) -> None:
    def shuffled(given: dict[int, Any]) -> dict[int, Any]:
        items = list(given.items())
        rng.shuffle(items)
        return dict(items)

    once = scored(question, spread(dense), spread(lexical), known)
    again = scored(question, spread(shuffled(dense)), spread(shuffled(lexical)), shuffled(known))
    assert ranked(once, known, limit) == ranked(again, known, limit)
    assert len(ranked(once, known, limit)) == min(limit, len(once))


zones = st.integers(-23 * 60, 23 * 60).map(lambda m: timezone(timedelta(minutes=m)))


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=zones))
def test_a_moment_survives_its_own_notation(moment: datetime) -> None:
    for given_time in (moment, moment.isoformat(), f" {moment.isoformat(' ')} "):
        found = check_time("t", given_time)
        assert found == moment == check_time("t", found)
        assert found.tzinfo is UTC


@given(st.dates(max_value=date(9999, 12, 30)))
def test_a_date_means_its_first_moment_or_the_next_day(day: date) -> None:
    start, end = check_time("t", day.isoformat()), check_time("t", day.isoformat(), end=True)
    assert end - start == timedelta(days=1)
    assert (start.date(), start.time().isoformat()) == (day, "00:00:00")


@given(st.text())
def test_any_text_is_a_time_or_refused_with_its_field(text: str) -> None:
    try:
        found = check_time("when", text)
    except InvalidInput:
        with pytest.raises(InvalidInput, match=r"^when: [\x00-\x7f]*$"):
            check_time("when", text)
        return
    assert found.tzinfo is UTC


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidInput):
        check_time("t", date(2026, 1, 1))
