"""Recall: what it answers when a part is missing or moves under it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from soma_core.domain.errors import Conflict, InvalidInput, NotFound, Unavailable
from soma_core.domain.excerpts import count_tokens
from soma_core.domain.memory import NewMemory, Scope, short_id
from soma_core.domain.passages import passage_spans
from soma_core.domain.query import QUERY_WORDS, Filter, RecallQuery
from soma_core.domain.relevance import THRESHOLDS
from soma_core.domain.scoring import TIES
from soma_core.ports.embedder import Vector
from soma_core.services import answering
from tests.support.engine import NAMESPACE, SCOPE, Engine, opened


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with opened(tmp_path) as engine:
        yield engine


def once(work: Callable[[], object]) -> Callable[[], None]:
    left = [work]

    def call() -> None:
        if left:
            left.pop()()

    return call


def unavailable() -> None:
    raise Unavailable("it is gone")


@pytest.mark.parametrize("indexed", ["not", "words", "vectors"])
def test_a_memory_is_found_however_far_it_is_indexed(engine: Engine, indexed: str) -> None:
    engine.index.opened = indexed != "not"
    engine.store("zebra crossing")
    engine.store("something else")
    if indexed == "vectors":
        engine.soma.index(SCOPE)
    answer = engine.recall("zebra")
    assert answer.hits[0].memory.text == "zebra crossing"
    waiting = "vectors: 2 memories are found by their words only so far"
    assert answer.degraded == ([] if indexed == "vectors" else [waiting])
    parts = asdict(answer.hits[0].parts)
    assert parts.pop("total") == pytest.approx(sum(parts.values()))
    assert set(parts) == {"dense", "lexical", "structure", "boosts", "importance", "recency"}


def test_with_the_model_not_ready_the_answer_is_by_words_and_says_dense(engine: Engine) -> None:
    engine.store("zebra")
    engine.embedder.ready = False
    answer = engine.recall("zebra")
    assert [hit.memory.text for hit in answer.hits] == ["zebra"]
    assert any(part.startswith("dense") for part in answer.degraded)
    assert engine.index.searches[-1].vector is None


def limits(engine: Engine) -> list[int]:
    """How many passages the arms were asked for; by words alone it is searched only ahead of that."""
    return [query.limit for query in engine.index.searches if query.vector]


def test_a_question_of_too_many_words_is_cut_and_says_so(engine: Engine) -> None:
    engine.store("zebra")
    answer = engine.recall("zebra " + "x " * QUERY_WORDS)
    assert [hit.memory.text for hit in answer.hits] == ["zebra"]
    assert max(len(query.words.split()) for query in engine.index.searches) == QUERY_WORDS
    assert any(part.startswith("query") for part in answer.degraded)
    assert not any(part.startswith("query") for part in engine.recall("x " * QUERY_WORDS).degraded)


def test_index_unavailable_recall_answers_from_pending_and_says_so(engine: Engine) -> None:
    engine.index.opened = False
    engine.store("zebra")
    engine.index.before["search"] = unavailable
    answer = engine.recall("zebra")
    assert [hit.memory.text for hit in answer.hits] == ["zebra"]
    assert "index: it is gone" in answer.degraded


def test_an_index_that_cannot_even_be_opened_is_said_not_raised(engine: Engine) -> None:
    engine.index.opened = False
    engine.store("zebra")
    engine.restart()
    engine.index.broken = True
    answer = engine.recall("zebra")
    assert any(part.startswith("index") for part in answer.degraded)


def test_status_answers_when_the_index_cannot_be_opened(engine: Engine) -> None:
    engine.index.opened = False
    engine.store("zebra")
    engine.restart()
    engine.index.broken = True
    assert engine.soma.status(SCOPE).live == 1


def test_what_waits_for_the_index_is_not_passed_by_all_that_resembles_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for case in range(40):
        engine.store(f"Dmitri lent the hollow trumpet at the garage, case {case}.")
    engine.soma.index(SCOPE)
    text = "Dmitri lent the hollow trumpet at the garage, case 77."
    monkeypatch.setattr(engine.soma.indexing, "words_now", lambda _: False)
    engine.store(text)
    assert engine.recall(text).degraded == ["vectors: 1 memories are found by their words only so far"]
    assert engine.texts(text)[0] == text


def test_a_forget_during_a_recall_is_not_answered(engine: Engine) -> None:
    receipt = engine.store("zebra")
    engine.index.after["search"] = once(lambda: engine.forget(receipt))
    assert engine.texts("zebra") == []


def test_a_revise_during_a_recall_gives_one_version_of_the_memory(engine: Engine) -> None:
    engine.store("zebra old", coordinate="1")
    engine.soma.index(SCOPE)
    engine.index.after["search"] = once(lambda: engine.store("zebra new", coordinate="1"))
    assert engine.texts("zebra") == ["zebra new"]


def test_a_revise_just_before_the_search_of_a_recall_gives_one_version(engine: Engine) -> None:
    engine.store("zebra old", coordinate="1")
    engine.soma.index(SCOPE)
    engine.index.before["search"] = once(lambda: engine.store("zebra new", coordinate="1"))
    assert engine.texts("zebra") == ["zebra new"]


def test_what_is_indexed_between_the_search_by_words_and_the_other_is_found_by_its_words(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.soma.index(SCOPE)
    monkeypatch.setattr(engine.soma.indexing, "words_now", lambda _: False)
    engine.store("zebra")
    embed, searched = engine.embedder.embed_query, threading.Event()
    engine.index.after["search"] = once(searched.set)

    def embed_query(text: str) -> Vector:
        assert searched.wait(5)
        engine.soma.index(SCOPE)
        return embed(text)

    monkeypatch.setattr(engine.embedder, "embed_query", embed_query)
    (hit,) = engine.recall("zebra").hits
    assert hit.parts.lexical > 0


def test_passages_that_the_words_found_are_looked_for_while_the_question_is_embedded(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.store("word. " * 800 + "zebra")
    engine.soma.index(SCOPE)
    threads: list[int] = []

    def looked_for(text: str) -> Iterator[tuple[int, int]]:
        threads.append(threading.get_ident())
        return passage_spans(text)

    monkeypatch.setattr(answering, "passage_spans", looked_for)
    (hit,) = engine.recall("zebra", max_tokens=200).hits
    assert hit.memory.text.endswith("zebra")
    assert len(threads) == 1
    assert threads != [threading.get_ident()]


def test_two_recalls_at_once_give_what_each_gives_alone(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        engine.store(f"zebra {number} of ocean {number % 7}")
    engine.soma.index(SCOPE)
    questions = ["zebra 3", "ocean 5"]
    alone = [engine.texts(question) for question in questions]
    embed, all_there = engine.embedder.embed_query, threading.Barrier(3)

    def embed_query(text: str) -> Vector:
        all_there.wait(5)
        return embed(text)

    engine.index.before["search"] = once(lambda: all_there.wait(5))  # the one that goes ahead is at work until then

    monkeypatch.setattr(engine.embedder, "embed_query", embed_query)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(engine.texts, questions)) == alone
    assert sum(bool(query.words and query.vector) for query in engine.index.searches) == 1


def test_begin_anew_during_a_recall_loses_nothing(engine: Engine) -> None:
    engine.store("zebra")
    engine.soma.index(SCOPE)
    engine.index.before["search"] = once(lambda: engine.soma.indexing.begin_anew(NAMESPACE))
    assert engine.texts("zebra") == ["zebra"]


def test_stale_points_of_the_index_are_never_answered(engine: Engine) -> None:
    gone, stays = engine.store("zebra gone"), engine.store("zebra old", coordinate="1")
    engine.soma.index(SCOPE)
    before = dict(engine.index.kept[NAMESPACE])
    engine.forget(gone)
    engine.store("zebra new", coordinate="1")
    engine.index.kept[NAMESPACE].update(before)
    assert stays.version == 1
    assert engine.texts("zebra") == ["zebra new"]


def test_refill_an_arm_full_of_passages_of_one_memory_still_gives_distinct_memories(engine: Engine) -> None:
    engine.store("zebra. " * 9_000)
    passages = len(engine.points)
    for n in range(120):
        engine.store(f"zebra {n}")
    engine.soma.index(SCOPE)
    assert passages >= 50
    answer = engine.recall("zebra", limit=100, max_tokens=100_000)
    assert len({hit.memory.id for hit in answer.hits}) + answer.omitted == 100
    assert answer.degraded == []


def test_refill_asks_again_for_more_and_says_when_it_gives_up(engine: Engine) -> None:
    receipt = engine.store("zebra")
    engine.store("zebra too")
    (point,) = (p for p in engine.points if p.memory_id == receipt.id)
    engine.soma.index(SCOPE)
    engine.index.put(NAMESPACE, [replace(point, passage=n) for n in range(150)])
    answer = engine.recall("zebra")
    assert limits(engine) == [100 + TIES, 200 + TIES]
    assert answer.degraded == []
    assert len(answer.hits) == 2
    engine.index.put(NAMESPACE, [replace(point, passage=n) for n in range(900)])
    answer = engine.recall("zebra")
    assert any(part.startswith("candidates") for part in answer.degraded)


def test_where_texts_are_long_the_next_question_looks_for_as_much_at_once(engine: Engine) -> None:
    for n in range(60):
        engine.store(f"zebra {n}. " + "word. " * 800)
    engine.soma.index(SCOPE)
    first, again = engine.recall("word", limit=20), engine.recall("word", limit=20)
    asked = limits(engine)
    assert asked.count(asked[-1]) == 2
    assert asked[-1] > asked[0]
    assert [hit.memory.id for hit in first.hits] == [hit.memory.id for hit in again.hits]


def test_where_texts_were_long_and_are_no_more_a_question_looks_for_less_again(engine: Engine) -> None:
    long = [engine.store(f"zebra {n}. " + "word. " * 800) for n in range(60)]
    engine.soma.index(SCOPE)
    engine.recall("zebra")
    for n in range(450):
        engine.store(f"zebra zebra{n}")
    engine.forget(*long)
    engine.soma.index(SCOPE)
    for _ in range(4):
        engine.recall("zebra")
    assert limits(engine)[0] == limits(engine)[-1] < limits(engine)[1]


def test_more_than_a_thousand_pending_is_said(engine: Engine) -> None:
    engine.index.opened = False
    memories = [NewMemory.parse(f"zebra{n}") for n in range(1_003)]
    engine.soma.store_many(SCOPE, memories)
    answer = engine.recall("zebra1002 zebra1")
    assert [hit.memory.text for hit in answer.hits] == ["zebra1002"]
    assert "words: 3 memories are not searchable yet" in answer.degraded
    engine.soma.index(SCOPE)
    assert set(engine.texts("zebra1002 zebra1")[:2]) == {"zebra1002", "zebra1"}


@pytest.mark.parametrize("indexed", [False, True])
def test_equal_scores_give_the_same_order_every_time_the_newest_first(engine: Engine, indexed: bool) -> None:
    engine.index.opened = indexed
    ids = [engine.store("zebra").id for _ in range(20)]
    answers = [[hit.memory.id for hit in engine.recall("zebra", limit=20, fold=False).hits] for _ in range(3)]
    assert answers[0] == answers[1] == answers[2] == sorted(ids, reverse=True)


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"types": ["semantic"]}, "b"), ({"tags": ["x", "y"]}, "b"), ({"thread": "t"}, "a"), ({"speaker": "Ana"}, "a"),
        ({"since": "2026-01-02"}, "b"), ({"until": "2026-01-01"}, "a"), ({"before": "2026-01-01"}, ""), ({}, "ab"),
    ],
    ids=str,
)  # fmt: skip
def test_a_filter_holds_for_what_is_indexed_and_what_is_pending(
    engine: Engine, filter: dict[str, object], expected: str, indexed: bool
) -> None:
    engine.index.opened = indexed
    engine.store("zebra a", tags=["x"], thread="t", speaker="Ana", occurred_at="2026-01-01")
    engine.store("zebra b", tags=["y", "x"], type="semantic", occurred_at="2026-01-02")
    found = engine.texts("zebra", filter=Filter.parse(**filter))
    assert sorted(text[-1] for text in found) == list(expected)


def test_an_answer_in_time_order_is_of_the_best_by_score(engine: Engine) -> None:
    for day in (3, 1, 2):
        engine.store(f"zebra zebra{day}", occurred_at=f"2026-01-0{day}")
    answer = engine.recall("zebra", order="time")
    wanted = ["zebra zebra1", "zebra zebra2", "zebra zebra3"]
    assert [hit.memory.text for hit in answer.hits] == wanted
    assert sorted(wanted, key=answer.text.index) == wanted


def test_what_does_not_fit_into_the_budget_is_counted(engine: Engine) -> None:
    for n in range(5):
        engine.store(f"zebra {n} " + "word " * 20)
    answer = engine.recall("zebra", max_tokens=140)
    assert (len(answer.hits), answer.omitted) == (2, 3)
    assert count_tokens(answer.text) == answer.tokens <= 140


def test_a_long_memory_is_shown_by_the_passage_that_matched_and_counts_once(engine: Engine) -> None:
    filler = "Nothing of note is said in this sentence at all. " * 60
    text = f"{filler}The zebra crossing was painted green. {filler}"
    engine.store(text)
    engine.store("another text")
    for indexed in (False, True):
        (hit,) = (hit for hit in engine.recall("zebra crossing", max_tokens=300).hits if hit.cut)
        assert "The zebra crossing was painted green." in hit.memory.text
        assert hit.memory.text in text
        if not indexed:
            engine.soma.index(SCOPE)
    assert engine.recall("zebra crossing", max_tokens=5_000).hits[0].memory.text == text


def test_each_of_ten_long_memories_is_in_the_default_answer(engine: Engine) -> None:
    for number in range(10):
        engine.store(f"zebra{number} is here. " + "The zebra is in this sentence too, with other words. " * 80)
    engine.soma.index(SCOPE)
    answer = engine.recall("zebra")
    assert (len(answer.hits), answer.omitted) == (10, 0)
    assert all(hit.cut for hit in answer.hits)
    assert count_tokens(answer.text) == answer.tokens <= 2_000


@pytest.mark.parametrize("indexed", [False, True])
def test_what_says_the_same_is_one_hit_that_names_the_others(engine: Engine, indexed: bool) -> None:
    engine.index.opened = indexed
    ids = [engine.store(text).id for text in ("The zebra runs.", "zebra runs", "Zebra runs!", "the zebra sleeps")]
    answer = engine.recall("zebra")
    assert [hit.memory.id for hit in answer.hits if not hit.alike] == [ids[3]]
    (hit,) = (hit for hit in answer.hits if hit.alike)
    assert {hit.memory.id, *(each.id for each in hit.alike)} == set(ids[:3])
    assert len(engine.recall("zebra", fold=False).hits) == 4


def test_a_second_recall_with_the_cursor_shows_what_the_first_did_not(engine: Engine) -> None:
    for n in range(7):
        engine.store(f"zebra {n}", coordinate=str(n))
    first = engine.recall("zebra", limit=4)
    second = engine.recall("zebra", limit=4, since_cursor=first.cursor)
    assert (len(second.hits), second.seen, second.omitted) == (3, 4, 0)
    assert len({hit.memory.id for answer in (first, second) for hit in answer.hits}) == 7
    third = engine.recall("zebra", since_cursor=second.cursor)
    assert (third.hits, third.seen) == ([], 7)
    engine.store("zebra revised", coordinate="3")
    assert engine.texts("zebra", since_cursor=third.cursor) == ["zebra revised"]


def test_what_was_folded_or_left_out_for_lack_of_room_is_seen_and_unseen(engine: Engine) -> None:
    engine.store("zebra")
    engine.store("Zebra.")
    engine.store("zebra with " + "many words " * 30)
    first = engine.recall("zebra", max_tokens=60)
    assert (len(first.hits), first.omitted) == (1, 1)
    second = engine.recall("zebra", since_cursor=first.cursor)
    assert [len(hit.memory.text) > 100 for hit in second.hits] == [True]
    assert second.seen == 2


def test_a_broken_cursor_is_refused_at_the_door() -> None:
    for broken in ("", "x", "AAAA", "no cursor", "é", 5):
        with pytest.raises(InvalidInput) as caught:
            RecallQuery.parse("zebra", since_cursor=broken)
        assert caught.value.fields == ("since_cursor",)


def test_relevance_is_said_only_where_it_is_known(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.store("zebra crossing")
    engine.soma.index(SCOPE)
    assert engine.recall("zebra crossing").relevance == "unknown"
    monkeypatch.setitem(THRESHOLDS, engine.embedder.model_id, 1.1)
    assert engine.recall("zebra crossing").relevance == "some"
    assert engine.recall("sausage").relevance == "none"
    assert engine.soma.recall(Scope("other"), RecallQuery("zebra")).relevance == "none"
    engine.store("sausage roll")
    assert engine.recall("potato").relevance == "unknown"
    engine.embedder.ready = False
    assert engine.recall("potato").relevance == "unknown"


def test_a_memory_of_another_namespace_is_never_recalled(engine: Engine) -> None:
    engine.store("zebra")
    assert engine.soma.recall(Scope("other"), RecallQuery("zebra")).hits == []


def test_a_question_without_words_is_no_error(engine: Engine) -> None:
    engine.store("zebra")
    engine.embedder.ready = False
    assert engine.texts("?!") == []


def filtered(engine: Engine, **payload: object) -> tuple[list[object], list[str]]:
    answer = engine.soma.recall(SCOPE, RecallQuery.parse("note", limit=3, payload=dict(payload)))
    return [hit.memory.payload for hit in answer.hits], [each for each in answer.degraded if "filters" in each]


def test_a_payload_filter_looks_on_until_it_has_enough(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.soma.store_many(SCOPE, [NewMemory.parse(f"note {n}", payload={"n": n}) for n in range(700)])
    engine.soma.index(SCOPE)
    for n in (0, 333, 699):
        assert filtered(engine, n=n) == ([{"n": n}], [])
    assert filtered(engine, n=700) == ([], [])
    monkeypatch.setattr("soma_core.services.recall.MOST_CANDIDATES", 100)
    assert filtered(engine, n=700) == ([], ["filters: the payloads of only 100 candidates of each arm were looked at"])


def test_a_payload_filter_looks_on_where_many_are_equally_good(engine: Engine) -> None:
    engine.soma.store_many(SCOPE, [NewMemory.parse(f"note paper {n}") for n in range(90)])
    engine.soma.store_many(SCOPE, [NewMemory.parse(f"note {n}", payload={"n": n}) for n in range(400)])
    engine.soma.index(SCOPE)
    engine.embedder.ready = False
    answer = engine.soma.recall(SCOPE, RecallQuery.parse("note paper", payload={"n": 7}))
    assert [hit.memory.payload for hit in answer.hits] == [{"n": 7}]


def test_a_payload_filter_looks_on_where_one_memory_fills_an_arm(engine: Engine) -> None:
    receipt = engine.store("zebra")
    engine.soma.store_many(SCOPE, [NewMemory.parse(f"zebra {n} and more words", payload={"n": n}) for n in range(400)])
    engine.soma.index(SCOPE)
    (point,) = (p for p in engine.points if p.memory_id == receipt.id)
    engine.index.put(NAMESPACE, [replace(point, passage=n) for n in range(900)])
    answer = engine.soma.recall(SCOPE, RecallQuery.parse("zebra", payload={"n": 7}))
    assert [hit.memory.payload for hit in answer.hits] == [{"n": 7}]


def test_a_question_by_meaning_alone_says_what_it_does_not_find_yet(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.soma.indexing, "words_now", lambda _: False)
    engine.store("alpha")
    engine.soma.indexing.words_step(NAMESPACE)
    found = engine.recall("alpha", hybrid=False)
    assert found.hits == []
    assert found.degraded == ["vectors: 1 memories are not found by meaning yet"]


# Storing and forgetting.


def test_a_text_that_is_there_already_is_named_instead_of_stored_again(engine: Engine) -> None:
    first = engine.store("Ana likes  Tea")
    engine.soma.index(SCOPE)
    again = engine.soma.store_checked(SCOPE, NewMemory.parse("ana likes tea"))
    assert (again.id, again.version, again.status) == (first.id, 1, "duplicate")
    assert engine.soma.status(SCOPE).live == 1


def test_a_checked_text_that_was_stored_a_moment_ago_is_a_duplicate_too(engine: Engine) -> None:
    first = engine.store("Ana likes tea")
    again = engine.soma.store_checked(SCOPE, NewMemory.parse("Ana likes tea"))
    assert (again.id, again.status) == (first.id, "duplicate")


def test_a_resent_checked_store_gets_its_first_receipt(engine: Engine) -> None:
    scope = Scope(NAMESPACE, request_id="key")
    first = engine.soma.store_checked(scope, NewMemory.parse("tea"))
    engine.soma.index(SCOPE)
    again = engine.soma.store_checked(scope, NewMemory.parse("tea"))
    assert (again.id, again.version, again.status) == (first.id, 1, "created")
    with pytest.raises(Conflict):
        engine.soma.store_checked(scope, NewMemory.parse("coffee"))


def test_storing_nothing_is_no_request(engine: Engine) -> None:
    assert engine.soma.store_many(SCOPE, []) == []


def test_forget_needs_either_ids_or_a_filter(engine: Engine) -> None:
    receipt = engine.store("tea")
    for ids, wanted in (([], Filter()), ([str(receipt.id)], Filter(thread="t"))):
        with pytest.raises(InvalidInput, match="either ids or a filter"):
            engine.soma.forget(SCOPE, ids, wanted)


def test_forget_names_the_unknown_and_raises_only_when_all_are(engine: Engine) -> None:
    receipt = engine.store("tea")
    with pytest.raises(NotFound, match="000000000000"):
        engine.soma.forget(SCOPE, ["000000000000"])
    done = engine.soma.forget(SCOPE, ["000000000000", short_id(receipt.id)])
    assert (list(done.ids), list(done.not_found), done.index) == ([receipt.id], ["000000000000"], "removed")
    assert engine.points == []


def test_a_dry_run_forgets_nothing(engine: Engine) -> None:
    receipt = engine.store("tea")
    plan = engine.soma.forget(SCOPE, [str(receipt.id)], purge=True, dry_run=True)
    assert (plan.count, plan.dry_run, plan.records, plan.index) == (1, True, "untouched", "untouched")
    assert engine.texts("tea") == ["tea"]


def test_a_resent_forget_gets_its_first_receipt(engine: Engine) -> None:
    receipt = engine.store("tea", coordinate="1")
    scope = Scope(NAMESPACE, request_id="key")
    first = engine.soma.forget(scope, [str(receipt.id)])
    engine.store("coffee", coordinate="1")
    assert engine.soma.forget(scope, [str(receipt.id)]) == first
    assert engine.texts("coffee") == ["coffee"]


def test_a_purge_whose_erasure_fails_has_still_purged_and_says_pending(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = engine.store("tea")

    def fails(*, at_once: bool) -> bool:
        raise Unavailable("busy")

    monkeypatch.setattr(engine.records, "erase", fails)
    done = engine.soma.forget(SCOPE, [str(receipt.id)], purge=True)
    assert (done.count, done.records) == (1, "purge pending")


def test_a_forget_that_waits_for_the_indexer_is_out_of_reach_already(engine: Engine) -> None:
    receipt = engine.store("tea")
    engine.soma.index(SCOPE)
    engine.index.opened = False
    done = engine.soma.forget(SCOPE, [str(receipt.id)])
    assert done.index == "pending"
    assert engine.texts("tea") == []
    with pytest.raises(NotFound):
        engine.soma.get(SCOPE, [str(receipt.id)])


def test_get_gives_what_was_asked_for_in_that_order(engine: Engine) -> None:
    a, b = engine.store("a"), engine.store("b")
    found = engine.soma.get(SCOPE, [short_id(b.id), str(a.id)])
    assert [memory.text for memory in found] == ["b", "a"]
    engine.forget(a)
    with pytest.raises(NotFound, match=str(a.id)):
        engine.soma.get(SCOPE, [str(a.id), str(b.id)])


def test_housekeeping_drops_old_request_ids_after_seven_days(engine: Engine) -> None:
    scope = Scope(NAMESPACE, request_id="key")
    first = engine.soma.store(scope, NewMemory.parse("tea"))
    engine.clock.advance(days=6)
    engine.soma.housekeep()
    assert engine.soma.store(scope, NewMemory.parse("tea")).id == first.id
    engine.clock.advance(days=2)
    engine.soma.housekeep()
    assert engine.soma.store(scope, NewMemory.parse("tea")).id != first.id
