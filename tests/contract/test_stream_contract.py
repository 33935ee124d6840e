"""The stream contract, run by every adapter: in this process, and over a real Apache Kafka or its stand-in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from soma_core.adapters.kafka.address import Address
from soma_core.adapters.kafka.stream import KafkaStream
from soma_core.adapters.memory.stream import MemoryStream
from tests.contract.stream import Open, StreamContract
from tests.support.kafka import Broker


class TestMemoryStream(StreamContract):
    @pytest.fixture
    def open_stream(self) -> Open:
        stream = MemoryStream()
        return lambda: stream


def opener(servers: str, prefix: str) -> Iterator[Callable[[], KafkaStream]]:
    """Opens streams over a broker, and closes them."""
    streams: list[KafkaStream] = []

    def open_stream() -> KafkaStream:
        streams.append(KafkaStream(Address(servers, prefix=prefix)))
        return streams[-1]

    yield open_stream
    for stream in streams:
        stream.close()


class TestKafkaStream(StreamContract):
    @pytest.fixture
    def open_stream(self, kafka: Broker, topic_prefix: str) -> Iterator[Open]:
        yield from opener(kafka.servers, topic_prefix)

    @pytest.fixture
    def counts(self, apache: Broker) -> None: ...
