"""`EventStream` over a Kafka cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as Delivered
from confluent_kafka.admin import AdminClient, ClusterMetadata

from soma_core.adapters.kafka.address import Address
from soma_core.adapters.kafka.consumer import KafkaConsumer
from soma_core.adapters.kafka.errors import Complaints, failed, hopeless, starting_failed, translated
from soma_core.adapters.kafka.reading import lag_of, read_all
from soma_core.adapters.kafka.topics import ensure_topics
from soma_core.ports.stream import Message, Received, Topic

START_SECONDS = 6.0
PUBLISH_SECONDS = 10.0
QUIET: dict[str, Any] = {"log_level": 2, "client.id": "soma", "reconnect.backoff.max.ms": 2_000}
"""What goes wrong is told by the callback for errors, and logged there."""
SAFE: dict[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    "compression.type": "lz4",
    "linger.ms": 2,
    "delivery.timeout.ms": int(PUBLISH_SECONDS * 1_000),
    "queue.buffering.max.messages": 200_000,
}
"""A broker has a message on all in-sync replicas before it says so, once and in order though it was sent again."""


class KafkaStream:
    """One producer, made anew when it failed, and as many consumers as there are asked for."""

    def __init__(self, address: Address) -> None:
        """Connect, and make the topics that are missing. Raises `InvalidInput`, `Unavailable` within ten seconds."""
        self._address = address
        self._options = QUIET | address.options()
        self._lock = threading.Lock()
        self._producer: Producer | None = None
        _start(self._options, address)

    def publish(self, topic: Topic, messages: Iterable[Message]) -> None:
        """After a failure the producer is given up: what it still holds may follow later, or not at all."""
        producer, name = self._connected(), self._address.prefix + topic
        delivery = _Delivery()
        try:
            for message in messages:
                delivery.send(producer, name, message)
            delivery.wait(producer)
        except KafkaException as error:
            self._give_up(producer)
            raise failed(f"sending to {name}", self._address, error.args[0]) from error

    def consume(self, topic: Topic, group: str) -> KafkaConsumer:
        return KafkaConsumer(self._address, self._options, topic, self._address.prefix + group)

    def read(self, topic: Topic) -> Sequence[Received]:
        with translated(f"reading {topic}", self._address):
            return read_all(self._options, topic, self._address.prefix + topic)

    def lag(self, topic: Topic, group: str) -> Mapping[int, int]:
        with translated(f"asking how far {topic} was followed", self._address):
            return lag_of(self._options, self._address.prefix + topic, self._address.prefix + group)

    def close(self) -> None:
        with self._lock:
            producer, self._producer = self._producer, None
        if producer:
            producer.flush(0)

    def _connected(self) -> Producer:
        with self._lock:
            if self._producer is None:
                self._producer = Producer(self._options | SAFE | {"error_cb": Complaints(self._address)})
            return self._producer

    def _give_up(self, producer: Producer) -> None:
        with self._lock:
            if self._producer is producer:
                self._producer = None
        producer.purge()
        producer.flush(0)


class _Delivery:
    """Messages on their way, until a broker has them all."""

    def __init__(self) -> None:
        self._waiting = 0
        self._error: KafkaError | None = None

    def send(self, producer: Producer, topic: str, message: Message) -> None:
        """Hand it to the driver, as soon as that has room. Raises `KafkaException`."""
        while not self._error:
            try:
                producer.produce(topic, value=message.value, key=message.key, on_delivery=self._done)
                self._waiting += 1
                return
            except BufferError:
                producer.poll(0.1)

    def wait(self, producer: Producer) -> None:
        """Until all are there. Raises `KafkaException`."""
        until = time.monotonic() + PUBLISH_SECONDS + 2
        while self._waiting and time.monotonic() < until:
            producer.poll(0.1)
        if self._waiting and not self._error:
            self._error = KafkaError(KafkaError._MSG_TIMED_OUT)
        if self._error:
            raise KafkaException(self._error)

    def _done(self, error: KafkaError | None, _: Delivered) -> None:
        self._waiting -= 1
        self._error = error or self._error


def describe(address: Address) -> str:
    """The cluster in a few words. Raises `InvalidInput`, `Unavailable`; makes nothing."""
    admin, complaints = _admin(QUIET | address.options(), address)
    found = _ask(admin, complaints, address)
    missing = [address.prefix + topic for topic in Topic if address.prefix + topic not in found.topics]
    lacks = f", without {' and '.join(missing)}, which a worker makes" if missing else ""
    return f"Kafka at {address.servers} with {len(found.brokers)} broker(s){lacks}"


def _start(options: dict[str, Any], address: Address) -> None:
    admin, complaints = _admin(options, address)
    cluster = _ask(admin, complaints, address)
    try:
        ensure_topics(admin, address.prefix, cluster)
    except KafkaException as error:
        raise starting_failed(error.args[0], address) from error


def _admin(options: dict[str, Any], address: Address) -> tuple[AdminClient, Complaints]:
    complaints = Complaints(address)
    try:
        return AdminClient(options | {"error_cb": complaints}), complaints
    except KafkaException as error:
        raise starting_failed(error.args[0], address) from error


def _ask(admin: AdminClient, complaints: Complaints, address: Address) -> ClusterMetadata:
    """Brokers and topics; waits for a broker that is only just starting, not for a password to become right."""
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            return admin.list_topics(timeout=1)
        except KafkaException as error:
            admin.poll(0)
            telling = complaints.telling or error.args[0]
            if hopeless(telling) or time.monotonic() > until:
                raise starting_failed(telling, address) from error
