"""Indexing: each test is a sequence in which something could be lost or come back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from soma_core.domain.errors import ModelMissing, Unavailable
from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.passages import split_passages
from soma_core.domain.receipts import StoreReceipt
from soma_core.ports.index import Checkpoint, IndexPoint
from soma_core.services import indexing as module
from soma_core.services import points
from soma_core.services.writing import Interrupted
from tests.support.embedder import embed
from tests.support.engine import NAMESPACE, SCOPE, Engine, opened
from workers.vector_indexer import VectorIndexer


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with opened(tmp_path) as engine:
        yield engine


def once(work: Callable[[], object]) -> Callable[[], None]:
    """Does its work on the first call only."""
    left = [work]

    def call() -> None:
        if left:
            left.pop()()

    return call


def clean(engine: Engine) -> bool:
    drift = engine.soma.inspect(SCOPE)
    return drift.is_clean and not drift.pending


def late(engine: Engine, text: str, **fields: str) -> StoreReceipt:
    """Store something whose words the storing thread does not bring in."""
    engine.index.opened = False
    receipt = engine.store(text, **fields)
    engine.index.opened = True
    return receipt


def test_words_come_in_with_the_store_and_vectors_after(engine: Engine) -> None:
    assert engine.store("alpha").indexed == "lexical"
    assert [point.vector for point in engine.points] == [None]
    assert engine.soma.index(SCOPE) == 1
    assert [point.vector is not None for point in engine.points] == [True]
    assert clean(engine)


def test_words_never_overwrite_vectors(engine: Engine) -> None:
    for n in range(5):
        engine.store(f"alpha {n}")
    engine.soma.index(SCOPE)
    for n in range(5):
        engine.store(f"beta {n}")
    engine.soma.indexing.words_step(NAMESPACE)
    assert sum(point.vector is not None for point in engine.points) == 5


def test_words_of_an_index_begun_anew_never_overwrite_its_vectors(engine: Engine) -> None:
    # A words step that waited for `begin_anew` with the old position goes on beside the new one.
    indexing = engine.soma.indexing
    late(engine, "alpha")
    at_reset, may_reset = threading.Event(), threading.Event()
    at_put, may_put = threading.Event(), threading.Event()

    def hold_reset() -> None:
        at_reset.set()
        assert may_reset.wait(5)

    def hold_put() -> None:
        if threading.current_thread() is worker:
            at_put.set()
            assert may_put.wait(5)

    engine.index.before.update(reset=once(hold_reset), put=hold_put)
    reindex = threading.Thread(target=indexing.begin_anew, args=[NAMESPACE])
    worker = threading.Thread(target=indexing.words_step, args=[NAMESPACE])
    reindex.start()
    assert at_reset.wait(5)
    worker.start()
    while not worker_waits(indexing):
        threading.Event().wait(0.001)
    may_reset.set()
    reindex.join()
    at_put.wait(0.5)
    other = threading.Thread(target=engine.soma.index, args=[SCOPE])
    other.start()
    other.join(0.5)
    may_put.set()
    worker.join()
    other.join()
    engine.soma.index(SCOPE)
    assert [point.vector is not None for point in engine.points] == [True]
    assert clean(engine)


def worker_waits(indexing: module.Indexing) -> bool:
    lock = indexing._entry(NAMESPACE).lock
    if lock.acquire(blocking=False):
        lock.release()
        return False
    return threading.active_count() >= 3


def test_a_forget_racing_the_indexer_leaves_no_point(engine: Engine) -> None:
    receipt = late(engine, "alpha")
    engine.index.before["put"] = once(lambda: engine.forget(receipt))
    engine.soma.index(SCOPE)
    assert engine.points == []
    assert clean(engine)


def test_a_forget_while_its_vectors_are_being_embedded_leaves_no_point(engine: Engine) -> None:
    receipt = engine.store("alpha")
    engine.embedder.before = once(lambda: engine.forget(receipt, purge=True))
    engine.soma.index(SCOPE)
    assert engine.points == []
    assert clean(engine)


def test_a_revise_while_the_vectors_of_the_older_version_are_being_embedded(engine: Engine) -> None:
    engine.store("alpha", coordinate="1")
    engine.embedder.before = once(lambda: engine.store("beta", coordinate="1"))
    engine.soma.index(SCOPE)
    assert {(point.version, point.current) for point in engine.points} == {(1, False), (2, True)}
    assert engine.texts("alpha beta") == ["beta"]
    assert clean(engine)


def test_a_forget_and_a_new_beginning_while_the_old_text_is_being_embedded(engine: Engine) -> None:
    first = engine.store("alpha", coordinate="1")

    def meanwhile() -> None:
        engine.forget(first)
        engine.store("beta", coordinate="1")

    engine.embedder.before = once(meanwhile)
    engine.soma.index(SCOPE)
    assert {(point.version, point.current) for point in engine.points} == {(3, True)}
    assert engine.texts("alpha beta") == ["beta"]
    assert clean(engine)


def test_a_late_replay_brings_nothing_back(engine: Engine) -> None:
    gone = engine.store("alpha")
    engine.store("beta", coordinate="1")
    engine.store("gamma", coordinate="1")
    engine.forget(gone)
    engine.soma.index(SCOPE)
    before = sorted(map(repr, engine.points))
    engine.index.checkpoints.clear()
    engine.restart()
    engine.soma.index(SCOPE)
    assert sorted(map(repr, engine.points)) == before
    assert clean(engine)


def test_a_power_cut_that_takes_what_was_not_flushed_is_replayed(engine: Engine) -> None:
    engine.store("alpha")
    gone = engine.store("beta")
    engine.soma.index(SCOPE)
    at_flush = dict(engine.index.kept[NAMESPACE])
    engine.store("gamma")
    engine.forget(gone)
    engine.soma.indexing.words_step(NAMESPACE)
    engine.soma.indexing.vectors_step(NAMESPACE, 64)
    engine.index.kept[NAMESPACE] = at_flush
    engine.restart()
    assert sorted(engine.texts("alpha beta gamma")) == ["alpha", "gamma"]
    engine.soma.index(SCOPE)
    assert clean(engine)


def test_the_position_does_not_move_before_the_flush(engine: Engine) -> None:
    engine.store("alpha")
    engine.soma.indexing.words_step(NAMESPACE)
    engine.soma.indexing.vectors_step(NAMESPACE, 64)
    assert engine.index.checkpoints == {}
    engine.soma.indexing.flush(NAMESPACE, idle=False)
    assert engine.index.flushes == []
    engine.soma.indexing.flush(NAMESPACE, idle=True)
    assert engine.index.flushes == [(NAMESPACE, Checkpoint(1, 1))]


def test_a_flush_that_fails_leaves_the_position_where_it_was(engine: Engine) -> None:
    engine.store("alpha")

    def fail() -> None:
        raise Unavailable("no")

    engine.index.before["flush"] = fail
    with pytest.raises(Unavailable):
        engine.soma.index(SCOPE)
    del engine.index.before["flush"]
    assert engine.soma.indexing.behind()
    assert engine.soma.indexing.settle(NAMESPACE)
    assert engine.index.checkpoints[NAMESPACE] == Checkpoint(1, 1)


def test_a_write_that_fails_is_done_again(engine: Engine) -> None:
    late(engine, "alpha")

    def fail() -> None:
        raise Unavailable("no")

    engine.index.before["put"] = once(fail)
    with pytest.raises(Unavailable):
        engine.soma.index(SCOPE)
    assert engine.texts("alpha") == ["alpha"]
    engine.soma.index(SCOPE)
    assert clean(engine)


def test_the_vectors_position_never_passes_the_words(engine: Engine) -> None:
    late(engine, "alpha")
    late(engine, "beta")
    assert engine.soma.indexing.vectors_step(NAMESPACE, 64) == 0
    engine.soma.index(SCOPE)
    assert all(checkpoint.vectors <= checkpoint.words for _, checkpoint in engine.index.flushes)
    assert clean(engine)


def test_a_text_whose_embedding_fails_is_found_by_its_words_and_stops_nothing(engine: Engine) -> None:
    for text in ("alpha", "poison", "beta"):
        engine.store(text)
    engine.embedder.fails = lambda text: "poison" in text
    assert engine.soma.index(SCOPE) == 3
    assert sum(point.vector is not None for point in engine.points) == 2
    assert engine.texts("poison")[0] == "poison"
    assert any("1 passages could not be embedded" in note for note in engine.soma.status(SCOPE).health)
    assert engine.index.checkpoints[NAMESPACE] == Checkpoint(3, 3)


def test_while_the_model_is_away_nothing_counts_as_failed_and_all_is_embedded_later(engine: Engine) -> None:
    for text in ("alpha", "beta"):
        engine.store(text)
    engine.embedder.away = True
    with pytest.raises(Unavailable, match="the model is away"):
        engine.soma.index(SCOPE)
    assert engine.texts("alpha") == ["alpha"]
    assert [point.vector for point in engine.points] == [None, None]
    engine.embedder.away = False
    engine.soma.index(SCOPE)
    assert engine.soma.status(SCOPE).health == []
    assert clean(engine)


def test_a_model_that_goes_away_between_the_texts_of_a_batch_counts_none_as_failed(engine: Engine) -> None:
    engine.store("alpha")
    engine.store("beta")

    def fail_then_leave(text: str) -> bool:
        engine.embedder.away = True
        return True

    engine.embedder.fails = fail_then_leave
    with pytest.raises(Unavailable):
        engine.soma.index(SCOPE)
    engine.embedder.away, engine.embedder.fails = False, lambda text: False
    engine.soma.index(SCOPE)
    assert engine.soma.status(SCOPE).health == []
    assert clean(engine)


def test_without_a_model_the_words_are_in_and_the_vectors_wait(engine: Engine) -> None:
    late(engine, "alpha")
    engine.embedder.ready, engine.embedder.missing = False, True
    with pytest.raises(ModelMissing):
        engine.soma.index(SCOPE)
    assert engine.texts("alpha") == ["alpha"]
    engine.embedder.missing = False
    engine.soma.index(SCOPE)
    assert clean(engine)


def test_a_stop_in_the_middle_is_finished_by_the_next_start(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points, "PORTION_CHARS", 10)
    for n in range(4):
        engine.store(f"alpha {n}")
    engine.embedder.before = once(engine.soma.indexing.stop)
    with pytest.raises(Interrupted):
        engine.soma.index(SCOPE)
    assert len(engine.embedder.calls) == 1
    engine.restart()
    engine.soma.index(SCOPE)
    assert clean(engine)


def test_begin_anew_empties_the_index_and_says_so_until_it_is_rebuilt(engine: Engine) -> None:
    engine.store("alpha")
    engine.soma.index(SCOPE)
    engine.soma.indexing.begin_anew(NAMESPACE)
    assert engine.points == []
    assert engine.texts("alpha") == ["alpha"]
    assert any("being rebuilt" in note for note in engine.soma.status(SCOPE).health)
    engine.soma.index(SCOPE)
    assert engine.soma.status(SCOPE).health == []
    assert clean(engine)


def test_begin_anew_while_another_thread_first_asks_for_the_position(engine: Engine) -> None:
    engine.store("alpha")
    engine.soma.index(SCOPE)
    engine.restart()
    engine.index.after["checkpoint"] = once(lambda: engine.soma.indexing.begin_anew(NAMESPACE))
    assert engine.texts("alpha") == ["alpha"]
    engine.soma.index(SCOPE)
    assert len(engine.points) == 1
    assert clean(engine)


def lose(engine: Engine) -> None:
    """As the index does when somebody deletes its files: it starts empty and says so."""
    engine.index.kept.clear()
    engine.index.checkpoints.clear()
    engine.index.notes.append(f"the index of {NAMESPACE!r} was deleted while it was in use")


def test_a_position_is_not_left_on_an_index_that_was_lost_as_it_was_flushed(engine: Engine) -> None:
    engine.store("alpha")
    indexing = engine.soma.indexing
    indexing.words_step(NAMESPACE)
    indexing.vectors_step(NAMESPACE, 64)

    def lost_and_noticed() -> None:
        lose(engine)
        indexing.backlog(NAMESPACE)

    engine.index.before["flush"] = once(lost_and_noticed)
    indexing.flush(NAMESPACE, idle=True)
    engine.index.notes.clear()
    engine.restart()
    assert engine.texts("alpha") == ["alpha"]


def test_an_index_that_was_lost_is_noticed_at_the_next_start(engine: Engine) -> None:
    engine.store("alpha")
    engine.soma.index(SCOPE)
    engine.index.kept.clear()
    engine.index.checkpoints.clear()
    engine.restart()
    assert engine.texts("alpha") == ["alpha"]
    assert any("gone" in note for note in engine.soma.status(SCOPE).health)
    engine.soma.index(SCOPE)
    assert engine.soma.status(SCOPE).health == []
    assert clean(engine)


def test_without_room_nothing_is_written_and_it_goes_on_when_there_is(engine: Engine) -> None:
    engine.room = False
    assert engine.store("alpha").indexed == "none"
    engine.soma.index(SCOPE)
    assert engine.points == []
    assert engine.texts("alpha") == ["alpha"]
    assert any("below its reserve" in note for note in engine.soma.status(SCOPE).health)
    engine.room = True
    engine.soma.index(SCOPE)
    assert clean(engine)


def test_a_namespace_is_behind_until_it_is_flushed(engine: Engine) -> None:
    indexing = engine.soma.indexing
    assert indexing.behind() == []
    engine.store("alpha")
    assert indexing.behind() == [NAMESPACE]
    assert not indexing.settle(NAMESPACE)
    assert indexing.behind() == [NAMESPACE]
    engine.soma.index(SCOPE)
    assert indexing.settle(NAMESPACE)
    assert indexing.behind() == []
    engine.restart()
    assert engine.soma.indexing.behind() == [NAMESPACE]


def test_words_are_left_to_the_indexer_when_another_thread_is_at_it(engine: Engine) -> None:
    progress = engine.soma.indexing._of(NAMESPACE)
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with progress.lock:
            held.set()
            assert done.wait(5)

    other = threading.Thread(target=hold)
    other.start()
    assert held.wait(5)
    assert engine.store("alpha").indexed == "none"
    done.set()
    other.join()
    assert engine.store("beta").indexed == "lexical"
    assert len(engine.points) == 2


def test_a_failing_index_never_fails_a_store(engine: Engine) -> None:
    def fail() -> None:
        raise Unavailable("no")

    engine.index.before["put"] = fail
    assert engine.store("alpha").indexed == "none"
    del engine.index.before["put"]
    engine.soma.index(SCOPE)
    assert clean(engine)


def test_every_passage_of_a_long_text_gets_its_own_vector_in_its_own_place(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(points, "PORTION_CHARS", 2_000)
    sentence = {n: f"Passage {n} " + "filler " * (170 - 20 * n) + "ends. " for n in range(5)}
    text = "".join(sentence.values())
    engine.store(text)
    engine.soma.index(SCOPE)
    passages = split_passages(text)
    assert all(list(point.vector) == embed(passages[point.passage]) for point in engine.points)
    assert len({point.passage for point in engine.points}) == len(engine.points) > 1


def test_inspect_counts_what_is_missing_unembedded_and_stale(engine: Engine) -> None:
    for text in ("alpha", "beta", "gamma"):
        engine.store(text)
    gone = engine.store("delta")
    engine.soma.index(SCOPE)
    kept = engine.index.kept[NAMESPACE]
    a, b, *_ = kept
    stale = kept[gone.id, 1, 0]
    engine.forget(gone)
    kept[gone.id, 1, 0] = stale
    del kept[a]
    kept[b] = replace(kept[b], vector=None)
    drift = engine.soma.inspect(SCOPE)
    assert (drift.memories, drift.missing, drift.unembedded, drift.stale) == (3, 1, 1, 1)


def test_status_says_since_when_the_oldest_change_waits(engine: Engine) -> None:
    engine.store("alpha")
    stored = engine.clock()
    engine.clock.advance(minutes=5)
    engine.store("beta")
    assert engine.soma.status(SCOPE).pending_oldest == stored
    engine.soma.index(SCOPE)
    assert engine.soma.status(SCOPE).pending_oldest is None


def test_a_namespace_whose_flush_failed_stays_behind(engine: Engine) -> None:
    engine.store("alpha")
    engine.soma.indexing.words_step(NAMESPACE)
    engine.index.before["flush"] = once(away)
    with pytest.raises(Unavailable):
        engine.soma.indexing.settle(NAMESPACE)
    assert engine.soma.indexing.behind() == [NAMESPACE]
    engine.soma.index(SCOPE)
    assert clean(engine)


def away() -> None:
    raise Unavailable("the index is away")


def test_a_namespace_whose_index_is_away_does_not_keep_the_others_waiting(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = ("a", "b", "c")
    engine.index.opened = False
    for name in (NAMESPACE, *others):
        engine.soma.store(Scope(name, "tests"), NewMemory.parse("alpha"))
    put = engine.index.put

    def some(namespace: str, points: Sequence[IndexPoint]) -> None:
        if namespace == NAMESPACE:
            away()
        put(namespace, points)

    monkeypatch.setattr(engine.index, "put", some)
    indexer = VectorIndexer(engine.soma, threading.Event())
    for _ in range(2):
        with pytest.raises(Unavailable):
            indexer.step()
    assert all(point.vector for name in others for point in engine.index.kept[name].values())
    assert engine.index.kept.keys() == set(others)


def test_a_model_that_goes_away_is_not_asked_again_for_each_namespace(engine: Engine) -> None:
    for name in ("a", "b", "c"):
        engine.soma.store(Scope(name, "tests"), NewMemory.parse("alpha"))
    asked: list[str] = []

    def gone() -> None:
        asked.append("once")
        engine.embedder.ready = False
        away()

    engine.embedder.before = gone
    with pytest.raises(Unavailable):
        VectorIndexer(engine.soma, threading.Event()).step()
    assert asked == ["once"]
