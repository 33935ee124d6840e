"""What every `Outbox` does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from soma_core.domain.events import Event, EventKind
from soma_core.domain.generations import Generation, Generations
from soma_core.domain.memory import uuid7
from soma_core.domain.query import Selection
from soma_core.ports.log import EventLog
from soma_core.ports.outbox import Backlog, Outbox
from soma_core.ports.records import RecordStore
from tests.support.clock import NOON, FixedClock
from tests.support.requests import new, request, stored

Opened = tuple[RecordStore, EventLog, Outbox]
Open = Callable[[], Opened]


class OutboxContract:
    """Give the fixtures `clock` and `opened`: a store, its log and its outbox, which has not begun.

    `another` opens the same store as another process would.
    """

    def test_before_it_begins_it_takes_nothing_in(self, opened: Opened) -> None:
        records, _, outbox = opened
        stored(records, "a", [new("one")], request())
        assert outbox.unsent(10) == outbox.newest("a", 10) == []
        assert outbox.backlog("a") == Backlog(0, 0, None)

    def test_it_begins_until_what_was_before_is_adopted(self, opened: Opened, another: Open) -> None:
        _, _, outbox = opened
        assert [outbox.begin(), another()[2].begin()] == [True, True]
        outbox.adopted()
        assert [outbox.begin(), another()[2].begin()] == [False, False]
        assert [outbox.begin(anew=True), another()[2].begin()] == [True, True]

    def test_every_event_is_there_from_its_commit_on(self, opened: Opened, another: Open, clock: FixedClock) -> None:
        records, log, outbox = opened
        elsewhere = another()[0]
        outbox.begin()
        key = stored(records, "a", [new("secret", coordinate="1"), new("two")], request())[0].id
        stored(elsewhere, "a", [new("other", coordinate="1")], request())
        stored(elsewhere, "b", [new(f"{n}") for n in range(150)], request())
        records.forget("a", Selection((key,)), request(), purge=False, reason=None)
        records.forget("a", Selection((key,)), request(), purge=True, reason=None)
        assert list(outbox.unsent(1_000)) == sorted(
            [*log.read("a", 0, 100), *log.read("b", 0, 1_000)], key=lambda event: event.offset
        )
        assert list(outbox.newest("a", 100)) == list(log.newest("a", 0, 100))
        mine = [event for event in outbox.unsent(1_000) if event.memory_id == key]
        kinds = [EventKind.STORED, EventKind.REVISED, EventKind.FORGOTTEN, EventKind.PURGED]
        assert [(event.version, event.kind) for event in mine] == list(enumerate(kinds, start=1))
        assert outbox.backlog("a") == Backlog(5, 5, clock())

    def test_what_failed_or_was_sent_again_puts_nothing_in(self, opened: Opened) -> None:
        records, log, outbox = opened
        outbox.begin()
        same = request()
        for _ in range(3):
            stored(records, "a", [new("one"), new("one", coordinate="1")], same)
        stored(records, "a", [new("one", coordinate="1")], request())
        records.forget("a", Selection((uuid7(),)), request(), purge=False, reason=None)
        assert list(outbox.unsent(10)) == list(log.read("a", 0, 10))
        assert len(outbox.unsent(10)) == 2

    def test_unsent_gives_the_next_events_until_they_are_marked(self, opened: Opened) -> None:
        records, log, outbox = opened
        outbox.begin()
        stored(records, "a", [new(f"{n}") for n in range(7)], request())
        every = log.read("a", 0, 10)
        assert outbox.unsent(3) == outbox.unsent(3) == every[:3]
        outbox.mark_sent(every[:3])
        assert outbox.unsent(3) == every[3:6]
        outbox.mark_sent(every[4:5])
        assert outbox.unsent(10) == [every[3], *every[5:]]
        assert outbox.backlog("a").vectors == 7

    def test_words_and_vectors_are_counted_down(self, opened: Opened, clock: FixedClock) -> None:
        records, log, outbox = opened
        outbox.begin()
        for n in range(4):
            stored(records, "a", [new(f"{n}")], request())
            clock.advance(seconds=1)
        every = log.read("a", 0, 10)
        outbox.mark_words([every[0], every[2]], 1)
        assert outbox.newest("a", 10) == [every[3], every[1]]
        assert outbox.newest("a", 1) == [every[3]]
        assert outbox.backlog("a") == Backlog(2, 4, NOON)
        outbox.mark_vectors([every[0], every[3]], 1)
        assert outbox.backlog("a") == Backlog(1, 2, every[1].time)
        assert outbox.waiting(every) == {every[1]: False, every[2]: True}
        assert outbox.waiting([]) == {}

    def test_what_was_sent_before_the_records_were_put_back_is_not_taken_for_what_has_its_offset_now(
        self, opened: Opened
    ) -> None:
        records, log, outbox = opened
        outbox.begin()
        stored(records, "a", [new("one")], request())
        event = log.read("a", 0, 1)[0]
        earlier = [
            replace(event, memory_id=uuid7()),
            replace(event, version=event.version + 1),
            replace(event, kind=EventKind.PURGED),
        ]
        assert outbox.waiting(earlier) == {}
        assert outbox.waiting([event, *earlier]) == outbox.waiting([*earlier, event]) == {event: False}

    def test_what_is_in_the_index_before_it_was_marked_as_sent_is_not_sent(self, opened: Opened) -> None:
        records, log, outbox = opened
        outbox.begin()
        stored(records, "a", [new("one"), new("two")], request())
        first, second = log.read("a", 0, 10)
        outbox.mark_vectors([first], 1)
        assert outbox.unsent(10) == [second]

    def test_marking_what_is_gone_or_twice_is_no_error(self, opened: Opened) -> None:
        records, log, outbox = opened
        outbox.begin()
        stored(records, "a", [new("one"), new("two")], request())
        first, second = log.read("a", 0, 10)
        unknown = replace(first, offset=first.offset + 999, namespace="nobody")
        for _ in range(2):
            outbox.mark_sent([first, first, unknown])
            outbox.mark_words([first, first, unknown], 1)
            outbox.mark_vectors([first, first, unknown], 1)
        assert outbox.waiting([first, second, unknown]) == {second: False}
        outbox.mark_sent([])
        outbox.mark_words([], 1)
        outbox.mark_vectors([], 1)

    def test_nothing_is_marked_for_a_generation_that_does_not_serve(self, opened: Opened) -> None:
        records, log, outbox = opened
        first = Generations(Generation(1, "model"))
        assert records.change_generations(None, first)
        outbox.begin()
        stored(records, "a", [new("one")], request())
        every = log.read("a", 0, 10)
        assert outbox.backlog("a").generation == 1
        assert [outbox.mark_words(every, 2), outbox.mark_vectors(every, 2)] == [False, False]
        building = first.planning(Generation(0, "other"))
        assert records.change_generations(first, building)
        assert records.change_generations(building, building.switched())
        assert [outbox.mark_words(every, 1), outbox.mark_vectors(every, 1)] == [False, False]
        assert outbox.backlog("a") == Backlog(1, 1, every[0].time, 2)
        assert [outbox.mark_words(every, 2), outbox.mark_vectors(every, 2)] == [True, True]
        assert outbox.backlog("a").vectors == 0

    def test_a_namespace_is_marked_by_itself(self, opened: Opened) -> None:
        records, log, outbox = opened
        outbox.begin()
        stored(records, "a", [new("one")], request())
        stored(records, "b", [new("one")], request())
        event = log.read("a", 0, 1)[0]
        outbox.mark_vectors([replace(event, namespace="b")], 1)
        assert (outbox.backlog("a").vectors, outbox.backlog("b").vectors) == (1, 1)

    def test_adopting_takes_in_what_was_recorded_before(self, opened: Opened) -> None:
        records, log, outbox = opened
        stored(records, "a", [new(f"{n}") for n in range(5)], request())
        every = log.read("a", 0, 10)
        outbox.begin()
        stored(records, "a", [new("later")], request())
        assert outbox.adopt("a", every[1].offset) == 3
        assert list(outbox.unsent(10)) == list(log.read("a", every[1].offset, 10))
        assert outbox.adopt("a", every[1].offset) == outbox.adopt("nobody", 0) == 0

    def test_what_is_adopted_again_waits_for_its_words_and_is_sent_again(self, opened: Opened) -> None:
        records, log, outbox = opened
        outbox.begin()
        stored(records, "a", [new("one"), new("two")], request())
        first, second = log.read("a", 0, 10)
        outbox.mark_sent([first, second])
        outbox.mark_words([first, second], 1)
        outbox.mark_vectors([second], 1)
        assert outbox.adopt("a", 0) == 1
        assert outbox.unsent(10) == [first, second]
        assert outbox.backlog("a").words == 2

    def test_a_change_that_is_about_to_be_committed_is_adopted_or_takes_itself_in(
        self, opened: Opened, another: Open
    ) -> None:
        records, log, outbox = opened
        stop = threading.Event()

        def store() -> None:
            while not stop.is_set():
                stored(records, "a", [new("one")], request())

        with ThreadPoolExecutor(1) as pool:
            storing = pool.submit(store)
            while log.end("a") < 20:
                pass
            begun = another()[2]
            begun.begin()
            begun.adopt("a", 0)
            end = log.end("a")
            while log.end("a") < end + 20:
                pass
            stop.set()
            storing.result()
        assert list(outbox.unsent(100_000)) == list(log.read("a", 0, 100_000))

    def test_one_relays_at_a_time(self, opened: Opened, another: Open) -> None:
        outbox, other = opened[2], another()[2]
        with outbox.relaying() as first, other.relaying() as second, outbox.relaying() as third:
            assert (first, second, third) == (True, False, False)
        with other.relaying() as second:
            assert second

    def test_the_relay_sees_what_others_store_and_mark(self, opened: Opened, another: Open) -> None:
        _, log, outbox = opened
        elsewhere, _, theirs = another()
        outbox.begin()
        with outbox.relaying() as mine:
            assert mine
            stored(elsewhere, "a", [new("one"), new("two")], request())
            first, second = log.read("a", 0, 10)
            assert outbox.unsent(10) == [first, second]
            theirs.mark_vectors([first], 1)
            assert outbox.unsent(10) == [second]

    def test_many_mark_the_same_at_once_and_nobody_waits_for_ever(self, opened: Opened, another: Open) -> None:
        records, log, outbox = opened
        outbox.begin()
        stored(records, "a", [new(f"{n}") for n in range(300)], request())
        stored(records, "b", [new(f"{n}") for n in range(300)], request())
        every = [*log.read("a", 0, 1_000), *log.read("b", 0, 1_000)]
        theirs = another()[2]
        marks: list[Callable[[Sequence[Event]], object]] = [
            outbox.mark_sent,
            partial(theirs.mark_words, generation=1),
            partial(outbox.mark_words, generation=1),
        ]
        orders = [every, every[::-1], [*every[300:], *every[:300]]]
        with ThreadPoolExecutor(6) as pool:
            for round_ in range(4):
                jobs: list[Future[object]] = [
                    pool.submit(mark, order) for mark, order in zip(marks, orders, strict=True)
                ]
                jobs += [pool.submit(theirs.mark_vectors, order[:: 4 - round_], 1) for order in orders]
                for job in jobs:
                    job.result()
        assert (outbox.backlog("a").vectors, outbox.backlog("b").vectors) == (0, 0)
