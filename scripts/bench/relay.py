"""Row `relay`: events from the outbox in Postgres to Apache Kafka, by `soma worker outbox_relay`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from confluent_kafka import Producer

from scripts.bench.distributed import Deployment, broker, deployment, until
from scripts.bench.figures import Row, Series, at_least, say
from scripts.bench.stores import Bench
from soma_core.adapters.kafka.stream import QUIET, SAFE
from soma_core.adapters.postgres.records import PostgresRecordStore
from soma_core.domain.messages import encode_event
from soma_core.ports.stream import Topic
from tests.support.distributed import WorkerProcess

EVENTS = 100_000
TURNS = 3
LEAST = 20_000.0
UNSENT = "SELECT EXISTS (SELECT FROM outbox WHERE NOT sent)"


def measure(bench: Bench) -> list[Row]:
    """The outbox is filled by stores; the relay starts on it, and every event counts when brokers have it for good."""
    number = bench.times(EVENTS, 10_000)
    relayed, bare = [], []
    with broker() as kafka, deployment(bench, fresh=kafka) as place:
        for turn in range(bench.times(TURNS, 1)):
            say(f"storing {number} memories")
            place.store([f"turn {turn}, memory {at}" for at in range(number)])
            messages = _messages(place, number)
            say("relaying")
            relayed.append(_relayed(place, number))
            bare.append(_produced(place, messages))
    measured = Series(f"{number} events from the outbox to Kafka, by one relay process", "events/s", relayed)
    control = Series(
        "a bare idempotent producer with the same options, the same messages ready-made", "messages/s", bare
    )
    size = round(sum(len(value) for _, value in messages) / len(messages))
    holds = measured.median >= LEAST
    context = {"to_the_control": round(measured.median / control.median, 3), "message_bytes": size}
    return [Row("relay", measured, [control], "the median", measured.median, at_least(LEAST), holds, context)]


def _messages(place: Deployment, number: int) -> list[tuple[str, bytes]]:
    """What the relay will send."""
    with contextlib.closing(PostgresRecordStore(place.database)) as records:
        return [(str(event.memory_id), encode_event(event)) for event in records.outbox().unsent(number)]


def _sent(relay: WorkerProcess) -> float:
    """How many events it counts."""
    return sum(relay.metrics("soma_events_sent_total"))


def _relayed(place: Deployment, number: int) -> float:
    """Events a second, from the first that is marked as sent to the last."""
    with place.worker("outbox_relay") as relay:
        until(lambda: _sent(relay) > 0, "the first events", 0.002)
        began, first = time.perf_counter(), _sent(relay)
        until(lambda: _sent(relay) >= number, "the last event")
        seconds = time.perf_counter() - began
    with place.asking() as ask:
        if ask(UNSENT):
            raise RuntimeError("the relay counts events that are not marked as sent")
    return (number - first) / seconds


def _produced(place: Deployment, messages: Sequence[tuple[str, bytes]]) -> float:
    """Messages a second until the broker has them all."""
    producer = Producer({"bootstrap.servers": place.settings["KAFKA_BOOTSTRAP_SERVERS"]} | QUIET | SAFE)
    topic = place.settings["KAFKA_TOPIC_PREFIX"] + Topic.EVENTS
    began = time.perf_counter()
    for key, value in messages:
        while True:
            try:
                producer.produce(topic, value=value, key=key)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()
    return len(messages) / (time.perf_counter() - began)
