"""The runner over a stream in memory: what is handled, tried again, given up, and when it stops."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from soma_core.adapters.memory.stream import MemoryConsumer, MemoryStream
from soma_core.domain.errors import InvalidInput, ModelMissing, NotFound, Unavailable
from soma_core.domain.events import Event
from soma_core.domain.messages import encode_event
from soma_core.ports.stream import Message, Topic
from soma_core.services.dead_letters import DeadLetters
from tests.support.workers import event
from workers import runner
from workers.metrics import WorkerMetrics
from workers.runner import Patience, Runner

PATIENCE = 10.0
HASTE = Patience(batch=16, attempts=3, first=0.001, longest=0.02)


class Bench:
    """A runner in a thread, what it handled, and what makes it fail."""

    def __init__(self) -> None:
        self.stream = MemoryStream()
        self.metrics = WorkerMetrics()
        self.stop = threading.Event()
        self.handled: list[int] = []
        self.batches: list[int] = []
        self.before: Callable[[Sequence[Event]], None] = lambda events: None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        Runner("indexer", self.stream, self._handle, self.metrics, self.stop, HASTE).run()

    def _handle(self, events: Sequence[Event]) -> None:
        self.batches.append(len(events))
        self.before(events)
        self.handled += [event.offset for event in events]

    def publish(self, *numbers: int) -> None:
        self.stream.publish(Topic.EVENTS, [Message(str(n), encode_event(event(n))) for n in numbers])

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self.stop.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def wait(self, check: Callable[[], Any]) -> None:
        until = time.monotonic() + PATIENCE
        while not check():
            assert time.monotonic() < until
            time.sleep(0.002)

    def behind(self) -> int:
        """What the group has not committed."""
        with self.stream.consume(Topic.EVENTS, "soma.indexer") as consumer:
            return sum(consumer.lag().values())

    def metric(self, line: str) -> float:
        shown = dict(each.rsplit(" ", 1) for each in self.metrics.render().splitlines() if not each.startswith("#"))
        return float(shown.get(line, 0))

    @property
    def letters(self) -> DeadLetters:
        return DeadLetters(self.stream)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(runner, "POLL_SECONDS", 0.02)
    made = Bench()
    yield made
    made.join()


def test_every_event_is_handled_committed_and_counted(bench: Bench) -> None:
    bench.publish(*range(1, 101))
    bench.start()
    bench.wait(lambda: len(bench.handled) == 100)
    bench.join()
    assert sorted(bench.handled) == list(range(1, 101))
    assert bench.behind() == 0
    assert bench.metric('consumer_messages_consumed_total{topic="memory.events"}') == 100
    assert bench.metric('consumer_process_success_total{component="indexer"}') == 100
    assert bench.metric('consumer_process_failure_total{component="indexer"}') == 0
    assert bench.metric('consumer_processing_latency_seconds_count{component="indexer"}') == len(bench.batches)
    assert 'consumer_lag{partition="0",topic="memory.events"}' in bench.metrics.render()


@pytest.mark.parametrize("error", [Unavailable("away"), ModelMissing("none")], ids=["unavailable", "no model"])
def test_what_no_event_is_to_blame_for_is_waited_for_and_costs_none(bench: Bench, error: Exception) -> None:
    failures = [error] * (HASTE.attempts * 4)

    def fail(events: Sequence[Event]) -> None:
        if failures:
            raise failures.pop()

    bench.before = fail
    bench.publish(*range(1, 9))
    bench.start()
    bench.wait(lambda: len(bench.handled) == 8)
    bench.join()
    assert bench.letters.list() == []
    assert bench.behind() == 0
    assert bench.metric('consumer_process_failure_total{component="indexer"}') == HASTE.attempts * 4


@pytest.mark.parametrize(
    "culprits", [{5}, {1, 16}, {3, 4, 9}, set(range(1, 17))], ids=["one", "first and last", "three", "all"]
)
def test_the_events_that_fail_are_found_tried_again_and_given_up_and_the_others_go_on(
    bench: Bench, culprits: set[int]
) -> None:
    tries: dict[int, int] = {}

    def fail(events: Sequence[Event]) -> None:
        if len(events) == 1:
            tries[events[0].offset] = tries.get(events[0].offset, 0) + 1
        if any(event.offset in culprits for event in events):
            raise InvalidInput("text: is 'a secret'")

    bench.before = fail
    bench.publish(*range(1, 17))
    bench.start()
    bench.wait(lambda: len(bench.handled) == 16 - len(culprits) and len(bench.letters.list()) == len(culprits))
    bench.publish(99)
    bench.wait(lambda: 99 in bench.handled)
    bench.join()
    assert sorted(bench.handled) == [n for n in range(1, 17) if n not in culprits] + [99]
    letters = bench.letters.list()
    assert {letter.event["offset"] for letter in letters if letter.event} == culprits
    assert {(each.component, each.reason, each.error, each.attempts) for each in letters} == {
        ("indexer", "failed", "invalid_input", HASTE.attempts)
    }
    assert all(tries[culprit] == HASTE.attempts for culprit in culprits)
    assert bench.behind() == 0
    assert bench.metric('soma_dead_letters_total{component="indexer",reason="failed"}') == len(culprits)
    assert "secret" not in str([message.value for message in bench.stream.read(Topic.DEAD_LETTERS)])


def test_an_event_that_fails_once_is_no_dead_letter(bench: Bench) -> None:
    failures = [RuntimeError("once"), RuntimeError("twice")]

    def fail(events: Sequence[Event]) -> None:
        if failures and any(event.offset == 3 for event in events):
            raise failures.pop()

    bench.before = fail
    bench.publish(1, 2, 3, 4)
    bench.start()
    bench.wait(lambda: len(bench.handled) == 4)
    bench.join()
    assert bench.letters.list() == []


LATER = {"schema": "memory.event.v2", "id": "a"}
POISON: list[tuple[bytes | None, str, Any]] = [
    (b"{", "malformed", None),
    (b'{"schema":"other"}', "malformed", None),
    (json.dumps(LATER).encode(), "unknown_schema", LATER),
    (None, "malformed", None),
]


@pytest.mark.parametrize(("value", "reason", "kept"), POISON, ids=["no json", "no event", "a later version", "nothing"])
def test_a_message_that_is_no_event_is_given_up_at_once_and_stops_nothing(
    bench: Bench, value: bytes | None, reason: str, kept: dict[str, Any] | None
) -> None:
    bench.publish(1)
    bench.stream.publish(Topic.EVENTS, [Message("1", value)])
    bench.publish(1, 2)
    bench.start()
    bench.wait(lambda: len(bench.handled) == 3)
    bench.join()
    letter = bench.letters.list()[0]
    assert (letter.reason, letter.event, letter.attempts) == (reason, kept, 1)
    assert bench.behind() == 0
    assert bench.metric(f'soma_dead_letters_total{{component="indexer",reason="{reason}"}}') == 1


def test_a_message_is_not_passed_over_while_its_dead_letter_cannot_be_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, failures = bench.stream.publish, [Unavailable("away")] * 5

    def failing(topic: Topic, messages: Any) -> None:
        if topic is Topic.DEAD_LETTERS and failures:
            raise failures.pop()
        publish(topic, messages)

    monkeypatch.setattr(bench.stream, "publish", failing)
    publish(Topic.EVENTS, [Message("1", b"{")])
    bench.start()
    bench.wait(lambda: bench.letters.list())
    assert failures == []


def test_when_told_to_stop_the_batch_at_work_is_finished_and_committed(bench: Bench) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait(events: Sequence[Event]) -> None:
        begun.set()
        assert go_on.wait(PATIENCE)

    bench.before = wait
    bench.publish(*range(1, 11))
    bench.start()
    assert begun.wait(PATIENCE)
    bench.stop.set()
    go_on.set()
    bench.join()
    assert len(bench.handled) == 10
    assert bench.behind() == 0


def test_when_told_to_stop_while_all_is_down_nothing_is_committed_and_it_comes_again(bench: Bench) -> None:
    down = threading.Event()

    def fail(events: Sequence[Event]) -> None:
        down.set()
        raise Unavailable("away")

    bench.before = fail
    bench.publish(1, 2)
    bench.start()
    assert down.wait(PATIENCE)
    bench.join()
    assert (bench.handled, bench.behind()) == ([], 2)
    assert bench.letters.list() == []


def test_a_stream_that_fails_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[Exception] = [Unavailable("poll"), RuntimeError("odd"), Unavailable("poll")]
    poll = MemoryConsumer.poll

    def failing(self: MemoryConsumer, limit: int, seconds: float) -> Any:
        if failures:
            raise failures.pop()
        return poll(self, limit, seconds)

    monkeypatch.setattr(MemoryConsumer, "poll", failing)
    bench.publish(1)
    bench.start()
    bench.wait(lambda: bench.handled == [1])
    assert failures == []


def test_a_commit_that_fails_is_made_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = [Unavailable("commit")] * 3
    commit = MemoryConsumer.commit

    def failing(self: MemoryConsumer) -> None:
        if failures:
            raise failures.pop()
        commit(self)

    monkeypatch.setattr(MemoryConsumer, "commit", failing)
    bench.publish(1)
    bench.start()
    bench.wait(lambda: bench.handled and not failures)
    bench.join()
    assert (bench.handled, bench.behind()) == ([1], 0)


def test_dead_letters_can_be_sent_again_or_dropped_and_are_listed_until_then(bench: Bench) -> None:
    broken = True

    def fail(events: Sequence[Event]) -> None:
        if broken:
            raise RuntimeError

    bench.before = fail
    bench.publish(1, 2, 3)
    bench.stream.publish(Topic.EVENTS, [Message("x", b"{")])
    bench.start()
    bench.wait(lambda: len(bench.letters.list()) == 4)
    broken = False
    by_offset = {letter.event["offset"] if letter.event else 0: letter.id for letter in bench.letters.list()}
    with pytest.raises(InvalidInput, match="drop it"):
        bench.letters.replay([by_offset[1], by_offset[0]])
    with pytest.raises(NotFound, match="no dead letter nothing"):
        bench.letters.drop(["nothing"])
    assert bench.handled == []
    assert [letter.id for letter in bench.letters.replay([by_offset[1]])] == [by_offset[1]]
    bench.wait(lambda: bench.handled == [1])
    bench.letters.drop([by_offset[0], by_offset[2]])
    assert [letter.id for letter in bench.letters.list()] == [by_offset[3]]
    with pytest.raises(NotFound):
        bench.letters.replay([by_offset[1]])


def test_a_place_that_reads_no_more_and_cannot_say_its_lag_is_given_up_for_a_new_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LAG_SECONDS", 0.01)
    wedged: list[MemoryConsumer] = []
    poll, lag = MemoryConsumer.poll, MemoryConsumer.lag

    def dead(consumer: MemoryConsumer) -> bool:
        if not wedged:
            wedged.append(consumer)
        return consumer is wedged[0]

    monkeypatch.setattr(MemoryConsumer, "poll", lambda self, *args: [] if dead(self) else poll(self, *args))

    def ask(self: MemoryConsumer) -> dict[int, int]:
        if dead(self):
            raise Unavailable("the leader epoch is older than the broker's")
        return dict(lag(self))

    monkeypatch.setattr(MemoryConsumer, "lag", ask)
    bench.publish(1, 2)
    bench.start()
    bench.wait(lambda: sorted(bench.handled) == [1, 2])
