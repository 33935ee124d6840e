"""`Consumer` over a Kafka cluster."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

from confluent_kafka import Consumer as Driver
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import Message as Delivered
from confluent_kafka import TopicPartition as Place
from confluent_kafka.admin import AdminClient, OffsetSpec

from soma_core.adapters.kafka.address import Address
from soma_core.adapters.kafka.errors import Complaints, failed, translated
from soma_core.ports.stream import Received, Topic

ASK_SECONDS = 5.0
MEMBER: dict[str, Any] = {
    "auto.offset.reset": "earliest",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "partition.assignment.strategy": "range",
    "session.timeout.ms": 6_000,
    "heartbeat.interval.ms": 500,
    "max.poll.interval.ms": 1_800_000,
    "fetch.wait.max.ms": 500,
}
"""A member that died is missed after six seconds; one whose batch takes half an hour counts as dead too.

Not cooperative: there each commit during a change of hands begins another one (librdkafka 4059), and where members
commit all the time none of them ever works, or a commit is never answered.
"""
TAKEN_AWAY = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError._STATE,
}
"""What a commit is told by a group that has given the partitions to another member."""


class KafkaConsumer:
    """A member of a consumer group."""

    def __init__(self, address: Address, options: dict[str, Any], topic: Topic, group: str) -> None:
        self._address = address
        self._topic = topic
        own = {"group.id": group, "error_cb": Complaints(address)}
        self._driver = Driver(options | MEMBER | own)
        self._driver.subscribe([address.prefix + topic])
        self._admin = AdminClient(options | {"error_cb": Complaints(address)})
        self._next: dict[int, int] = {}
        self._held: list[Delivered] = []

    def poll(self, limit: int, seconds: float) -> Sequence[Received]:
        with translated(f"following {self._topic}", self._address):
            if not self._held and (first := self._driver.poll(seconds)):
                self._held.append(first)
            if self._held and len(self._held) < limit:
                self._held += self._driver.consume(limit - len(self._held), 0)
        found, self._held = self._held, []
        good = [message for message in found if message.error() is None]
        if found and not good:
            raise failed(f"following {self._topic}", self._address, _first_error(found))
        return [self._taken(message) for message in good]

    def commit(self) -> None:
        mine = {place.partition for place in self._driver.assignment()}
        name = self._address.prefix + self._topic
        places = [Place(name, number, at) for number, at in self._next.items() if number in mine]
        try:
            if places:
                self._driver.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() not in TAKEN_AWAY:
                raise failed(f"committing in {self._topic}", self._address, error.args[0]) from error
        self._next.clear()

    def rest(self, seconds: float) -> None:
        """The driver must be polled meanwhile, so the partitions are set to give nothing."""
        until = time.monotonic() + seconds
        with translated(f"waiting in {self._topic}", self._address):
            try:
                while (left := until - time.monotonic()) > 0:
                    self._driver.pause(self._driver.assignment())
                    if message := self._driver.poll(min(left, 1.0)):
                        self._held.append(message)
            finally:
                self._driver.resume(self._driver.assignment())

    def lag(self) -> Mapping[int, int]:
        with translated(f"asking how far {self._topic} was followed", self._address):
            mine = self._driver.assignment()
            places = self._driver.committed(mine, ASK_SECONDS) if mine else []
            ends = self._ends(places) if places else {}
            return {place.partition: max(0, ends[place.partition] - max(0, place.offset)) for place in places}

    def close(self) -> None:
        self._driver.close()

    def _ends(self, places: Sequence[Place]) -> dict[int, int]:
        """The position after the last message of each partition.

        Asked on a connection of its own: on the other the question waits behind the fetch that waits for news.
        """
        latest: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        places = [Place(place.topic, place.partition) for place in places]
        found = self._admin.list_offsets(dict.fromkeys(places, latest), request_timeout=ASK_SECONDS)
        return {place.partition: future.result().offset for place, future in found.items()}

    def _taken(self, message: Delivered) -> Received:
        received = received_from(message, self._topic)
        self._next[received.partition] = received.position + 1
        return received

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _first_error(messages: Sequence[Delivered]) -> KafkaError:
    return next(error for message in messages if (error := message.error()))


def received_from(message: Delivered, topic: Topic) -> Received:
    """The driver's message as the port has it."""
    key = (message.key() or b"").decode(errors="replace")
    return Received(topic, message.partition() or 0, message.offset() or 0, key, message.value())
