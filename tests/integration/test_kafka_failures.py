"""A Kafka that goes away, and a member of a group that is thought dead and is not."""

from __future__ import annotations

import time
from contextlib import closing

import pytest

from soma_core.adapters.kafka import consumer as following
from soma_core.adapters.kafka import stream as module
from soma_core.adapters.kafka.address import Address
from soma_core.adapters.kafka.stream import KafkaStream
from soma_core.domain.errors import Unavailable
from soma_core.ports.stream import Consumer, Message, Topic
from tests.support.kafka import ApacheKafka, Broker

PATIENCE = 60.0


def values(consumer: Consumer, wanted: set[bytes]) -> None:
    """Poll until these came."""
    left, until = set(wanted), time.monotonic() + PATIENCE
    while left:
        assert time.monotonic() < until, f"{left} did not come"
        try:
            left -= {message.value or b"" for message in consumer.poll(100, 0.5)}
        except Unavailable:
            continue


def until_published(stream: KafkaStream, message: Message) -> None:
    """Send it, again while a broker that has just started does not take it yet."""
    until = time.monotonic() + 30
    while True:
        try:
            return stream.publish(Topic.EVENTS, [message])
        except Unavailable:
            assert time.monotonic() < until


def test_a_broker_that_goes_away_is_unavailable_and_back_again_it_is_used_again(
    own_apache: ApacheKafka, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PUBLISH_SECONDS", 1.0)
    monkeypatch.setitem(module.SAFE, "delivery.timeout.ms", 1_000)
    monkeypatch.setattr(following, "ASK_SECONDS", 1.0)
    with closing(KafkaStream(Address(own_apache.servers, prefix=topic_prefix))) as stream:
        until_published(stream, Message("a", b"1"))
        with stream.consume(Topic.EVENTS, "g") as consumer:
            values(consumer, {b"1"})
            own_apache.kill()
            with pytest.raises(Unavailable, match="Kafka at"):
                stream.publish(Topic.EVENTS, [Message("a", b"2")])
            with pytest.raises(Unavailable, match="Kafka at"):
                consumer.lag()
            own_apache.start()
            until_published(stream, Message("a", b"3"))
            values(consumer, {b"3"})
            consumer.commit()
            assert sum(consumer.lag().values()) == 0


def test_who_stalls_with_old_messages_in_hand_loses_them_to_another_and_moves_nothing_back(
    apache: Broker, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(following.MEMBER, "max.poll.interval.ms", 6_000)
    with closing(KafkaStream(Address(apache.servers, prefix=topic_prefix))) as stream:
        stream.publish(Topic.EVENTS, [Message(f"{n}", b"old") for n in range(30)])
        with stream.consume(Topic.EVENTS, "g") as stalled, stream.consume(Topic.EVENTS, "g") as other:
            values(stalled, {b"old"})
            seen: set[str] = set()
            until = time.monotonic() + PATIENCE
            while len(seen) < 30 or any(other.lag().values()):  # a commit while the group changes hands is not taken
                assert time.monotonic() < until, f"{len(seen)} of 30 were handed on"
                seen |= {message.key for message in other.poll(100, 0.5)}
                other.commit()
            stream.publish(Topic.EVENTS, [Message(f"{n}", b"new") for n in range(30)])
            stalled.commit()
            assert sum(other.lag().values()) == 30
            values(other, {b"new"})
