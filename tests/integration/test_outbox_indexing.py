"""Indexers elsewhere: the records in Postgres, each soma here as in a process of its own, the index between them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from soma_core.adapters.postgres.records import PostgresRecordStore
from soma_core.adapters.qdrant.edge import EdgeIndex
from soma_core.bootstrap import create_memory_system
from soma_core.domain.errors import InvalidInput, ModelMismatch, ModelMissing, Unavailable
from soma_core.domain.events import Event
from soma_core.domain.generations import Generation, Generations
from soma_core.domain.memory import NewMemory
from soma_core.domain.query import RecallQuery
from soma_core.domain.receipts import StoreReceipt
from soma_core.engine import Soma
from soma_core.ports.builds import Trained
from soma_core.ports.index import VectorIndex
from soma_core.ports.outbox import Outbox
from soma_core.services.copies import LogDrift
from soma_core.services.generations import serving_generation
from soma_core.services.tracking import NotEmbedded, take_over
from soma_core.settings import load_settings
from tests.support.builds import FIRST, HashModels, MemoryBuilds
from tests.support.clock import FixedClock
from tests.support.embedder import HashEmbedder
from tests.support.engine import NAMESPACE, SCOPE, soma_over
from tests.support.index import MemoryIndex
from tests.support.postgres import PostgresServer


class OwnBuilds(MemoryBuilds):
    """The indexes that all have, in the hands of one process: what it closes or stops at is its own."""

    def __init__(self, common: MemoryBuilds) -> None:
        super().__init__(shared=True)
        self._common = common
        self.index = MemoryIndex()
        """The last that was opened."""

    def open(self, generation: Generation) -> MemoryIndex:
        common = self._common.open(generation)
        self.index = MemoryIndex()
        self.index.kept, self.index.checkpoints = common.kept, common.checkpoints
        return self.index


class Side:
    """A process: its connections, its model, its engine."""

    def __init__(self, database: str, common: MemoryBuilds, index: VectorIndex | None, clock: FixedClock) -> None:
        self.builds = builds = OwnBuilds(common)
        self.records = PostgresRecordStore(database, pool_size=4, clock=clock)
        self.embedder = HashEmbedder()
        generations = self.records.generations() or Generations(FIRST)
        self.records.change_generations(None, generations)
        self.soma: Soma = soma_over(
            self.records,
            index or builds.open(generations.serving),
            Trained(self.embedder),
            generations.serving,
            builds=builds,
            models=HashModels(self.embedder),
            clock=clock,
            outbox=self.records.outbox(),
        )

    @property
    def outbox(self) -> Outbox:
        assert self.soma.outbox
        return self.soma.outbox

    def store(self, text: str, **fields: Any) -> StoreReceipt:
        return self.soma.store(SCOPE, NewMemory.parse(text, **fields))

    def forget(self, *receipts: StoreReceipt, purge: bool = False) -> None:
        self.soma.forget(SCOPE, [str(receipt.id) for receipt in receipts], purge=purge)

    def texts(self, question: str) -> list[str]:
        return [hit.memory.text for hit in self.soma.recall(SCOPE, RecallQuery.parse(question)).hits]

    def next(self) -> Sequence[Event]:
        """What a relay would send."""
        events = self.outbox.unsent(1_000)
        self.outbox.mark_sent(events)
        return events

    def work(self) -> None:
        self.soma.apply(self.next())

    @property
    def pending(self) -> tuple[int, int]:
        status = self.soma.status(SCOPE)
        return status.pending_words, status.pending_vectors

    @property
    def clean(self) -> bool:
        drift = self.soma.inspect(SCOPE)
        return drift.is_clean and not drift.pending


class Sides:
    """As many processes as a test needs, on one store and one index."""

    def __init__(self, database: str, stack: ExitStack, index: VectorIndex | None = None) -> None:
        self.database, self.clock, self.builds = database, FixedClock(), MemoryBuilds()
        self._stack, self._index = stack, index
        self.api, self.worker = self.another(), self.another()
        self.api.outbox.begin()
        self.api.outbox.adopted()

    def another(self) -> Side:
        side = Side(self.database, self.builds, self._index, self.clock)
        self._stack.enter_context(closing(side.records))
        return side

    @property
    def index(self) -> MemoryIndex:
        return self.builds.kept[max(self.builds.kept)]

    @property
    def points(self) -> list[Any]:
        return list(self.index.kept.get(NAMESPACE, {}).values())


@pytest.fixture
def sides(database: str) -> Iterator[Sides]:
    with ExitStack() as stack:
        yield Sides(database, stack)


@pytest.fixture
def stalled(sides: Sides) -> Iterator[Callable[[str], Callable[[], None]]]:
    """Lets an indexer stand still with events in hand, before it embeds or before it writes; gives what ends that."""
    pool = ThreadPoolExecutor(1)
    may_go = threading.Event()

    def stalled(where: str) -> Callable[[], None]:
        stalls = threading.Event()

        def hold() -> None:
            if not stalls.is_set():
                stalls.set()
                assert may_go.wait(10)

        if where == "embed":
            sides.worker.embedder.before = hold
        else:
            sides.worker.builds.index.before[where] = hold
        job = pool.submit(sides.worker.soma.apply, sides.worker.next())
        assert stalls.wait(10)

        def go_on() -> None:
            may_go.set()
            job.result()

        return go_on

    yield stalled
    may_go.set()
    pool.shutdown()


def test_what_is_stored_is_found_by_its_words_until_a_worker_has_brought_it_in(database: str, tmp_path: Path) -> None:
    index = EdgeIndex(tmp_path / "index", store_id="s", model_id=FIRST.model_id, dimensions=FIRST.dimensions or 0)
    with ExitStack() as stack:
        stack.enter_context(closing(index))
        sides = Sides(database, stack, index)
        api, worker = sides.api, sides.worker
        assert api.store("the heron stands in the reeds").indexed == "none"
        status = api.soma.status(SCOPE)
        assert (status.pending_words, status.pending_vectors, status.pending_oldest) == (1, 1, sides.clock())
        found = api.soma.recall(SCOPE, RecallQuery.parse("heron"))
        assert [hit.memory.text for hit in found.hits] == ["the heron stands in the reeds"]
        assert any("found by their words only" in each for each in found.degraded)
        worker.work()
        assert (api.pending, api.soma.status(SCOPE).pending_oldest, api.clean) == ((0, 0), None, True)
        found = api.soma.recall(SCOPE, RecallQuery.parse("heron"))
        assert (len(found.hits), found.degraded) == (1, [])
        assert found.hits[0].parts.dense > 0
        assert worker.next() == []


def test_a_process_that_answers_writes_nothing_into_the_index(sides: Sides) -> None:
    api = sides.api
    kept = api.store("alpha")
    api.store("beta", coordinate="1")
    assert api.soma.index(SCOPE) == 0
    api.forget(kept)
    assert api.texts("alpha beta") == ["beta"]
    assert (sides.points, sides.index.flushes, api.soma.indexing.behind()) == ([], [], [])


def test_without_a_model_the_words_of_all_come_in(sides: Sides) -> None:
    for n in range(3):
        sides.api.store(f"alpha {n}")
    sides.worker.embedder.missing = True
    with pytest.raises(ModelMissing):
        sides.worker.work()
    assert sides.api.pending == (0, 3)
    assert len(sides.api.texts("alpha")) == 3
    assert not sides.api.soma.inspect(SCOPE).missing


def test_replayed_events_bring_nothing_back(sides: Sides) -> None:
    api, worker = sides.api, sides.worker
    gone = [api.store("alpha"), api.store("alpha purged")]
    api.store("beta", coordinate="1")
    api.store("gamma", coordinate="1")
    first = worker.next()
    worker.soma.apply(first)
    api.forget(gone[0])
    api.forget(gone[1], purge=True)
    worker.work()
    before = sorted(map(repr, sides.points))
    worker.soma.apply(first)
    assert worker.outbox.adopt(NAMESPACE, 0) == 6
    worker.soma.apply(first)
    worker.work()
    assert sorted(map(repr, sides.points)) == before
    assert api.clean
    assert api.texts("alpha beta gamma") == ["gamma"]


@pytest.mark.parametrize("purge", [False, True], ids=["forget", "purge"])
@pytest.mark.parametrize("where", ["embed", "put"])
def test_a_stalled_indexer_brings_nothing_back(
    sides: Sides, stalled: Callable[[str], Callable[[], None]], where: str, purge: bool
) -> None:
    gone = sides.api.store("alpha")
    go_on = stalled(where)
    sides.api.forget(gone, purge=purge)
    sides.another().work()
    assert sides.api.texts("alpha") == []
    go_on()
    assert (sides.points, sides.api.texts("alpha"), sides.api.clean) == ([], [], True)


@pytest.mark.parametrize("where", ["embed", "put"])
def test_a_stalled_indexer_does_not_undo_what_came_later(
    sides: Sides, stalled: Callable[[str], Callable[[], None]], where: str
) -> None:
    sides.api.store("alpha", coordinate="1")
    go_on = stalled(where)
    sides.api.store("beta", coordinate="1")
    sides.another().work()
    go_on()
    assert {(point.version, point.current) for point in sides.points} == {(1, False), (2, True)}
    assert (sides.api.texts("alpha beta"), sides.api.clean) == (["beta"], True)


def test_two_workers_with_the_same_events_do_no_harm(sides: Sides) -> None:
    for n in range(20):
        sides.api.store(f"alpha {n}", coordinate=str(n % 7))
    events, other = sides.worker.next(), sides.another()
    with ThreadPoolExecutor(2) as pool:
        for job in [pool.submit(side.soma.apply, events) for side in (sides.worker, other)]:
            job.result()
    assert len(sides.api.texts("alpha")) == 7
    assert sides.api.clean


def test_what_cannot_be_embedded_is_found_by_its_words_and_waits_for_its_vector(sides: Sides) -> None:
    for text in ("alpha", "poison", "beta"):
        sides.api.store(text)
    sides.worker.embedder.fails = lambda text: "poison" in text
    events = sides.worker.next()
    for batch in (events, *([event] for event in events)):  # as a runner halves it down to the one
        with nullcontext() if len(batch) == 1 and batch != events[1:2] else pytest.raises(NotEmbedded):
            sides.worker.soma.apply(batch)
    assert sides.api.pending == (0, 1)
    assert sides.api.texts("poison")[0] == "poison"
    assert sides.api.soma.inspect(SCOPE).unembedded == 1

    sides.worker.embedder.fails = lambda text: False
    sides.worker.soma.apply(events[1:2])  # the dead letter is sent again
    assert sides.api.pending == (0, 0)
    assert sides.api.clean


@pytest.mark.parametrize("where", ["put", "retire"])
def test_a_failure_of_the_index_leaves_the_events_to_be_given_again(sides: Sides, where: str) -> None:
    sides.api.store("alpha", coordinate="1")
    sides.api.store("beta", coordinate="1")
    events = sides.worker.next()

    def fail() -> None:
        raise Unavailable("away")

    sides.worker.builds.index.before[where] = fail
    with pytest.raises(Unavailable):
        sides.worker.soma.apply(events)
    del sides.worker.builds.index.before[where]
    assert sides.api.pending == (2, 2)
    assert sides.api.texts("alpha beta") == ["beta"]
    sides.worker.soma.apply(events)
    assert sides.api.clean


def test_status_says_how_long_the_oldest_waits(sides: Sides) -> None:
    sides.api.store("alpha")
    sides.clock.advance(seconds=59)
    assert sides.api.soma.status(SCOPE).health == []
    sides.clock.advance(minutes=5)
    assert any("waits 5 minutes" in note for note in sides.api.soma.status(SCOPE).health)


def test_an_index_that_lost_everything_is_noticed_and_reindex_mends_it(sides: Sides) -> None:
    sides.api.store("alpha")
    sides.worker.work()
    sides.index.kept.clear()
    again = sides.another()
    assert any("run `soma reindex`" in note for note in again.soma.status(SCOPE).health)
    assert not again.soma.verify(SCOPE)[0].is_clean
    again.soma.reindex(SCOPE)
    assert again.texts("alpha") == ["alpha"]
    sides.worker.soma.follow_switch()
    sides.worker.work()
    assert again.clean
    assert again.soma.status(SCOPE).health == []


def test_an_index_that_was_lost_in_use_goes_to_the_workers_again(sides: Sides) -> None:
    sides.api.store("alpha")
    sides.api.store("beta")
    sides.worker.work()
    sides.index.kept.clear()
    sides.api.builds.index.notes.append("the index was deleted while it was in use")
    sides.api.soma.follow_switch()
    assert sides.api.pending == (2, 2)
    assert sides.api.texts("alpha") == ["alpha"]
    sides.worker.work()
    assert sides.api.clean
    sides.api.soma.follow_switch()
    assert sides.api.pending == (0, 0)


def test_an_index_that_was_lost_while_nobody_ran_goes_to_the_workers_again(sides: Sides) -> None:
    sides.api.store("alpha")
    sides.worker.work()
    sides.index.kept.clear()
    again = sides.another()
    again.soma.follow_switch()
    assert again.texts("alpha") == ["alpha"]
    sides.worker.work()
    assert again.clean
    assert again.soma.status(SCOPE).health == []


def test_what_who_was_cut_off_left_to_hand_out_is_handed_out_by_the_next_who_looks(sides: Sides) -> None:
    sides.api.store("alpha")
    sides.worker.work()
    sides.index.kept.clear()
    sides.api.outbox.begin(anew=True)
    sides.worker.soma.follow_switch()
    sides.worker.work()
    assert sides.api.clean


ENGLISH = replace(FIRST, language="english")


@pytest.mark.parametrize(
    ("wanted", "setting"),
    [
        (replace(ENGLISH, language="german"), "SOMA_LANGUAGE"),
        (replace(ENGLISH, sparse_model_id="splade"), "SOMA_SPARSE_MODEL"),
    ],
)
def test_an_index_that_workers_write_is_not_changed_under_them_by_a_setting(
    sides: Sides, wanted: Generation, setting: str
) -> None:
    records = sides.api.records
    assert records.change_generations(records.generations(), Generations(ENGLISH))
    with pytest.raises(ModelMismatch, match=setting):
        serving_generation(records, wanted, accept_model=False, in_place=False)
    assert records.generations() == Generations(ENGLISH)
    assert serving_generation(records, wanted, accept_model=False, in_place=True) == wanted


def test_what_an_older_version_did_not_record_of_an_index_is_no_other_setting(sides: Sides) -> None:
    records = sides.api.records
    assert records.change_generations(records.generations(), Generations(replace(ENGLISH, dimensions=None)))
    assert serving_generation(records, ENGLISH, accept_model=False, in_place=False) == ENGLISH


def test_a_loss_that_could_not_be_handed_out_is_handed_out_later(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    sides.api.store("alpha")
    sides.worker.work()
    sides.index.kept.clear()
    sides.api.builds.index.notes.append("the index was deleted while it was in use")
    with monkeypatch.context() as patched:
        patched.setattr(sides.api.outbox, "begin", away)
        with pytest.raises(Unavailable):
            sides.api.soma.follow_switch()
    sides.api.soma.follow_switch()
    assert sides.api.pending == (1, 1)


def away(**_: object) -> bool:
    raise Unavailable("Postgres is away")


def test_what_a_rebuild_leaves_to_do_is_not_handed_out_to_the_index_before_it(sides: Sides) -> None:
    sides.api.store("alpha")
    sides.worker.work()
    sides.api.soma.follow_switch()
    records = sides.api.records
    found = records.generations()
    assert found
    assert records.change_generations(found, found.planning(ENGLISH))
    sides.worker.outbox.begin(anew=True)
    sides.api.soma.follow_switch()
    assert sides.api.pending == (0, 0)
    assert sides.worker.outbox.begin()


def test_what_was_recorded_without_a_log_is_taken_over(database: str) -> None:
    clock, builds = FixedClock(), MemoryBuilds()
    with closing(PostgresRecordStore(database, clock=clock)) as records:
        follower = soma_over(records, builds.open(FIRST), builds=builds, clock=clock)
        follower.store(SCOPE, NewMemory.parse("alpha"))
        follower.index(SCOPE)
        follower.store(SCOPE, NewMemory.parse("beta"))
    with ExitStack() as stack:
        side = Side(database, builds, None, clock)
        stack.enter_context(closing(side.records))
        assert side.outbox.begin()
        assert take_over(side.records.log(), builds.open(FIRST), side.outbox) == 1
        assert not side.outbox.begin()
        assert side.pending == (1, 1)
        assert sorted(side.texts("alpha beta")) == ["alpha", "beta"]
        side.work()
        assert side.clean


def test_a_worker_on_an_older_generation_brings_in_nothing_until_it_follows(sides: Sides) -> None:
    sides.api.store("alpha")
    sides.worker.work()
    sides.api.soma.reindex(SCOPE)
    sides.worker.work()
    late = sides.another()
    sides.api.store("beta")
    events = sides.worker.next()
    with pytest.raises(Unavailable, match="another generation"):
        sides.worker.soma.apply(events)
    assert sides.api.pending == (1, 1)
    sides.worker.soma.follow_switch()
    sides.worker.soma.apply(events)
    assert late.clean
    assert "beta" in sides.api.texts("beta")


def test_a_process_that_answers_from_an_older_generation_finds_what_came_since(sides: Sides) -> None:
    sides.api.store("alpha")
    sides.worker.work()
    sides.worker.soma.reindex(SCOPE)
    sides.api.store("beta")
    sides.worker.work()
    assert sides.worker.clean
    assert sorted(sides.api.texts("alpha beta")) == ["alpha", "beta"]
    sides.api.soma.follow_switch()
    assert sorted(sides.api.texts("alpha beta")) == ["alpha", "beta"]


def test_a_process_on_an_older_generation_says_how_much_it_does_not_find(
    sides: Sides, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soma_core.services.tracking.PENDING_LIMIT", 3)
    sides.worker.soma.reindex(SCOPE)
    for n in range(8):
        sides.api.store(f"alpha {n}")
    sides.worker.work()
    found = sides.api.soma.recall(SCOPE, RecallQuery.parse("alpha"))
    assert len(found.hits) == 3
    assert any(said.startswith("words: 5 memories") for said in found.degraded)


def test_what_workers_bring_in_while_the_index_is_built_anew_is_in_the_new_one(sides: Sides) -> None:
    for n in range(5):
        sides.api.store(f"alpha {n}")
    sides.worker.work()
    building = sides.another()
    change = building.records.change_generations

    def meanwhile(found: Generations | None, wanted: Generations) -> bool:
        if found and found.building and not wanted.building:  # all was followed; now comes the switch
            gone = sides.api.store("beta gone")
            sides.api.store("beta")
            sides.worker.work()
            sides.api.forget(gone)
            sides.worker.work()
            assert sides.api.pending == (0, 0)
        return change(found, wanted)

    building.records.change_generations = meanwhile
    building.soma.reindex(SCOPE)
    assert "beta" in building.texts("beta")
    sides.worker.soma.follow_switch()
    sides.worker.work()
    assert building.clean
    assert len(building.texts("alpha beta")) == 6


def test_a_relay_whose_connection_broke_finds_nothing_and_another_takes_over(
    sides: Sides, postgres: PostgresServer
) -> None:
    sides.api.store("alpha")
    mine, other = sides.worker.outbox, sides.another().outbox
    with mine.relaying() as is_mine:
        assert is_mine
        assert len(mine.unsent(10)) == 1
        name = sides.database.rpartition("/")[2]
        postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
            f"AND database = (SELECT oid FROM pg_database WHERE datname = '{name}')"
        )
        with other.relaying() as is_theirs:
            assert is_theirs
            assert len(other.unsent(10)) == 1
        with pytest.raises(Unavailable):
            mine.unsent(10)
    with mine.relaying() as is_mine:
        assert is_mine


def test_a_store_that_workers_index_is_not_followed_by_a_process_that_was_not_told(
    database: str, tmp_path: Path
) -> None:
    with closing(PostgresRecordStore(database)) as records:
        records.outbox().begin()
        records.outbox().adopted()
        told = {"SOMA_HOME": str(tmp_path), "POSTGRES_URL": database, "SOMA_DISK_RESERVE": "0"}
        with pytest.raises(InvalidInput, match="KAFKA_BOOTSTRAP_SERVERS: is not set, but workers elsewhere index"):
            create_memory_system(load_settings(told))
        soma = create_memory_system(load_settings(told | {"EVENTING_ENABLED": "false"}))
        soma.store(SCOPE, NewMemory.parse("alpha"))
        assert (soma.outbox, records.outbox().unsent(10), records.outbox().is_used()) == (None, [], False)
        soma.close()


def test_verify_explains_what_the_index_lacks_by_what_waits_and_by_nothing_else(sides: Sides) -> None:
    sides.api.store("alpha")
    found = sides.api.soma.verify(SCOPE)[0]
    assert (found.missing, found.lasting, found.is_good, found.log) == (1, 0, True, LogDrift(1, 0, 0, 0))
    sides.worker.work()
    sides.index.kept.clear()
    sides.api.store("beta")
    found = sides.api.soma.verify(SCOPE)[0]
    assert (found.missing, found.lasting, found.is_good, found.pending) == (2, 1, False, 1)


def test_verify_tells_what_has_waited_long_by_how_far_it_came(sides: Sides) -> None:
    for text in ("alpha", "beta"):
        sides.api.store(text)
    first, second = sides.worker.next()
    sides.api.store("gamma")
    sides.clock.advance(seconds=60)
    assert sides.api.soma.verify(SCOPE)[0].log == LogDrift(3, 0, 0, 0)
    sides.clock.advance(seconds=1)
    assert sides.api.soma.verify(SCOPE)[0].log == LogDrift(3, unsent=1, stuck=2, left_over=0)
    tracking = sides.worker.soma.serving.tracking
    assert tracking
    tracking._writing.write_vectors(NAMESPACE, [first])
    found = sides.api.soma.verify(SCOPE)[0]
    assert found.log == LogDrift(3, unsent=1, stuck=1, left_over=1)
    assert not found.is_good
    sides.worker.soma.apply([first, second, *sides.worker.next()])
    assert sides.api.soma.verify(SCOPE)[0].log == LogDrift(0, 0, 0, 0)
