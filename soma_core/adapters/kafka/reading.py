"""What is in a topic: all of it, for no group, and how much of it a group has not handled."""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from soma_core.adapters.kafka.consumer import ASK_SECONDS, received_from
from soma_core.ports.stream import Received, Topic

READ_SECONDS = 30.0
READER: dict[str, Any] = {"group.id": "soma.reader", "enable.auto.commit": False, "enable.partition.eof": True}
"""The group is only a name that the driver asks for: partitions are taken without joining it."""


def read_all(options: dict[str, Any], topic: Topic, name: str) -> list[Received]:
    """Every message from the first of each partition to its present end. Raises `KafkaException`."""
    driver = Consumer(options | READER)
    try:
        partitions = driver.list_topics(name, ASK_SECONDS).topics[name].partitions
        driver.assign([TopicPartition(name, number, OFFSET_BEGINNING) for number in partitions])
        return _to_the_end(driver, set(partitions), topic)
    finally:
        driver.close()


def lag_of(options: dict[str, Any], name: str, group: str) -> dict[int, int]:
    """By partition, without joining the group. Where it has no position it begins with the first message there is."""
    driver = Consumer(options | {"group.id": group, "enable.auto.commit": False})
    try:
        partitions = driver.list_topics(name, ASK_SECONDS).topics[name].partitions
        found = driver.committed([TopicPartition(name, number) for number in partitions], ASK_SECONDS)
        return {place.partition: _after(driver, place) for place in found}
    finally:
        driver.close()


def _after(driver: Consumer, place: TopicPartition) -> int:
    first, end = driver.get_watermark_offsets(place, ASK_SECONDS)
    return max(0, end - max(first, place.offset))


def _to_the_end(driver: Consumer, open_: set[int], topic: Topic) -> list[Received]:
    found: list[Received] = []
    until = time.monotonic() + READ_SECONDS
    while open_:
        if (message := driver.poll(1.0)) is None:
            if time.monotonic() > until:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        elif (error := message.error()) is None:
            found.append(received_from(message, topic))
        elif error.code() == KafkaError._PARTITION_EOF:
            open_.discard(message.partition() or 0)
        else:
            raise KafkaException(error)
    return found
