"""Recall as a whole: what the order of a conversation and the question's names and dates do to an answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from soma_core.domain.query import Hit, RecallQuery
from soma_core.domain.scoring import STEPS
from soma_core.ports.embedder import Vector
from tests.support.embedder import embed
from tests.support.engine import SCOPE, Engine, opened


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with opened(tmp_path) as engine:
        yield engine


def asked(engine: Engine, question: str, *without: str) -> dict[str, Hit]:
    found = engine.soma.recall(SCOPE, RecallQuery(question, without=frozenset(without)))
    return {hit.memory.text: hit for hit in found.hits}


@pytest.mark.parametrize("indexed", [False, True])
def test_what_is_not_indexed_yet_is_ranked_by_the_same_steps(engine: Engine, indexed: bool) -> None:
    engine.index.opened = indexed
    engine.store("Which zebra did you see?", speaker="Ana", thread="t")
    engine.store("The striped one, of all the zebra.", speaker="Ben", thread="t", importance=1)
    engine.store("Always count the zebra", speaker="Cleo", occurred_at="2020-01-01")
    if indexed:
        engine.soma.index(SCOPE)
    found = asked(engine, "What zebra did Ben see?")
    question, answer, standing = sorted(found.values(), key=lambda hit: hit.memory.speaker or "")
    assert question.parts.structure < answer.parts.structure
    assert standing.parts.structure > 1
    assert [hit.parts.boosts for hit in (question, answer, standing)] == [0, 0.6, 0]
    assert [hit.parts.importance for hit in (question, answer, standing)] == [0, 0.3, 0]
    assert question.parts.recency == answer.parts.recency == 0.15
    assert 0 < standing.parts.recency < 1e-9


@pytest.fixture
def embedded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions that are embedded."""
    seen: list[str] = []

    def embed_query(text: str) -> Vector:
        seen.append(text)
        return embed(text)

    monkeypatch.setattr(engine.embedder, "embed_query", embed_query)
    return seen


def test_a_question_about_a_speaker_is_embedded_in_the_first_person(engine: Engine, embedded: list[str]) -> None:
    engine.store("I moved to Oslo", speaker="Ana Lu")
    for without in ((), ("voice",)):
        asked(engine, "When did Ana move, and where is Oslo's zoo?", *without)
    assert embedded == ["When did I move, and where is Oslo's zoo?", "When did Ana move, and where is Oslo's zoo?"]
    assert {query.words for query in engine.index.searches if query.words} == {embedded[1]}


def test_nobody_speaks_where_no_speaker_has_the_name(engine: Engine, embedded: list[str]) -> None:
    engine.forget(engine.store("I moved to Oslo", speaker="Ana"))
    asked(engine, "When did Ana move?")
    assert embedded == ["When did Ana move?"]


def test_a_named_time_lifts_what_happened_then_and_hides_nothing(engine: Engine) -> None:
    engine.store("zebra early", occurred_at="2025-04-30T23:59:59Z")
    engine.store("zebra then", occurred_at="2025-05-08")
    engine.store("zebra late", occurred_at="2025-07-01")
    found = asked(engine, "which zebra last May")
    assert {text: hit.parts.boosts > 0 for text, hit in found.items()} == {
        "zebra then": True, "zebra late": False, "zebra early": False,
    }  # fmt: skip
    assert next(iter(found)) == "zebra then"
    assert not any(hit.parts.boosts for hit in asked(engine, "which zebra last May", "periods").values())


@pytest.mark.parametrize(
    ("question", "days"),
    [("which zebra on 8 May 2025", {8, 9}), ("which zebra in May 2025", {8, 9, 10, 31, 38})],
)
def test_what_was_told_soon_after_a_named_time_is_lifted_too(engine: Engine, question: str, days: set[int]) -> None:
    for day in (-1, 8, 9, 10, 31, 38, 39):
        engine.store(f"zebra {day}", occurred_at=f"{datetime(2025, 4, 30) + timedelta(days=day):%Y-%m-%dT10:00:00Z}")
    found = asked(engine, question)
    assert {int(text.split()[1]) for text, hit in found.items() if hit.parts.boosts} == days


def test_a_time_told_by_an_event_is_that_of_the_memory_of_the_event(engine: Engine) -> None:
    engine.store("My birthday zebra party was today", occurred_at="2025-10-20")
    engine.store("zebra in the week before", occurred_at="2025-10-16")
    engine.store("zebra long before", occurred_at="2025-09-01")
    found = asked(engine, "Which zebra did I see in the week before my birthday?")
    assert [text for text, hit in found.items() if hit.parts.boosts] == ["zebra in the week before"]


def test_a_page_of_dates_and_events_is_answered_in_no_time(engine: Engine) -> None:
    for n in range(100):
        engine.store(f"My birthday zebra {n}", occurred_at="2025-10-20")
    page = "the week before my birthday, in May, on 3 June 2024 and two days after the zebra party? " * 120
    before = time.process_time()
    assert len(asked(engine, page)) == 10
    assert time.process_time() - before < 1


def test_recency_can_be_left_out_and_is_the_same_at_every_hour(engine: Engine) -> None:
    engine.store("zebra", occurred_at="2026-03-10")
    before = asked(engine, "zebra")["zebra"].parts
    engine.clock.advance(hours=11, minutes=59)
    assert asked(engine, "zebra")["zebra"].parts == before
    assert before.recency > 0
    assert asked(engine, "zebra", "recency")["zebra"].parts.recency == 0
    engine.clock.advance(days=60)
    assert asked(engine, "zebra")["zebra"].parts.recency < before.recency / 2


def test_with_every_step_left_out_the_arms_decide_alone(engine: Engine) -> None:
    engine.store("Is that a zebra?", speaker="Ana", thread="t", importance=1)
    engine.store("A zebra", speaker="Ben", thread="t")
    for hit in asked(engine, "Ana's zebra", *STEPS).values():
        assert hit.parts.total == hit.parts.dense + hit.parts.lexical
