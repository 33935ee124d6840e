"""What every `RecordStore` does."""

from __future__ import annotations

import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from soma_core.domain.candidates import features_of, microseconds
from soma_core.domain.errors import Conflict, InvalidInput, Unavailable
from soma_core.domain.generations import Generation, Generations
from soma_core.domain.memory import Memory, MemoryType, NewMemory, State, new_id, parse_coordinate, short_id, uuid7
from soma_core.domain.query import BrowseQuery, Filter, Selection
from soma_core.domain.receipts import Change, StoreStatus
from soma_core.domain.terms import Terms
from soma_core.ports.log import EventLog
from soma_core.ports.records import RecordStore, Request, Submission
from tests.support.clock import NOON, FixedClock
from tests.support.requests import new, request, stored

NAMESPACE = "api_ns"
NOON_MICROS = microseconds(NOON)
STRANGE_NAMES = [
    'it\'s "quoted"; DROP TABLE memories--',
    "100%_sure?",
    "%",
    "_",
    "naïve 🦊 記憶",
    "n" * 1_000,
    "".join(chr(0x1F300 + n) for n in range(1_000)),
    " \n\t\x01x",
]

Reopen = Callable[..., RecordStore]
EventsOf = Callable[[RecordStore], EventLog]


def put(records: RecordStore, text: str, namespace: str = NAMESPACE, **fields: Any) -> Change:
    return stored(records, namespace, [new(text, **fields)], request())[0]


def forget(records: RecordStore, *ids: UUID, namespace: str = NAMESPACE, purge: bool = False, **filter: Any) -> Any:
    selection = Selection(ids, Filter.parse(**filter))
    return records.forget(namespace, selection, request(), purge=purge, reason=None)


def texts(records: RecordStore, namespace: str = NAMESPACE, **filter: Any) -> list[str]:
    """All live texts that match, by a walk of small pages, oldest first."""
    found: list[str] = []
    cursor = None
    while True:
        query = BrowseQuery(Filter.parse(**filter), "oldest", 3, cursor)
        page = records.browse(namespace, query)
        found += [memory.text for memory in page.memories]
        cursor = page.next_cursor
        if cursor is None:
            return found


def places(records: RecordStore, low: str, high: str, limit: int = 100) -> list[str | None]:
    """The coordinates between two others."""
    box = parse_coordinate(low), parse_coordinate(high)
    return [memory.coordinate for memory in records.within(NAMESPACE, *box, Filter(), limit)]


def holding(records: RecordStore, term: str, **how: Any) -> set[str]:
    """The texts that hold a term."""
    return {memory.text for memory in records.containing(NAMESPACE, Terms.parse([term], **how), Filter(), 100)}


def recount(records: RecordStore, events: EventLog, namespace: str = NAMESPACE) -> Counter[State]:
    """The states of every memory that the log names."""
    ids = list(dict.fromkeys(event.memory_id for event in events.read(namespace, 0, 100_000)))
    return Counter(head.state for head in records.heads(namespace, ids).values())


class RecordsContract:
    """Give the fixtures `records`, `reopen` (closes, opens again), `clock`, `events_of`, `files` and `disk`.

    `files` is the folder that holds everything the store wrote. `disk(free)` sets how many bytes the disk has left;
    the store's reserve is 1 MB.
    """

    # Storing.

    def test_a_stored_memory_is_read_back_as_it_was_given(self, records: RecordStore, clock: FixedClock) -> None:
        given = new(
            "Ana prefers tabs.",
            type="semantic",
            tags=["style", "ana"],
            thread="review",
            speaker="Ana",
            occurred_at="2026-03-01T10:00:00.123456+02:00",
            coordinate="1, 2.50,-0",
            importance=0.25,
            payload={"a": [1, 2.5, None, True, {"ü": "🦊"}]},
        )
        change = stored(records, NAMESPACE, [given], request())[0]
        memory = records.read(NAMESPACE, [change.id])[change.id]
        assert change == Change(new_id(NAMESPACE, "1,2.5,0"), 1, StoreStatus.CREATED)
        assert memory.says_the_same(given)
        assert (memory.namespace, memory.version, memory.coordinate) == (NAMESPACE, 1, "1,2.5,0")
        assert memory.occurred_at == datetime(2026, 3, 1, 8, 0, 0, 123456, tzinfo=UTC)
        assert memory.recorded_at == memory.created_at == clock()
        assert memory.position == 0

    def test_a_memory_without_a_date_happened_when_it_was_recorded(
        self, records: RecordStore, clock: FixedClock
    ) -> None:
        change = put(records, "now")
        assert records.read(NAMESPACE, [change.id])[change.id].occurred_at == clock()

    def test_dates_from_the_first_year_to_the_last_are_kept_exactly(self, records: RecordStore) -> None:
        dates = ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"]
        changes = stored(records, NAMESPACE, [new(day, occurred_at=day) for day in dates], request())
        found = records.read(NAMESPACE, [c.id for c in changes])
        assert [found[c.id].occurred_at.isoformat() for c in changes] == [d.replace("Z", "+00:00") for d in dates]

    def test_submissions_of_one_commit_stand_or_fall_alone(self, records: RecordStore) -> None:
        used = request("used")
        stored(records, NAMESPACE, [new("first")], used)
        outcomes = records.store(
            [
                Submission(NAMESPACE, [new("one"), new("two")], request()),
                Submission(NAMESPACE, [new("refused"), new("refused too")], request("used", "another digest")),
                Submission("elsewhere", [new("three")], request()),
            ]
        )
        assert [type(outcome) for outcome in outcomes] == [list, Conflict, list]
        assert sorted(texts(records)) == ["first", "one", "two"]
        assert texts(records, "elsewhere") == ["three"]
        assert len(outcomes[0]) == 2  # type: ignore[arg-type]

    def test_submissions_of_one_commit_see_those_before_them(self, records: RecordStore) -> None:
        same = request("same")
        first, second, again, unchanged = records.store(
            [
                Submission(NAMESPACE, [new("first", coordinate="1")], same),
                Submission(NAMESPACE, [new("second", coordinate="1")], request()),
                Submission(NAMESPACE, [new("first", coordinate="1")], same),
                Submission(NAMESPACE, [new("second", coordinate="1")], request()),
            ]
        )
        assert first == again
        assert [(change.version, change.status) for change in (*second, *unchanged)] == [  # type: ignore[misc]
            (2, StoreStatus.REVISED),
            (2, StoreStatus.UNCHANGED),
        ]
        assert texts(records) == ["second"]

    def test_many_are_stored_in_order_with_ascending_positions(self, records: RecordStore) -> None:
        changes = stored(records, NAMESPACE, [new(f"turn {i}", thread="t") for i in range(5)], request())
        found = records.read(NAMESPACE, [c.id for c in changes])
        assert [found[c.id].position for c in changes] == [0, 1, 2, 3, 4]

    def test_a_failing_item_leaves_nothing_of_the_call(
        self, records: RecordStore, reopen: Reopen, events_of: EventsOf
    ) -> None:
        bad = NewMemory("fine until written", payload={"not": object()})
        wanted = request("again")
        with pytest.raises(TypeError):
            stored(records, NAMESPACE, [new("first"), new("second", coordinate="1"), bad], wanted)
        for store in before_and_after(records, reopen):
            assert texts(store) == []
            assert events_of(store).end(NAMESPACE) == 0
            assert not store.knows(NAMESPACE, wanted)
            assert store.counts(NAMESPACE).states == dict.fromkeys(State, 0)

    def test_a_failing_item_leaves_what_was_there_before(self, records: RecordStore) -> None:
        before = put(records, "before", coordinate="1")
        with pytest.raises(TypeError):
            stored(
                records, NAMESPACE, [new("after", coordinate="1"), NewMemory("x", payload={"n": object()})], request()
            )
        assert records.read(NAMESPACE, [before.id])[before.id].text == "before"
        assert records.heads(NAMESPACE, [before.id])[before.id].version == 1

    def test_versions_and_offsets_are_in_order_under_eight_threads(
        self, records: RecordStore, events_of: EventsOf
    ) -> None:
        events, stop, seen = events_of(records), threading.Event(), list[int]()

        def follow() -> None:
            while not stop.is_set():
                seen.extend(event.offset for event in events.read(NAMESPACE, seen[-1] if seen else 0, 1_000))

        def write(thread: int) -> list[int]:
            return [put(records, f"{thread} {n}", coordinate="7").version for n in range(10)]

        follower = threading.Thread(target=follow)
        follower.start()
        with ThreadPoolExecutor(8) as pool:
            own = list(pool.map(write, range(8)))
        stop.set()
        follower.join()
        log = events.read(NAMESPACE, 0, 1_000)
        assert all(versions == sorted(set(versions)) for versions in own)
        assert sorted(v for versions in own for v in versions) == list(range(1, 81))
        assert [event.version for event in log] == list(range(1, 81))
        seen.extend(event.offset for event in events.read(NAMESPACE, seen[-1] if seen else 0, 1_000))
        assert seen == [event.offset for event in log]

    def test_a_clock_that_runs_behind_spoils_neither_versions_nor_order(
        self, records: RecordStore, clock: FixedClock, events_of: EventsOf
    ) -> None:
        key = put(records, "first", coordinate="1").id
        clock.advance(days=-30)
        assert put(records, "second", coordinate="1") == Change(key, 2, StoreStatus.REVISED)
        clock.advance(days=60)
        forget(records, key)
        clock.advance(days=-90)
        assert put(records, "third", coordinate="1") == Change(key, 4, StoreStatus.CREATED)
        assert texts(records) == ["third"]
        assert records.versions(NAMESPACE, [(key, n) for n in range(1, 5)]).keys() == {(key, 4)}
        log = events_of(records).read(NAMESPACE, 0, 9)
        assert [event.version for event in log] == [1, 2, 3, 4]
        assert [event.offset for event in log] == sorted({event.offset for event in log})

    def test_an_id_that_another_namespace_has_too_does_no_harm_there(
        self, records: RecordStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        taken = put(records, "mine").id
        monkeypatch.setattr("soma_core.domain.memory.uuid7", lambda: taken)
        with contextlib.suppress(Exception):  # a store whose ids are one for all namespaces refuses
            put(records, "theirs", "elsewhere")
        forget(records, taken, namespace="elsewhere", purge=True)
        for store_of in ("elsewhere", NAMESPACE):
            assert texts(records, store_of) == (["mine"] if store_of == NAMESPACE else [])
        assert records.read(NAMESPACE, [taken])[taken].text == "mine"
        assert records.heads(NAMESPACE, [taken])[taken].version == 1

    # Requests.

    @pytest.mark.parametrize("restart", [False, True])
    def test_the_same_request_gets_the_first_receipt_and_does_nothing(
        self, records: RecordStore, reopen: Reopen, events_of: EventsOf, restart: bool
    ) -> None:
        same = request()
        first = stored(records, NAMESPACE, [new("one"), new("at", coordinate="3")], same)
        put(records, "moved on", coordinate="3")
        store = reopen() if restart else records
        end = events_of(store).end(NAMESPACE)
        assert stored(store, NAMESPACE, [new("one"), new("at", coordinate="3")], same) == first
        assert store.knows(NAMESPACE, same)
        assert events_of(store).end(NAMESPACE) == end
        assert set(texts(store)) == {"one", "moved on"}

    @pytest.mark.parametrize("restart", [False, True])
    def test_the_same_forget_gets_the_first_receipt_although_the_memory_came_back(
        self, records: RecordStore, reopen: Reopen, restart: bool
    ) -> None:
        change, same = put(records, "old", coordinate="3"), request()
        stranger = uuid7()
        selection = Selection((change.id, stranger))
        first = records.forget(NAMESPACE, selection, same, purge=False, reason="why")
        put(records, "anew", coordinate="3")
        store = reopen() if restart else records
        again = store.forget(NAMESPACE, selection, same, purge=False, reason="why")
        assert (list(again.ids), again.count, list(again.not_found)) == ([change.id], 1, [str(stranger)])
        assert list(first.ids) == list(again.ids)
        assert texts(store) == ["anew"]

    def test_a_request_id_with_another_digest_is_a_conflict_and_changes_nothing(self, records: RecordStore) -> None:
        change = stored(records, NAMESPACE, [new("one")], request("id", "a"))[0]
        with pytest.raises(Conflict):
            stored(records, NAMESPACE, [new("two")], request("id", "b"))
        with pytest.raises(Conflict):
            records.forget(NAMESPACE, Selection((change.id,)), request("id", "b"), purge=False, reason=None)
        with pytest.raises(Conflict):
            records.knows(NAMESPACE, request("id", "b"))
        assert texts(records) == ["one"]

    def test_request_ids_belong_to_their_namespace(self, records: RecordStore) -> None:
        stored(records, "a", [new("one")], request("id", "a"))
        assert not records.knows("b", request("id", "b"))
        stored(records, "b", [new("two")], request("id", "b"))
        assert texts(records, "b") == ["two"]

    def test_the_same_request_sent_by_many_threads_at_once_is_applied_once(self, records: RecordStore) -> None:
        same = request()
        with ThreadPoolExecutor(8) as pool:
            receipts = list(pool.map(lambda _: stored(records, NAMESPACE, [new("once")], same), range(24)))
        assert texts(records) == ["once"]
        assert all(receipt == receipts[0] for receipt in receipts)

    def test_expired_requests_are_no_longer_recognised_and_later_ones_are(
        self, records: RecordStore, clock: FixedClock
    ) -> None:
        old, young = request(), request()
        stored(records, NAMESPACE, [new("old")], old)
        border = clock.advance(days=1)
        stored(records, NAMESPACE, [new("young")], young)
        records.expire_requests(border)
        assert not records.knows(NAMESPACE, old)
        assert records.knows(NAMESPACE, young)

    # Coordinates.

    def test_storing_at_a_coordinate_again_makes_the_next_version(
        self, records: RecordStore, clock: FixedClock, events_of: EventsOf
    ) -> None:
        first = put(records, "v1", coordinate="1,2", tags=["a", "b"])
        made = clock()
        later = clock.advance(hours=1)
        second = put(records, "v2", coordinate="1,2", tags=["b", "c"])
        memory = records.read(NAMESPACE, [first.id])[first.id]
        assert second == Change(first.id, 2, StoreStatus.REVISED)
        assert (memory.text, memory.version, memory.created_at, memory.recorded_at) == ("v2", 2, made, later)
        found = records.versions(NAMESPACE, [(first.id, 1), (first.id, 2), (first.id, 3)])
        assert {key[1]: (v.memory.text, v.current) for key, v in found.items()} == {1: ("v1", False), 2: ("v2", True)}
        assert [e.kind for e in events_of(records).read(NAMESPACE, 0, 9)] == ["stored", "revised"]
        assert texts(records, tags=["a"]) == []
        assert texts(records, tags=["b", "c"]) == ["v2"]
        assert texts(records) == ["v2"]

    def test_storing_the_same_at_a_coordinate_changes_nothing(
        self, records: RecordStore, clock: FixedClock, events_of: EventsOf
    ) -> None:
        first = put(records, "same", coordinate="1", payload={"a": 1})
        clock.advance(hours=1)
        again = put(records, "same", coordinate="1.0", payload={"a": 1})
        assert again == Change(first.id, 1, StoreStatus.UNCHANGED)
        assert events_of(records).lag(NAMESPACE, 0) == 1

    @pytest.mark.parametrize(
        "change",
        [
            {"type": "semantic"}, {"tags": ["x"]}, {"thread": "t"}, {"speaker": "s"}, {"importance": 0.9},
            {"occurred_at": "2020-01-01"}, {"payload": {"a": 2}}, {"payload": {"a": True}}, {"payload": {"a": 1.5}},
        ],
        ids=str,
    )  # fmt: skip
    def test_any_other_field_makes_a_revision(self, records: RecordStore, change: dict[str, Any]) -> None:
        first = put(records, "same", coordinate="1", payload={"a": 1})
        again = put(records, "same", coordinate="1", **({"payload": {"a": 1}} | change))
        assert again == Change(first.id, 2, StoreStatus.REVISED)

    def test_a_coordinate_twice_in_one_call_makes_two_versions(self, records: RecordStore) -> None:
        changes = stored(records, NAMESPACE, [new("a", coordinate="1"), new("b", coordinate="1")], request())
        assert [(c.version, c.status) for c in changes] == [(1, "created"), (2, "revised")]
        assert texts(records) == ["b"]

    def test_equal_coordinates_of_two_namespaces_are_two_memories(self, records: RecordStore) -> None:
        a, b = put(records, "a", "a", coordinate="1"), put(records, "b", "b", coordinate="1")
        assert a.id != b.id
        assert (texts(records, "a"), texts(records, "b")) == (["a"], ["b"])

    @pytest.mark.parametrize("purge", [False, True])
    def test_a_forgotten_coordinate_is_begun_anew_and_its_past_stays_out_of_reach(
        self, records: RecordStore, reopen: Reopen, purge: bool
    ) -> None:
        first = put(records, "secret", coordinate="1", tags=["hush"], thread="t")
        put(records, "secret too", coordinate="1", tags=["hush"])
        forget(records, first.id, purge=purge)
        anew = put(records, "fresh", coordinate="1")
        for store in before_and_after(records, reopen):
            assert anew == Change(first.id, 4, StoreStatus.CREATED)
            found = store.versions(NAMESPACE, [(first.id, n) for n in range(1, 6)])
            assert {key[1]: v.memory.text for key, v in found.items()} == {4: "fresh"}
            assert texts(store) == ["fresh"]
            assert texts(store, tags=["hush"]) == []

    def test_a_coordinate_forgotten_twice_hides_both_lives(self, records: RecordStore) -> None:
        key = put(records, "one", coordinate="1").id
        for text in ("two", "three"):
            forget(records, key)
            put(records, text, coordinate="1")
        found = records.versions(NAMESPACE, [(key, n) for n in range(9)])
        assert [v.memory.text for v in found.values()] == ["three"]

    def test_storing_the_forgotten_text_again_at_its_coordinate_begins_anew(self, records: RecordStore) -> None:
        key = put(records, "same", coordinate="1").id
        forget(records, key)
        assert put(records, "same", coordinate="1") == Change(key, 3, StoreStatus.CREATED)

    # What ranking sees.

    def test_the_features_of_a_memory_are_those_of_what_it_says_now(self, records: RecordStore) -> None:
        put(records, "first of all", thread="review")
        key = put(records, "Tea, or coffee?", coordinate="1", speaker='A"na, \n', thread="review", importance=0.25).id
        assert records.features(NAMESPACE, [key.int]) == {
            key.int: (1, "episodic", "review", 1, 'A"na, \n', 3, True, False, NOON_MICROS, 0.25)
        }
        put(records, "Tea!", coordinate="1", type="semantic", occurred_at="0001-01-01T00:00:00.000001Z")
        found = records.features(NAMESPACE, [key.int])[key.int]
        assert found == (2, "semantic", None, None, None, 1, False, False, 1 - 62135596800_000_000, 0.5)

    def test_features_are_those_that_a_memory_read_whole_has(self, records: RecordStore) -> None:
        given = [
            new("naïve 記憶 🦊?", speaker="Zoë", thread="t", occurred_at="2150-05-05T01:02:03.000007Z", importance=1),
            new("word " * 40 + "?", thread="t", type="procedural", importance=0),
            new(" Always say who asked.\n"),
            new("never mind"),
            new("x", occurred_at="1969-12-31T23:59:59.999999Z"),
        ]
        keys = [change.id for change in stored(records, NAMESPACE, given, request())]
        found = records.features(NAMESPACE, [key.int for key in keys])
        assert found == {key.int: features_of(memory) for key, memory in records.read(NAMESPACE, keys).items()}
        assert [found[key.int].standing for key in keys] == [False, False, True, False, False]

    def test_only_what_is_live_and_of_the_namespace_has_features(self, records: RecordStore, reopen: Reopen) -> None:
        stays, gone, purged = (put(records, text).id for text in ("stays", "gone", "purged"))
        foreign = put(records, "foreign", "elsewhere").id
        forget(records, gone)
        forget(records, purged, purge=True)
        ids = [stays.int, gone.int, purged.int, foreign.int, uuid7().int]
        for store in before_and_after(records, reopen):
            assert store.features(NAMESPACE, ids).keys() == store.live_versions(NAMESPACE, ids).keys() == {stays.int}
            assert store.features(NAMESPACE, []) == {}

    def test_speakers_are_known_by_their_whole_and_their_first_name(self, records: RecordStore) -> None:
        for speaker in ("Ana", "Ana", "Ana Lu", "Ana Mae", "Anabel", "Ben", "ben", "Zoë", "%", None):
            put(records, "said", speaker=speaker)
        put(records, "said", "elsewhere", speaker="Cleo")
        forget(records, put(records, "said", speaker="Dora").id)
        assert sorted(records.speakers(NAMESPACE, ["Ana", "Cleo", "Dora", "Lu"])) == ["Ana", "Ana Lu", "Ana Mae"]
        assert records.speakers(NAMESPACE, ["Ben", "Zoë", "An", "_"]) == ["Ben", "Zoë"]
        assert records.speakers(NAMESPACE, []) == []

    # Forgetting.

    def test_a_forgotten_memory_is_out_of_reach_of_every_read(
        self, records: RecordStore, reopen: Reopen, events_of: EventsOf
    ) -> None:
        gone, stays = put(records, "gone", tags=["t"]), put(records, "stays", tags=["t"])
        receipt = forget(records, gone.id)
        assert (list(receipt.ids), receipt.count, list(receipt.not_found)) == ([gone.id], 1, [])
        for store in before_and_after(records, reopen):
            assert texts(store) == texts(store, tags=["t"]) == ["stays"]
            assert store.read(NAMESPACE, [gone.id, stays.id]).keys() == {stays.id}
            assert store.versions(NAMESPACE, [(gone.id, 1), (gone.id, 2)]) == {}
            assert store.live(NAMESPACE) == {stays.id: 1}
            head = store.heads(NAMESPACE, [gone.id])[gone.id]
            assert (head.version, head.state) == (2, State.FORGOTTEN)
            assert store.find(NAMESPACE, [str(gone.id)]) == {str(gone.id): gone.id}
            assert [e.kind for e in events_of(store).read(NAMESPACE, 0, 9)] == ["stored", "stored", "forgotten"]

    def test_forgetting_again_leaves_the_memory_alone(self, records: RecordStore, events_of: EventsOf) -> None:
        key = put(records, "gone").id
        forget(records, key)
        again = forget(records, key)
        assert (list(again.ids), again.count) == ([], 0)
        assert events_of(records).lag(NAMESPACE, 0) == 2

    def test_unknown_ids_are_reported_and_repeated_ids_counted_once(self, records: RecordStore) -> None:
        key, stranger = put(records, "gone").id, uuid7()
        receipt = forget(records, key, stranger, key)
        assert (list(receipt.ids), receipt.count, list(receipt.not_found)) == ([key], 1, [str(stranger)])

    def test_a_filter_forgets_exactly_what_matches(self, records: RecordStore) -> None:
        stored(records, NAMESPACE, [new(f"a{i}", thread="a", speaker="x") for i in range(5)], request())
        stored(records, NAMESPACE, [new("b", thread="b"), new("a and y", thread="a", speaker="y")], request())
        assert forget(records, thread="a", speaker="x").count == 5
        assert set(texts(records)) == {"b", "a and y"}

    def test_more_than_a_thousand_are_forgotten_whole_and_the_receipt_names_a_thousand(
        self, records: RecordStore
    ) -> None:
        stored(records, NAMESPACE, [new(f"{i}", thread="a") for i in range(1_200)], request())
        receipt = forget(records, thread="a")
        assert (len(receipt.ids), receipt.count) == (1_000, 1_200)
        assert texts(records) == []

    @pytest.mark.parametrize("purge", [False, True])
    def test_select_tells_what_forget_does_without_doing_it(self, records: RecordStore, purge: bool) -> None:
        live, forgotten, stranger = put(records, "live").id, put(records, "old").id, uuid7()
        forget(records, forgotten)
        selection = Selection((live, forgotten, stranger))
        plan = records.select(NAMESPACE, selection, purge=purge)
        assert texts(records) == ["live"]
        done = records.forget(NAMESPACE, selection, request(), purge=purge, reason=None)
        assert (list(plan.ids), plan.count, list(plan.not_found)) == (list(done.ids), done.count, list(done.not_found))
        assert done.count == (2 if purge else 1)

    def test_a_purged_memory_keeps_id_version_and_times_only(
        self, records: RecordStore, clock: FixedClock, events_of: EventsOf
    ) -> None:
        key = put(records, "gone", coordinate="1").id
        forget(records, key)
        receipt = forget(records, key, purge=True)
        assert (list(receipt.ids), receipt.count) == ([key], 1)
        head = records.heads(NAMESPACE, [key])[key]
        assert (head.version, head.state) == (3, State.PURGED)
        assert records.find(NAMESPACE, [short_id(key)]) == {short_id(key): key}
        assert records.versions(NAMESPACE, [(key, n) for n in range(5)]) == {}
        assert [e.kind for e in events_of(records).read(NAMESPACE, 0, 9)] == ["stored", "forgotten", "purged"]
        assert forget(records, key, purge=True).count == 0
        assert forget(records, key).count == 0

    def test_a_filter_with_purge_takes_the_forgotten_too(self, records: RecordStore) -> None:
        key = put(records, "gone", tags=["t"]).id
        forget(records, key)
        assert forget(records, tags=["t"], purge=True).count == 1
        assert records.heads(NAMESPACE, [key])[key].state is State.PURGED

    def test_purged_text_is_nowhere_in_the_files_after_erase(self, records: RecordStore, files: Path) -> None:
        secrets: dict[str, Any] = {
            "text": "zyxSECRETtext", "tags": ["zyxSECRETtag"], "thread": "zyxSECRETthread",
            "speaker": "zyxSECRETspeaker", "payload": {"zyxSECRETkey": "zyxSECRETvalue"},
        }  # fmt: skip
        key = stored(records, NAMESPACE, [new(**secrets, coordinate="987654.125")], request("zyx")).pop().id
        put(records, "zyxSECRETrevised", coordinate="987654.125")
        put(records, "stays")
        records.forget(NAMESPACE, Selection((key,)), request(), purge=False, reason="zyxSECRETreason")
        forget(records, key, purge=True)
        assert records.erase(at_once=True)
        assert leaks(files, b"zyxSECRET") == leaks(files, b"987654.125") == []

    def test_no_purged_text_is_left_where_pages_were_split_and_merged(self, records: RecordStore, files: Path) -> None:
        def batch(start: int) -> list[NewMemory]:
            return [
                new(
                    f"zyxSECRET{i} " + "w" * (i * 37 % 5_000), coordinate=str(i * 7919 % 10_007), tags=[f"zyxSECRET{i}"]
                )
                for i in range(start, start + 150)
            ]

        for start in (0, 150):
            stored(records, NAMESPACE, batch(start), request())
            put(records, "stays " + "x" * 900)
        keys = list(records.live(NAMESPACE))
        gone = [key for key, memory in records.read(NAMESPACE, keys).items() if "SECRET" in memory.text]
        for chunk in (gone[::2], gone[1::2]):
            forget(records, *chunk, purge=True)
        assert records.erase(at_once=True)
        assert leaks(files, b"zyxSECRET") == []
        assert len(texts(records)) == 2

    @pytest.mark.parametrize("seed", [64, 87])
    def test_no_name_of_a_purged_memory_is_left_after_many_forgets_and_purges(
        self, records: RecordStore, files: Path, seed: int
    ) -> None:
        # The sequences of these seeds once left threads and speakers in the unused space of rebalanced pages.
        rng, live = random.Random(seed), list[UUID]()
        for _ in range(12):
            memories = [
                new(
                    f"ZSECRET{i} " + "w" * rng.choice([5, 300, 1500, 3900, 9000]),
                    tags=[f"ZSECRET{rng.randrange(50)}"],
                    speaker=f"ZSECRETs{rng.randrange(9)}",
                    thread=f"ZSECRETt{rng.randrange(5)}",
                    coordinate=str(rng.random()),
                )
                for i in range(rng.randrange(1, 40))
            ]
            live += [change.id for change in stored(records, "n", memories, request())]
            rng.shuffle(live)
            cut = rng.randrange(len(live) + 1)
            gone, live = live[:cut], live[cut:]
            if gone:
                purge = rng.random() < 0.7
                records.forget("n", Selection(tuple(gone)), request(), purge=purge, reason="ZSECRETr")
        forget(records, *live, namespace="n", purge=True)
        forget(records, namespace="n", purge=True, until="9999-12-30")
        assert records.counts("n").states[State.PURGED] == sum(records.counts("n").states.values())
        assert records.erase(at_once=True)
        assert leaks(files, b"ZSECRET") == []

    # Reading.

    def test_memories_are_found_by_whole_id_and_by_twelve_digits(self, records: RecordStore) -> None:
        key = put(records, "one").id
        given = [str(key), short_id(key), str(uuid7()), "0" * 12]
        assert records.find(NAMESPACE, given) == {str(key): key, short_id(key): key}

    def test_twelve_digits_that_fit_several_memories_are_refused(
        self, records: RecordStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        twins = [UUID("00000000-0000-7000-8000-abcdefabcdef"), UUID("11111111-0000-7000-8000-abcdefabcdef")]
        made = iter(twins)
        monkeypatch.setattr("soma_core.domain.memory.uuid7", lambda: next(made))
        put(records, "one")
        assert records.find(NAMESPACE, ["abcdefabcdef"]) == {"abcdefabcdef": twins[0]}
        put(records, "two")
        with pytest.raises(InvalidInput, match="11111111-0000-7000-8000-abcdefabcdef"):
            records.find(NAMESPACE, ["abcdefabcdef"])
        assert records.find(NAMESPACE, [str(twins[1])]) == {str(twins[1]): twins[1]}
        assert records.find("another", ["abcdefabcdef"]) == {}

    @pytest.mark.parametrize("name", STRANGE_NAMES)
    def test_other_namespaces_are_never_seen(self, records: RecordStore, events_of: EventsOf, name: str) -> None:
        mine, other = put(records, "mine", name, tags=["t"]), put(records, "other", name + "x", tags=["t"])
        both = [mine.id, other.id]
        assert texts(records, name) == texts(records, name, tags=["t"]) == ["mine"]
        assert records.read(name, both).keys() == records.heads(name, both).keys() == {mine.id}
        assert records.versions(name, [(key, 1) for key in both]).keys() == {(mine.id, 1)}
        assert records.find(name, [str(other.id), short_id(other.id)]) == {}
        assert records.live(name) == {mine.id: 1}
        assert records.counts(name).states[State.LIVE] == 1
        assert list(forget(records, *both, namespace=name).not_found) == [str(other.id)]
        assert texts(records, name + "x") == ["other"]
        assert {e.memory_id for e in events_of(records).read(name, 0, 9)} == {mine.id}

    def test_a_thousand_and_more_ids_are_read_at_once(self, records: RecordStore) -> None:
        changes = stored(records, NAMESPACE, [new(f"{i}") for i in range(1_100)], request())
        ids = [c.id for c in changes]
        assert len(records.read(NAMESPACE, ids)) == len(records.heads(NAMESPACE, ids)) == 1_100
        assert len(records.features(NAMESPACE, [key.int for key in ids])) == 1_100
        assert not any([records.read(NAMESPACE, []), records.heads(NAMESPACE, []), records.versions(NAMESPACE, [])])

    @pytest.mark.parametrize(
        ("filter", "expected"),
        [
            ({}, "abcd"),
            ({"types": ["semantic", "procedural"]}, "bc"),
            ({"types": ["episodic"]}, "ad"),
            ({"tags": ["x"]}, "ab"),
            ({"tags": ["x", "y"]}, "b"),
            ({"tags": ["X"]}, ""),
            ({"thread": "t"}, "ac"),
            ({"thread": "T"}, ""),
            ({"speaker": "Ana"}, "ad"),
            ({"since": "2026-01-02"}, "bcd"),
            ({"until": "2026-01-02"}, "ab"),
            ({"before": "2026-01-02"}, "a"),
            ({"since": "2026-01-02", "until": "2026-01-03"}, "bc"),
            ({"thread": "t", "types": ["procedural"]}, "c"),
            ({"thread": "' OR 1=1 --"}, ""),
        ],
        ids=str,
    )
    def test_every_filter_gives_what_matches_and_forgets_the_same(
        self, records: RecordStore, filter: dict[str, Any], expected: str
    ) -> None:
        four = [
            new("a", tags=["x"], thread="t", speaker="Ana", occurred_at="2026-01-01T23:59:59.999999Z"),
            new("b", type="semantic", tags=["y", "x"], occurred_at="2026-01-02"),
            new("c", type="procedural", thread="t", occurred_at="2026-01-03"),
            new("d", speaker="Ana", occurred_at="2026-01-04"),
        ]
        stored(records, NAMESPACE, four, request())
        assert "".join(texts(records, **filter)) == expected
        if filter:
            assert forget(records, **filter).count == len(expected)
            assert not set(expected) & set(texts(records))

    def test_browsing_goes_by_date_and_then_by_id_both_ways(self, records: RecordStore) -> None:
        days = ["2026-01-02", "2026-01-01", "2026-01-02", "2026-01-03", "2026-01-02"]
        changes = stored(records, NAMESPACE, [new(f"{i}", occurred_at=d) for i, d in enumerate(days)], request())
        expected = [key for _, key in sorted((days[i], c.id) for i, c in enumerate(changes))]
        for order, wanted in (("oldest", expected), ("newest", expected[::-1])):
            assert [m.id for m in walk(records, order)] == wanted

    def test_a_walk_sees_each_memory_once_while_others_are_stored(
        self, records: RecordStore, clock: FixedClock
    ) -> None:
        stored(records, NAMESPACE, [new(f"{i}", occurred_at="2026-01-01") for i in range(10)], request())
        seen: list[str] = []
        for memory in pages(records, "newest"):
            seen.append(memory.text)
            clock.advance(seconds=1)
            put(records, f"new {len(seen)}")
        assert sorted(t for t in seen if "new" not in t) == [str(i) for i in range(10)]
        assert len(seen) == len(set(seen))

    def test_a_walk_goes_on_when_the_memory_at_its_cursor_is_forgotten(self, records: RecordStore) -> None:
        stored(records, NAMESPACE, [new(f"{i}") for i in range(4)], request())
        first = records.browse(NAMESPACE, BrowseQuery(limit=2))
        forget(records, *(m.id for m in first.memories))
        rest = records.browse(NAMESPACE, BrowseQuery(limit=2, cursor=first.next_cursor))
        assert len({m.text for m in (*first.memories, *rest.memories)}) == 4
        assert rest.next_cursor is None

    @pytest.mark.parametrize(
        "cursor",
        [
            "",
            "x",
            ".",
            "1.2",
            "a.b",
            "1",
            "1." + "0" * 31,
            "1." + "g" * 32,
            "1.5." + "0" * 32,
            "99999999999999999999." + "0" * 32,
        ],
    )
    def test_a_cursor_that_is_not_its_own_is_refused(self, records: RecordStore, cursor: str) -> None:
        put(records, "one")
        with pytest.raises(InvalidInput, match="cursor"):
            records.browse(NAMESPACE, BrowseQuery(cursor=cursor))

    def test_counts_equal_a_recount(self, records: RecordStore, reopen: Reopen, events_of: EventsOf) -> None:
        kinds = [kind.value for kind in MemoryType]
        for i in range(30):
            put(records, f"{i}", coordinate=str(i % 7), type=kinds[i % 3])
            if i % 4 == 0:
                forget(records, new_id(NAMESPACE, str(i % 7)), purge=i % 8 == 0)
        put(records, "elsewhere", "other")
        for store in before_and_after(records, reopen):
            counts = store.counts(NAMESPACE)
            live = store.read(NAMESPACE, list(store.live(NAMESPACE))).values()
            assert counts.states == {state: recount(store, events_of(store))[state] for state in State}
            assert counts.types == {kind: sum(m.type is kind for m in live) for kind in MemoryType}

    # Looking through coordinates and texts.

    def test_within_finds_coordinates_of_as_many_numbers_borders_included(self, records: RecordStore) -> None:
        for place in ("0,0", "1,1", "1,1.0001", "-1,0.5", "1", "1,1,1", "0.5,0.5"):
            put(records, f"at {place}", coordinate=place)
        put(records, "nowhere")
        put(records, "elsewhere", "other", coordinate="0.5,0.5")
        assert places(records, "0,0", "1,1") == ["0,0", "0.5,0.5", "1,1"]
        assert places(records, "-1,-1", "-0.5,1") == ["-1,0.5"]
        assert places(records, "0", "2") == ["1"]
        assert places(records, "1,1", "0,0") == []

    def test_within_is_in_order_of_the_first_number_cut_at_the_limit(self, records: RecordStore) -> None:
        for x in (10, 9, -2, 1.5, 1e20, 1e-7):
            put(records, f"at {x}", coordinate=f"{x},0")
        assert places(records, "-100,0", "1e300,0") == ["-2,0", "1e-07,0", "1.5,0", "9,0", "10,0", "1e+20,0"]
        assert places(records, "-100,0", "1e300,0", 3) == ["-2,0", "1e-07,0", "1.5,0"]

    def test_within_takes_every_number_at_its_own_border(self, records: RecordStore) -> None:
        chance = random.Random(9)
        numbers = [chance.uniform(-1, 1) * 10.0 ** chance.randint(-300, 300) for _ in range(2_000)]
        memories = [new("a border", coordinate=repr(number)) for number in numbers]
        stored(records, NAMESPACE, memories, request())
        missed = [number for number in numbers if len(places(records, repr(number), repr(number))) != 1]
        assert missed == []

    def test_within_passes_over_what_is_forgotten_revised_or_of_another_kind(self, records: RecordStore) -> None:
        gone = put(records, "gone", coordinate="1,1").id
        put(records, "old", coordinate="2,2")
        put(records, "new", coordinate="2,2", type="semantic", tags=["a"])
        put(records, "third", coordinate="3,3")
        forget(records, gone)
        box = ("0,0", "9,9")
        assert [each.text for each in records.within(NAMESPACE, *box, Filter(), 9)] == ["new", "third"]
        assert [each.text for each in records.within(NAMESPACE, *box, Filter.parse(types=["semantic"]), 9)] == ["new"]
        assert records.within(NAMESPACE, *box, Filter.parse(tags=["b"]), 9) == []

    def test_containing_finds_whole_words_or_parts_of_them_with_case_or_without(self, records: RecordStore) -> None:
        for text in ("Tabs win", "the tab", "retabbed", "TABS!", "spaces"):
            put(records, text)
        assert holding(records, "tabs") == {"Tabs win", "TABS!"}
        assert holding(records, "tab", exact=False) == {"Tabs win", "the tab", "retabbed", "TABS!"}
        assert holding(records, "TABS", case_sensitive=True) == {"TABS!"}
        assert holding(records, "TAB", exact=False, case_sensitive=True) == {"TABS!"}
        assert holding(records, "%") == holding(records, "_", exact=False) == set()

    def test_containing_knows_the_case_of_all_letters(self, records: RecordStore) -> None:
        for text in ("Straße", "STRASSE", "ÄRGER", "300 \u212a", "\ufb01nal"):
            put(records, text)
        for term in ("straße", "strasse", "STRASSE"):
            assert holding(records, term) == {"Straße", "STRASSE"}
        assert holding(records, "ärger") == {"ÄRGER"}
        assert holding(records, "ärger", case_sensitive=True) == set()
        assert holding(records, "k") == {"300 \u212a"}
        assert holding(records, "final") == {"\ufb01nal"}

    def test_containing_wants_every_term_and_gives_the_newest_first(self, records: RecordStore) -> None:
        for day, text in enumerate(("red and blue", "blue", "blue red"), 1):
            put(records, text, occurred_at=f"2026-01-0{day}")
        put(records, "red blue elsewhere", "other")
        both = Terms.parse(["red", "blue"])
        assert [each.text for each in records.containing(NAMESPACE, both, Filter(), 9)] == ["blue red", "red and blue"]
        assert [each.text for each in records.containing(NAMESPACE, both, Filter(), 1)] == ["blue red"]
        early = Filter.parse(until="2026-01-01")
        assert [each.text for each in records.containing(NAMESPACE, both, early, 9)] == ["red and blue"]

    @pytest.mark.parametrize("purge", [False, True])
    def test_containing_passes_over_what_is_forgotten_or_revised(self, records: RecordStore, purge: bool) -> None:
        gone = put(records, "a secret word").id
        put(records, "a secret draft", coordinate="1")
        put(records, "a plain draft", coordinate="1")
        forget(records, gone, purge=purge)
        assert holding(records, "secret") == set()
        assert holding(records, "draft") == {"a plain draft"}

    # The store itself.

    def test_reopening_keeps_everything(self, records: RecordStore, reopen: Reopen, events_of: EventsOf) -> None:
        stored(records, NAMESPACE, [new(f"{i}", tags=[f"t{i % 3}"]) for i in range(20)], request())
        before = records.store_id, walk(records, "oldest"), events_of(records).read(NAMESPACE, 0, 99)
        again = reopen()
        assert (again.store_id, walk(again, "oldest"), events_of(again).read(NAMESPACE, 0, 99)) == before
        assert again.problems() == []

    def test_the_generations_of_the_index_are_remembered(self, records: RecordStore, reopen: Reopen) -> None:
        assert records.generations() is None
        first = Generations(Generation(1, "a:int8", 384, "english"))
        assert records.change_generations(None, first)
        planned = first.planning(Generation(2, "b:int8", 768, "auto", "splade"))
        assert records.change_generations(first, planned)
        assert records.generations() == planned
        assert records.change_generations(planned, planned.switched())
        again = reopen().generations()
        assert again == Generations(Generation(2, "b:int8", 768, "auto", "splade"), None, (1,), 2)
        assert again.without(1).retired == ()

    def test_the_generations_are_changed_only_from_what_was_found(self, records: RecordStore) -> None:
        first, other = Generations(Generation(1, "a:int8")), Generations(Generation(1, "b:int8"))
        assert records.change_generations(None, first)
        assert not records.change_generations(None, other)
        assert not records.change_generations(other, first.planning(Generation(2, "b:int8")))
        assert records.generations() == first

    def test_of_processes_that_begin_a_generation_at_once_one_has_it(self, records: RecordStore) -> None:
        first = Generations(Generation(1, "a:int8"))
        records.change_generations(None, first)
        wanted = [first.planning(Generation(2, f"{n}:int8")) for n in range(8)]
        with ThreadPoolExecutor(8) as threads:
            done = list(threads.map(lambda each: records.change_generations(first, each), wanted))
        assert done.count(True) == 1
        assert records.generations() == wanted[done.index(True)]

    def test_namespaces_that_were_indexed_are_remembered(self, records: RecordStore, reopen: Reopen) -> None:
        for name in STRANGE_NAMES[:-1]:
            records.mark_indexed(name)
            records.mark_indexed(name)
        again = reopen()
        assert all(again.was_indexed(name) for name in STRANGE_NAMES[:-1])
        assert not again.was_indexed(STRANGE_NAMES[-1])

    def test_below_the_reserve_stores_are_refused_and_everything_else_goes_on(
        self, records: RecordStore, disk: Callable[[int], None]
    ) -> None:
        key, other = put(records, "one").id, put(records, "two").id
        refused = request()
        disk((1 << 20) - 1)
        with pytest.raises(Unavailable, match="SOMA_DISK_RESERVE"):
            stored(records, NAMESPACE, [new("three")], refused)
        assert set(texts(records)) == {"one", "two"}
        assert not records.knows(NAMESPACE, refused)
        forget(records, key)
        forget(records, other, purge=True)
        records.expire_requests(datetime(2000, 1, 1, tzinfo=UTC))
        disk(1 << 20)
        stored(records, NAMESPACE, [new("three")], refused)
        assert texts(records) == ["three"]
        disk(1 << 30)
        assert records.erase(at_once=True)

    def test_a_closed_store_is_unavailable(self, records: RecordStore) -> None:
        records.close()
        records.close()
        with pytest.raises(Unavailable):
            records.live(NAMESPACE)
        with pytest.raises(Unavailable):
            put(records, "late")

    def test_a_store_closed_under_its_writers_is_unavailable_to_them(
        self, records: RecordStore, reopen: Reopen
    ) -> None:
        stored: list[str] = []

        def write(thread: int) -> None:
            for n in range(200):
                try:
                    put(records, f"{thread} {n}")
                except Unavailable:
                    return
                stored.append(f"{thread} {n}")

        with ThreadPoolExecutor(8) as pool:
            jobs = [pool.submit(write, thread) for thread in range(8)]
            while len(stored) < 40 and not any(job.done() for job in jobs):
                pass
            records.close()
            for job in jobs:
                job.result()
        assert set(stored) <= set(texts(reopen()))

    def test_threads_that_store_at_once_all_find_theirs_after_reopening(
        self, records: RecordStore, reopen: Reopen
    ) -> None:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda n: put(records, f"{n}"), range(200)))
        assert set(texts(reopen())) == {str(n) for n in range(200)}

    def test_a_conflict_of_one_thread_spoils_nothing_of_the_others(self, records: RecordStore) -> None:
        stored(records, NAMESPACE, [new("first")], request("taken", "a"))

        def write(n: int) -> bool:
            try:
                stored(records, NAMESPACE, [new(f"{n}")], Request("taken", "b") if n % 4 == 0 else request())
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(16) as pool:
            done = list(pool.map(write, range(64)))
        assert done == [n % 4 != 0 for n in range(64)]
        assert set(texts(records)) == {"first", *(str(n) for n in range(64) if n % 4)}


def before_and_after(records: RecordStore, reopen: Reopen) -> Iterator[RecordStore]:
    """The store as it is, then opened again."""
    yield records
    yield reopen()


def pages(records: RecordStore, order: Any) -> Iterator[Memory]:
    """A walk that asks for its next page when it needs it."""
    cursor = None
    while True:
        page = records.browse(NAMESPACE, BrowseQuery(order=order, limit=2, cursor=cursor))
        yield from page.memories
        if (cursor := page.next_cursor) is None:
            return


def walk(records: RecordStore, order: Any) -> list[Memory]:
    return list(pages(records, order))


def leaks(folder: Path, secret: bytes) -> Sequence[str]:
    """The files below a folder whose bytes hold the secret."""
    return [str(path.name) for path in folder.rglob("*") if path.is_file() and secret in path.read_bytes()]
