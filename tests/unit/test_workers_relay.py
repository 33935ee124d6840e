"""The relay from an outbox to a stream, both in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from soma_core.adapters.memory.stream import MemoryStream
from soma_core.domain.errors import Unavailable
from soma_core.domain.events import EventKind
from soma_core.domain.messages import decode_event
from soma_core.ports.outbox import Outbox
from soma_core.ports.stream import Topic
from soma_core.services.dead_letters import DeadLetters
from tests.support.workers import MemoryOutbox, event
from workers import outbox_relay
from workers.metrics import WorkerMetrics
from workers.outbox_relay import OutboxRelay


def wait(check: Callable[[], Any]) -> None:
    until = time.monotonic() + 10
    while not check():
        assert time.monotonic() < until
        time.sleep(0.002)


def relay(outbox: MemoryOutbox, stream: MemoryStream, stop: threading.Event | None = None, **more: Any) -> OutboxRelay:
    return OutboxRelay(cast(Outbox, outbox), stream, WorkerMetrics(), stop or threading.Event(), **more)


def test_events_are_sent_keyed_by_memory_in_the_order_of_their_versions_and_then_marked() -> None:
    kinds = [EventKind.STORED, EventKind.REVISED, EventKind.FORGOTTEN, EventKind.PURGED]
    events = [event(number, version, kinds[version - 1]) for version in range(1, 5) for number in range(1, 4)]
    outbox, stream = MemoryOutbox(events), MemoryStream()
    assert relay(outbox, stream).step() == 12
    messages = stream.read(Topic.EVENTS)
    sent = [decode_event(message.value) for message in messages]
    assert sorted(sent, key=events.index) == events
    assert all(message.key == str(each.memory_id) for message, each in zip(messages, sent, strict=True))
    for number in range(1, 4):
        assert [each.version for each in sent if each.memory_id.int == number] == [1, 2, 3, 4]
    assert (outbox.left, len(outbox.sent)) == ([], 12)


def test_nothing_is_marked_that_the_stream_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(topic: Topic, messages: Any) -> None:
        raise Unavailable("away")

    outbox, stream = MemoryOutbox([event(1)]), MemoryStream()
    monkeypatch.setattr(stream, "publish", failing)
    with pytest.raises(Unavailable):
        relay(outbox, stream).step()
    assert outbox.left == [event(1)]


def test_an_event_that_its_schema_does_not_allow_is_given_up_and_holds_nobody_up() -> None:
    outbox, stream = MemoryOutbox([event(1), replace(event(2), version=0), event(3)]), MemoryStream()
    relay(outbox, stream).step()
    assert {decode_event(message.value).offset for message in stream.read(Topic.EVENTS)} == {1, 3}
    letter = DeadLetters(stream).list()[0]
    assert (letter.component, letter.reason, letter.event and letter.event["offset"]) == (
        "outbox_relay",
        "malformed",
        2,
    )
    assert outbox.left == []


def test_without_the_check_events_are_sent_as_they_are() -> None:
    outbox, stream = MemoryOutbox([replace(event(2), version=0)]), MemoryStream()
    relay(outbox, stream, check=False).step()
    assert len(stream.read(Topic.EVENTS)) == 1
    assert DeadLetters(stream).list() == []


def test_of_two_relays_one_works_and_the_other_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_relay, "STANDBY_SECONDS", 0.01)
    outbox, stream = MemoryOutbox([event(1)]), MemoryStream()
    stops = [threading.Event(), threading.Event()]
    threads = [threading.Thread(target=relay(outbox, stream, stop).run) for stop in stops]
    for thread in threads:
        thread.start()
    wait(lambda: not outbox.left)
    for number, (stop, thread) in enumerate(zip(stops, threads, strict=True), start=2):
        outbox.left = [event(number)]
        wait(lambda: not outbox.left)
        stop.set()
        thread.join(10)
    assert [decode_event(message.value).offset for message in stream.read(Topic.EVENTS)].count(1) == 1
    assert {decode_event(message.value).offset for message in stream.read(Topic.EVENTS)} == {1, 2, 3}


@pytest.mark.parametrize("error", [Unavailable("away"), RuntimeError("odd")], ids=["expected", "not expected"])
def test_a_relay_that_fails_tries_again(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(outbox_relay, "RETRY_SECONDS", 0.01)
    outbox, stream, stop = MemoryOutbox([event(1)]), MemoryStream(), threading.Event()
    failures, unsent = [error] * 3, outbox.unsent

    def failing(limit: int) -> Any:
        if failures:
            raise failures.pop()
        return unsent(limit)

    monkeypatch.setattr(outbox, "unsent", failing)
    thread = threading.Thread(target=relay(outbox, stream, stop).run)
    thread.start()
    wait(lambda: outbox.sent == [event(1)])
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
