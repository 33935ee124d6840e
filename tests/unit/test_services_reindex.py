"""Building the index anew: each test is something that could be lost, come back or be seen meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from soma_core.domain.errors import Conflict, ModelMissing, Unavailable
from soma_core.domain.generations import Generation, Generations
from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.query import RecallQuery
from soma_core.engine import Soma
from soma_core.services import indexing as following
from soma_core.services.serving import Serving
from tests.support.builds import FIRST
from tests.support.embedder import DIMENSIONS, HashEmbedder
from tests.support.engine import NAMESPACE, SCOPE, Engine, opened, soma_over
from workers.embedded import Workers

PATIENCE = 10


class OtherEmbedder(HashEmbedder):
    """Another model: its vectors have two more numbers."""

    model_id = "other:float64"
    dimensions = DIMENSIONS + 2

    def embed_query(self, text: str) -> list[float]:
        return [*super().embed_query(text), 0.0, 0.0]

    def embed_passages(self, texts: object) -> list[list[float]]:  # type: ignore[override]
        return [[*vector, 0.0, 0.0] for vector in super().embed_passages(texts)]  # type: ignore[arg-type]


class PowerCut(BaseException):
    """The process ends here."""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with opened(tmp_path) as engine:
        yield engine


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """An engine with 20 memories, all in the index."""
    for n in range(20):
        engine.store(f"alpha number {n}")
    engine.soma.index(SCOPE)
    return engine


def clean(soma: Soma) -> bool:
    drift = soma.inspect(SCOPE)
    return drift.is_clean and not drift.pending


def standing(engine: Engine) -> Generations:
    found = engine.records.generations()
    assert found is not None
    return found


def test_the_new_index_serves_and_the_old_one_is_deleted(filled: Engine, caplog: pytest.LogCaptureFixture) -> None:
    before = filled.recall("alpha number 7")
    done = filled.soma.reindex(SCOPE)
    assert (done.events, done.generation, done.model, done.kept) == (20, 2, HashEmbedder.model_id, [])
    assert standing(filled) == Generations(Generation(2, HashEmbedder.model_id, DIMENSIONS), last=2)
    assert filled.builds.kept.keys() == {2}
    assert filled.recall("alpha number 7").hits == before.hits
    assert filled.soma.status(SCOPE).health == []
    assert clean(filled.soma)
    assert filled.soma.reindex(SCOPE).generation == 3
    assert caplog.messages == []


def test_recall_during_a_rebuild_answers_as_before(filled: Engine) -> None:
    before = filled.recall("alpha number 7")
    during = []
    filled.embedder.before = lambda: during.append(filled.recall("alpha number 7"))
    filled.soma.reindex(SCOPE)
    assert during
    assert all(answer == before for answer in during)
    assert before.degraded == []


def test_progress_is_told_over_all_namespaces(filled: Engine) -> None:
    filled.soma.store(Scope("another"), NewMemory.parse("beta"))
    told: list[tuple[int, int]] = []
    filled.soma.reindex(SCOPE, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (21, 21)
    assert told == sorted(told)


def test_what_is_stored_revised_and_forgotten_during_a_rebuild_is_so_in_the_new_index(filled: Engine) -> None:
    gone = filled.store("gamma gone")
    purged = filled.store("gamma purged")
    filled.store("gamma old", coordinate="1")

    def change() -> None:
        filled.embedder.before = lambda: None
        filled.store("gamma fresh")
        filled.store("gamma new", coordinate="1")
        filled.forget(gone)
        filled.forget(purged, purge=True)

    filled.embedder.before = change
    filled.soma.reindex(SCOPE)
    filled.soma.index(SCOPE)
    assert set(filled.texts("gamma", limit=5)) >= {"gamma fresh", "gamma new"}
    assert clean(filled.soma)
    held = {point.memory_id for point in filled.soma.serving.built.index.points(NAMESPACE)}
    assert not held & {gone.id, purged.id}


def test_a_call_at_work_ends_on_the_index_that_it_began_with(filled: Engine) -> None:
    at_search, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        at_search.set()
        assert may_go.wait(PATIENCE)

    filled.index.before["search"] = hold
    answers = []
    asking = threading.Thread(target=lambda: answers.append(filled.recall("alpha number 7")))
    asking.start()
    assert at_search.wait(PATIENCE)
    rebuilding = threading.Thread(target=filled.soma.reindex, args=[SCOPE])
    rebuilding.start()
    while filled.soma.serving.built.generation.number == 1:
        threading.Event().wait(0.001)
    assert filled.texts("alpha number 9")[0] == "alpha number 9"
    assert not filled.index.broken
    assert rebuilding.is_alive()
    may_go.set()
    asking.join()
    rebuilding.join()
    assert answers[0].degraded == []
    assert answers[0].hits[0].memory.text == "alpha number 7"
    assert filled.index.broken


def test_a_rebuild_that_was_cut_off_is_gone_on_with_and_the_old_index_serves_until_then(
    filled: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "FLUSH_POINTS", 1)
    monkeypatch.setattr("soma_core.services.reindex.EMBED_BATCH", 5)
    monkeypatch.setattr("soma_core.services.reindex.QUIET_SECONDS", -1)

    def cut(done: int, total: int) -> None:
        if done == 10:
            raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(Serving, "close", lambda serving: None)
        with pytest.raises(PowerCut):
            filled.soma.reindex(SCOPE, progress=cut)
    filled.restart()
    assert standing(filled).building == Generation(2, HashEmbedder.model_id, DIMENSIONS)
    assert filled.soma.serving.built.generation == Generation(1, HashEmbedder.model_id, DIMENSIONS)
    assert filled.texts("alpha number 7")[0] == "alpha number 7"
    assert clean(filled.soma)
    filled.embedder.calls.clear()
    assert filled.soma.reindex(SCOPE).events == 20
    assert sum(map(len, filled.embedder.calls)) == 10
    assert standing(filled).serving.number == 2
    assert clean(filled.soma)


def test_after_a_power_cut_right_after_the_switch_the_new_index_serves_and_the_old_one_goes(
    filled: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object) -> None:
        raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr("soma_core.services.serving.Current.switch", cut)
        with pytest.raises(PowerCut):
            filled.soma.reindex(SCOPE)
    filled.restart()
    assert filled.soma.serving.built.generation.number == 2
    assert filled.texts("alpha number 7")[0] == "alpha number 7"
    assert clean(filled.soma)
    assert filled.builds.kept.keys() == {1, 2}
    filled.soma.housekeep()
    assert filled.builds.kept.keys() == {2}
    assert standing(filled).retired == ()


def test_another_model_serves_with_its_index_at_once(filled: Engine) -> None:
    filled.models.others["other"] = OtherEmbedder()
    done = filled.soma.reindex(SCOPE, model="other")
    assert done.model == filled.soma.status(SCOPE).model == "other:float64"
    assert filled.texts("alpha number 7")[0] == "alpha number 7"
    filled.store("beta")
    filled.soma.index(SCOPE)
    assert {len(p.vector or ()) for p in filled.builds.kept[2].kept[NAMESPACE].values()} == {DIMENSIONS + 2}
    assert clean(filled.soma)
    filled.restart()
    assert filled.texts("beta")[0] == "beta"


def test_a_model_that_cannot_be_had_changes_nothing(filled: Engine) -> None:
    filled.models.others["other"] = OtherEmbedder(ready=False, missing=True)
    with pytest.raises(ModelMissing):
        filled.soma.reindex(SCOPE, model="other")
    assert standing(filled).serving == FIRST
    assert filled.texts("alpha number 7")[0] == "alpha number 7"
    assert filled.soma.reindex(SCOPE).model == HashEmbedder.model_id


def test_a_half_done_index_of_another_model_is_given_up_and_deleted(filled: Engine) -> None:
    filled.models.others["other"] = OtherEmbedder()
    with pytest.raises(PowerCut):
        filled.soma.reindex(SCOPE, model="other", progress=_cut)
    assert filled.builds.kept.keys() == {1, 2}
    assert filled.soma.reindex(SCOPE).generation == 3
    assert filled.builds.kept.keys() == {3}
    assert standing(filled).retired == ()
    assert clean(filled.soma)


def _cut(done: int, total: int) -> None:
    raise PowerCut


def test_dropping_deletes_what_was_half_done(filled: Engine) -> None:
    with pytest.raises(PowerCut):
        filled.soma.reindex(SCOPE, progress=_cut)
    assert filled.soma.drop_old(SCOPE) == [2]
    assert filled.builds.kept.keys() == {1}
    assert filled.soma.drop_old(SCOPE) == []
    assert filled.texts("alpha number 7")[0] == "alpha number 7"


def test_two_at_once_are_refused(filled: Engine) -> None:
    refused: list[Conflict] = []

    def again() -> None:
        with pytest.raises(Conflict) as raised:
            filled.soma.reindex(SCOPE)
        refused.append(raised.value)

    filled.embedder.before = again
    filled.soma.reindex(SCOPE)
    assert "soma reindex" in refused[0].message
    assert standing(filled).serving.number == 2


def test_a_build_that_another_process_gave_up_does_not_serve(filled: Engine) -> None:
    def give_up() -> None:
        found = standing(filled)
        assert filled.records.change_generations(found, found.planning(Generation(0, "third", 8)))

    filled.embedder.before = give_up
    with pytest.raises(Conflict, match="another process"):
        filled.soma.reindex(SCOPE)
    assert standing(filled).serving == FIRST
    assert filled.texts("alpha number 7")[0] == "alpha number 7"


def test_on_a_disk_below_its_reserve_the_old_index_goes_on(filled: Engine) -> None:
    def fill_up() -> None:
        filled.room = False

    filled.embedder.before = fill_up
    with pytest.raises(Unavailable):
        filled.soma.reindex(SCOPE)
    assert standing(filled).serving == FIRST
    filled.room, filled.embedder.before = True, lambda: None
    assert filled.texts("alpha number 7")[0] == "alpha number 7"
    assert filled.soma.reindex(SCOPE).generation == 2
    assert clean(filled.soma)


def test_a_disk_that_fills_between_two_batches_does_not_let_half_an_index_serve(
    filled: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soma_core.services.reindex.EMBED_BATCH", 5)
    monkeypatch.setattr("soma_core.services.reindex.QUIET_SECONDS", -1)

    def fill_up(done: int, total: int) -> None:
        filled.room = False

    with pytest.raises(Unavailable):
        filled.soma.reindex(SCOPE, progress=fill_up)
    filled.room = True
    assert standing(filled).serving == FIRST
    assert filled.recall("alpha number 7").degraded == []


def test_an_engine_that_is_closed_in_mid_build_is_gone_on_with(filled: Engine) -> None:
    at_work, closing = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    def hold() -> None:
        at_work.set()
        assert closing.wait(PATIENCE)

    def rebuild() -> None:
        try:
            filled.soma.reindex(SCOPE)
        except Unavailable as error:
            failed.append(error)

    filled.embedder.before = hold
    rebuilding = threading.Thread(target=rebuild)
    rebuilding.start()
    assert at_work.wait(PATIENCE)
    leaving = threading.Thread(target=filled.soma.close)
    leaving.start()
    while not filled.soma._reindexing._stopping:
        threading.Event().wait(0.001)
    closing.set()
    rebuilding.join(PATIENCE)
    leaving.join(PATIENCE)
    assert "goes on" in str(failed[0])
    filled.embedder.before = lambda: None
    filled.restart()
    assert filled.texts("alpha number 7")[0] == "alpha number 7"
    assert filled.soma.reindex(SCOPE).generation == 2
    assert clean(filled.soma)


def test_what_a_call_on_the_old_index_stored_is_told_to_the_new_one(
    filled: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed, may_go = threading.Event(), threading.Event()

    def hold(namespace: str) -> None:
        committed.set()
        assert may_go.wait(PATIENCE)

    monkeypatch.setattr(filled.soma.indexing, "changed", hold)
    storing = threading.Thread(target=filled.store, args=["beta"])
    storing.start()
    assert committed.wait(PATIENCE)
    rebuilding = threading.Thread(target=filled.soma.reindex, args=[SCOPE])
    rebuilding.start()
    while filled.soma.serving.built.generation.number == 1:
        threading.Event().wait(0.001)
    filled.soma.indexing.settle(NAMESPACE)
    assert filled.soma.indexing.behind() == []
    may_go.set()
    storing.join()
    rebuilding.join()
    assert filled.soma.indexing.behind() == [NAMESPACE]


def test_what_is_stored_during_the_switch_gets_its_vectors(filled: Engine) -> None:
    with Workers(filled.soma):
        for n in range(5):
            filled.soma.reindex(SCOPE)
            filled.store(f"beta number {n}")
        waited = threading.Event()
        for _ in range(PATIENCE * 100):
            if filled.soma.indexing.backlog(NAMESPACE) == (0, 0):
                break
            waited.wait(0.01)
    assert filled.soma.indexing.backlog(NAMESPACE) == (0, 0)
    assert clean(filled.soma)


class TestShared:
    """Two processes on the same records and the same index server."""

    @pytest.fixture
    def shared(self, engine: Engine) -> Engine:
        engine.builds.shared = True
        engine.restart()
        for n in range(20):
            engine.store(f"alpha number {n}")
        engine.soma.index(SCOPE)
        return engine

    def neighbour(self, shared: Engine) -> Soma:
        index = shared.builds.open(standing(shared).serving if shared.records.generations() else FIRST)
        return soma_over(shared.records, index, builds=shared.builds, models=shared.models, clock=shared.clock)

    def test_a_process_with_the_same_model_goes_over_when_it_looks(self, shared: Engine) -> None:
        other = self.neighbour(shared)
        done = shared.soma.reindex(SCOPE)
        assert done.kept == [1]
        assert shared.builds.kept.keys() == {1, 2}
        assert recalled(other, "alpha number 7")[0] == "alpha number 7"
        shared.store("beta")
        shared.soma.index(SCOPE)
        other.follow_switch()
        assert other.serving.built.generation.number == 2
        assert recalled(other, "beta")[0] == "beta"
        assert clean(other)
        assert other.status(SCOPE).health == []

    def test_a_process_with_another_model_goes_on_with_its_own_and_says_so(self, shared: Engine) -> None:
        shared.models.others["other"] = OtherEmbedder()
        other = self.neighbour(shared)
        shared.soma.reindex(SCOPE, model="other")
        other.follow_switch()
        assert other.serving.built.generation.number == 1
        assert recalled(other, "alpha number 7")[0] == "alpha number 7"
        assert any("SOMA_EMBEDDING_MODEL" in notice for notice in other.status(SCOPE).health)
        shared.store("beta")
        other.index(SCOPE)
        assert recalled(other, "beta")[0] == "beta"

    def test_a_process_with_another_sparse_model_stays_where_it_is_and_says_so(self, shared: Engine) -> None:
        other = self.neighbour(shared)
        shared.soma.reindex(SCOPE)
        found = standing(shared)
        switched = replace(found, serving=replace(found.serving, sparse_model_id="other"))
        assert shared.records.change_generations(found, switched)
        other.follow_switch()
        assert other.serving.built.generation.number == 1
        assert any("SOMA_SPARSE_MODEL" in notice for notice in other.status(SCOPE).health)

    def test_the_old_index_goes_when_it_is_dropped_or_with_the_next_rebuild(self, shared: Engine) -> None:
        shared.soma.reindex(SCOPE)
        shared.soma.housekeep()
        assert shared.builds.kept.keys() == {1, 2}
        assert shared.soma.drop_old(SCOPE) == [1]
        assert shared.builds.kept.keys() == {2}
        assert shared.soma.reindex(SCOPE).kept == [2]
        assert shared.soma.reindex(SCOPE).kept == [3]
        assert shared.builds.kept.keys() == {3, 4}


def recalled(soma: Soma, question: str) -> list[str]:
    return [hit.memory.text for hit in soma.recall(SCOPE, RecallQuery.parse(question)).hits]
