"""What every `EventLog` does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from soma_core.domain.events import EventKind
from soma_core.domain.memory import NewMemory
from soma_core.domain.query import Selection
from soma_core.ports.log import EventLog
from soma_core.ports.records import RecordStore
from tests.support.clock import FixedClock
from tests.support.requests import new, request, stored

Opened = tuple[RecordStore, EventLog]


class LogContract:
    """Give the fixtures `opened` (a store and its log), `reopen` and `clock`."""

    def test_an_empty_log_has_no_end(self, opened: Opened) -> None:
        _, events = opened
        assert events.read("a", 0, 10) == events.newest("a", 0, 10) == []
        assert (events.end("a"), events.lag("a", 0), dict(events.ends())) == (0, 0, {})

    def test_each_change_is_one_event_and_no_event_holds_text(self, opened: Opened, clock: FixedClock) -> None:
        records, events = opened
        key = stored(records, "a", [new("secret", coordinate="1")], request())[0].id
        stored(records, "a", [new("other", coordinate="1")], request())
        stored(records, "a", [new("other", coordinate="1")], request())
        records.forget("a", Selection((key,)), request(), purge=False, reason="secret")
        records.forget("a", Selection((key,)), request(), purge=True, reason=None)
        found = events.read("a", 0, 10)
        kinds = [EventKind.STORED, EventKind.REVISED, EventKind.FORGOTTEN, EventKind.PURGED]
        assert [(e.memory_id, e.version, e.kind) for e in found] == [(key, i + 1, k) for i, k in enumerate(kinds)]
        assert {(e.namespace, e.time) for e in found} == {("a", clock())}
        assert "secret" not in repr(found)

    def test_offsets_grow_and_a_namespace_sees_only_its_own(self, opened: Opened) -> None:
        records, events = opened
        for n in range(6):
            stored(records, "ab"[n % 2], [new(f"{n}")], request())
        a, b = ([e.offset for e in events.read(name, 0, 10)] for name in "ab")
        assert a == sorted(set(a))
        assert not set(a) & set(b)
        assert dict(events.ends()) == {"a": a[-1], "b": b[-1]}
        assert events.end("a") == a[-1]

    def test_reading_goes_on_after_a_position_up_to_a_limit(self, opened: Opened) -> None:
        records, events = opened
        stored(records, "a", [new(f"{n}") for n in range(7)], request())
        every = events.read("a", 0, 100)
        seen = list(events.read("a", 0, 3))
        while more := events.read("a", seen[-1].offset, 3):
            seen += more
        assert seen == every
        assert events.read("a", 0, 3) == every[:3]
        assert events.newest("a", 0, 3) == every[:3:-1]
        assert events.newest("a", every[4].offset, 10) == [every[6], every[5]]
        assert events.lag("a", every[4].offset) == 2

    def test_what_failed_has_no_event_and_leaves_the_order_whole(self, opened: Opened) -> None:
        records, events = opened
        stored(records, "a", [new("one")], request())
        with pytest.raises(TypeError):
            stored(records, "a", [new("two"), NewMemory("bad", payload={"x": object()})], request())
        stored(records, "a", [new("three")], request())
        assert events.lag("a", 0) == 2

    def test_a_resent_request_has_no_second_event(self, opened: Opened) -> None:
        records, events = opened
        same = request()
        for _ in range(3):
            stored(records, "a", [new("one")], same)
        assert events.lag("a", 0) == 1

    def test_an_event_is_there_as_soon_as_its_change_is_committed(self, opened: Opened) -> None:
        records, events = opened
        for n in range(10):
            change = stored(records, "a", [new(f"{n}")], request())[0]
            assert events.newest("a", 0, 1)[0].memory_id == change.id

    def test_a_smaller_offset_never_appears_after_a_larger_one_was_read(self, opened: Opened) -> None:
        records, events = opened
        stop, seen = threading.Event(), list[int]()

        def follow() -> None:
            while not stop.is_set():
                seen.extend(e.offset for e in events.read("a", seen[-1] if seen else 0, 5))

        follower = threading.Thread(target=follow)
        follower.start()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: stored(records, "ab"[n % 2], [new(f"{n}")], request()), range(120)))
        stop.set()
        follower.join()
        after = seen[-1] if seen else 0
        seen.extend(e.offset for e in events.read("a", after, 1_000))
        assert seen == [e.offset for e in events.read("a", 0, 1_000)]
        assert len(seen) == 60

    def test_offsets_go_on_growing_after_reopening(self, opened: Opened, reopen: Callable[[], Opened]) -> None:
        records, events = opened
        stored(records, "a", [new("one"), new("two")], request())
        before = events.read("a", 0, 10)
        records, events = reopen()
        stored(records, "a", [new("three")], request())
        after = events.read("a", 0, 10)
        assert after[:2] == before
        assert after[2].offset > before[1].offset
