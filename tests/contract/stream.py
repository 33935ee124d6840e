"""What every `EventStream` does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from soma_core.ports.stream import Consumer, EventStream, Message, Received, Topic

Open = Callable[[], EventStream]
EVENTS = Topic.EVENTS
PATIENCE = 30.0


def messages(*numbers: int, keys: int = 7) -> list[Message]:
    return [Message(f"k{n % keys}", f"{n}".encode()) for n in numbers]


def take(consumer: Consumer, number: int, limit: int = 100) -> list[Received]:
    """Poll until so many messages came."""
    found: list[Received] = []
    until = time.monotonic() + PATIENCE
    while len(found) < number:
        assert time.monotonic() < until, f"{len(found)} of {number} messages came"
        found += consumer.poll(limit, 1.0)
    return found


def numbers(received: Sequence[Received]) -> list[int]:
    return sorted(int(message.value or b"-1") for message in received)


class StreamContract:
    """Give the fixture `open_stream`, which opens the same stream again and again, and perhaps `counts`."""

    @pytest.fixture
    def counts(self) -> None:
        """Skips where the ends of topics, and so lag, are known to be wrong."""

    @pytest.fixture
    def stream(self, open_stream: Open) -> EventStream:
        return open_stream()

    def test_what_was_published_comes_to_a_new_group_from_the_first_on(self, stream: EventStream) -> None:
        stream.publish(EVENTS, messages(*range(50)))
        for group in ("one", "other"):
            with stream.consume(EVENTS, group) as consumer:
                found = take(consumer, 50)
            assert numbers(found) == list(range(50))
            assert {(m.topic, m.key) for m in found} == {(EVENTS, f"k{n}") for n in range(7)}

    def test_the_lag_of_a_group_is_what_it_has_not_handled(self, stream: EventStream, counts: None) -> None:
        stream.publish(EVENTS, messages(*range(20)))
        assert sum(stream.lag(EVENTS, "g").values()) == 20
        with stream.consume(EVENTS, "g") as consumer:
            take(consumer, 20)
            assert sum(stream.lag(EVENTS, "g").values()) == 20
            consumer.commit()
        stream.publish(EVENTS, messages(1, 2, 3))
        assert sum(stream.lag(EVENTS, "g").values()) == 3

    def test_messages_of_a_key_keep_their_order_and_have_growing_positions(self, stream: EventStream) -> None:
        for start in range(0, 60, 20):
            stream.publish(EVENTS, messages(*range(start, start + 20)))
        with stream.consume(EVENTS, "g") as consumer:
            found = take(consumer, 60, limit=9)
        for key in {message.key for message in found}:
            mine = [message for message in found if message.key == key]
            assert [int(m.value or b"") for m in mine] == sorted(int(m.value or b"") for m in mine)
            assert [m.position for m in mine] == sorted({m.position for m in mine})
            assert len({m.partition for m in mine}) == 1

    def test_a_poll_gives_no_more_than_its_limit_and_nothing_after_a_while(self, stream: EventStream) -> None:
        stream.publish(EVENTS, messages(*range(10)))
        with stream.consume(EVENTS, "g") as consumer:
            found: list[int] = []
            until = time.monotonic() + PATIENCE
            while sum(found) < 10 and time.monotonic() < until:
                found.append(len(consumer.poll(3, 1.0)))
            assert max(found) <= 3
            assert sum(found) == 10
            assert consumer.poll(3, 0.1) == []

    def test_what_is_published_while_a_member_waits_comes_at_once(self, stream: EventStream) -> None:
        stream.publish(EVENTS, messages(0))
        with stream.consume(EVENTS, "g") as consumer:
            take(consumer, 1)
            threading.Timer(0.2, stream.publish, (EVENTS, messages(1))).start()
            began = time.monotonic()
            assert numbers(consumer.poll(10, 20.0)) == [1]
            assert time.monotonic() - began < 5

    def test_what_was_committed_does_not_come_again_and_what_was_not_does(self, stream: EventStream) -> None:
        stream.publish(EVENTS, messages(*range(5)))
        with stream.consume(EVENTS, "g") as consumer:
            take(consumer, 5)
            consumer.commit()
            stream.publish(EVENTS, messages(*range(5, 9)))
            assert numbers(take(consumer, 4)) == [5, 6, 7, 8]
        with stream.consume(EVENTS, "g") as consumer:
            assert numbers(take(consumer, 4)) == [5, 6, 7, 8]

    def test_a_commit_without_news_is_no_error(self, stream: EventStream) -> None:
        with stream.consume(EVENTS, "g") as consumer:
            consumer.commit()
            consumer.poll(1, 0.1)
            consumer.commit()

    def test_members_of_a_group_share_the_messages_and_one_that_leaves_hands_on(self, stream: EventStream) -> None:
        with stream.consume(EVENTS, "g") as first:
            first.poll(1, 0.1)
            with stream.consume(EVENTS, "g") as second:
                self._both_at_work(stream, first, second)
            stream.publish(EVENTS, [Message(f"x{n}", b"1") for n in range(40)])
            wanted, until = {f"x{n}" for n in range(40)}, time.monotonic() + PATIENCE
            while wanted:
                assert time.monotonic() < until, f"{wanted} were not handed on"
                wanted -= {message.key for message in first.poll(100, 1.0)}

    def _both_at_work(self, stream: EventStream, first: Consumer, second: Consumer) -> None:
        """Publish until each member had something; what came is committed."""
        had: dict[Consumer, list[Received]] = {first: [], second: []}
        until, sent = time.monotonic() + PATIENCE, 0
        while not all(had.values()):
            assert time.monotonic() < until, "one member had nothing"
            stream.publish(EVENTS, [Message(f"m{n}", f"{n}".encode()) for n in range(sent, sent + 40)])
            sent += 40
            for consumer, found in had.items():
                found += consumer.poll(1_000, 0.1)
                consumer.commit()
        assert len({(m.partition, m.position) for found in had.values() for m in found}) <= sent

    def test_a_member_that_rests_takes_nothing_and_loses_nothing(self, stream: EventStream) -> None:
        stream.publish(EVENTS, messages(*range(4)))
        with stream.consume(EVENTS, "g") as consumer:
            take(consumer, 4)
            stream.publish(EVENTS, messages(*range(4, 8)))
            began = time.monotonic()
            consumer.rest(0.4)
            assert time.monotonic() - began >= 0.39
            assert numbers(take(consumer, 4)) == [4, 5, 6, 7]
            consumer.commit()
        stream.publish(EVENTS, messages(8))
        with stream.consume(EVENTS, "g") as consumer:
            assert numbers(take(consumer, 1)) == [8]

    def test_lag_counts_what_is_not_committed(self, stream: EventStream, counts: None) -> None:
        stream.publish(EVENTS, messages(*range(30)))
        with stream.consume(EVENTS, "g") as consumer:
            take(consumer, 30)
            assert sum(consumer.lag().values()) == 30
            consumer.commit()
            assert set(consumer.lag().values()) == {0}
            stream.publish(EVENTS, messages(*range(5)))
            assert sum(consumer.lag().values()) == 5

    def test_reading_gives_all_that_is_there_and_moves_no_group(self, stream: EventStream, counts: None) -> None:
        assert stream.read(Topic.DEAD_LETTERS) == []
        stream.publish(Topic.DEAD_LETTERS, [Message("a", b"1"), Message("b", b"2"), Message("a", None)])
        found = stream.read(Topic.DEAD_LETTERS)
        assert sorted((m.key, m.value or b"") for m in found) == [("a", b""), ("a", b"1"), ("b", b"2")]
        assert [m.value for m in found if m.key == "a"] == [b"1", None]
        assert stream.read(EVENTS) == []
        with stream.consume(Topic.DEAD_LETTERS, "g") as consumer:
            assert len(take(consumer, 3)) == 3

    def test_many_threads_publish_at_once_and_all_is_there(self, stream: EventStream) -> None:
        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(stream.publish, EVENTS, messages(*range(n * 20, n * 20 + 20))) for n in range(8)]:
                done.result()
        with stream.consume(EVENTS, "g") as consumer:
            assert numbers(take(consumer, 160)) == list(range(160))

    def test_what_was_published_outlives_the_one_who_did(self, open_stream: Open) -> None:
        first = open_stream()
        first.publish(EVENTS, messages(1, 2, 3))
        first.close()
        with open_stream().consume(EVENTS, "g") as consumer:
            assert numbers(take(consumer, 3)) == [1, 2, 3]

    def test_any_key_and_no_messages_at_all_are_fine(self, stream: EventStream) -> None:
        stream.publish(EVENTS, [])
        stream.publish(EVENTS, [Message("ключ 🦊 '\"%", "größe".encode())])
        with stream.consume(EVENTS, "g") as consumer:
            found = take(consumer, 1)
        assert (found[0].key, found[0].value) == ("ключ 🦊 '\"%", "größe".encode())
