"""Opening a stream over Kafka: what is made, and what is said when it cannot be opened."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from soma_core.adapters.kafka import stream as module
from soma_core.adapters.kafka.address import Address
from soma_core.adapters.kafka.stream import KafkaStream, describe
from soma_core.adapters.kafka.topics import PLANS
from soma_core.domain.errors import InvalidInput, SomaError, Unavailable
from soma_core.ports.stream import Message, Topic
from soma_core.servers import kafka_address, open_stream
from soma_core.settings import load_settings
from tests.support.kafka import PASSWORD, USER, ApacheKafka, Broker, make_certificate
from tests.support.ports import free_port

WITHIN_SECONDS = 10.0


@contextmanager
def quickly() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < WITHIN_SECONDS


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Does not wait for a broker that may be starting."""
    monkeypatch.setattr(module, "START_SECONDS", 0.5)


def refusal(address: Address) -> SomaError:
    with quickly(), pytest.raises(SomaError) as caught:
        KafkaStream(address)
    assert PASSWORD not in caught.value.message
    assert PASSWORD not in repr(address)
    return caught.value


def config(servers: str, topic: str) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    admin = AdminClient({"bootstrap.servers": servers})
    return {name: entry.value for name, entry in admin.describe_configs([resource])[resource].result().items()}


def test_missing_topics_are_made_with_their_settings(apache: Broker, topic_prefix: str) -> None:
    address = Address(apache.servers, prefix=topic_prefix)
    assert "without" in describe(address)
    KafkaStream(address).close()
    found = AdminClient({"bootstrap.servers": apache.servers}).list_topics(timeout=10).topics
    for topic, plan in PLANS.items():
        assert len(found[topic_prefix + topic].partitions) == plan.partitions
        assert config(apache.servers, topic_prefix + topic).items() >= plan.config.items()
    assert describe(address) == f"Kafka at {apache.servers} with 1 broker(s)"


def test_a_topic_that_differs_is_told_of_and_left_as_it_is(
    apache: Broker, topic_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = topic_prefix + Topic.EVENTS
    given = NewTopic(name, 2, 1, config={"retention.ms": "60000"})
    admin = AdminClient({"bootstrap.servers": apache.servers})
    admin.create_topics([given])[name].result()
    with caplog.at_level(logging.WARNING):
        KafkaStream(Address(apache.servers, prefix=topic_prefix)).close()
    assert "has 2 partitions where Soma makes 12; it is left as it is" in caplog.text
    assert "has retention.ms=60000 where Soma makes" in caplog.text
    assert len(admin.list_topics(timeout=10).topics[name].partitions) == 2
    assert config(apache.servers, name)["retention.ms"] == "60000"


def test_with_a_password_and_with_a_certificate_messages_go_through(own_apache: ApacheKafka, topic_prefix: str) -> None:
    sasl = Address(
        own_apache.sasl_servers, protocol="SASL_PLAINTEXT", user=USER, password=PASSWORD, prefix=topic_prefix
    )
    ssl = Address(own_apache.ssl_servers, protocol="SSL", ca=own_apache.certificate, prefix=topic_prefix)
    for address in (sasl, ssl):
        with closing(KafkaStream(address)) as stream:
            stream.publish(Topic.DEAD_LETTERS, [Message("a", b"1")])
            assert stream.read(Topic.DEAD_LETTERS)[-1].value == b"1"


def test_a_broker_that_is_not_there_is_named_with_its_setting() -> None:
    port = free_port()
    error = refusal(Address(f"127.0.0.1:{port}"))
    assert isinstance(error, Unavailable)
    assert error.fields == ("KAFKA_BOOTSTRAP_SERVERS",)
    assert f"127.0.0.1:{port}" in error.message
    assert "speak PLAINTEXT (KAFKA_SECURITY_PROTOCOL)?" in error.message


def test_a_host_that_nobody_knows_is_named_with_its_setting(hasty: None) -> None:
    error = refusal(Address("no-such-host.invalid:9092"))
    assert isinstance(error, Unavailable)
    assert "KAFKA_BOOTSTRAP_SERVERS" in error.message
    assert "no-such-host.invalid:9092" in error.message


@pytest.mark.parametrize(
    ("user", "password", "mechanism"),
    [(USER, f"not {PASSWORD[:3]}", "PLAIN"), ("nobody", PASSWORD, "PLAIN"), (USER, PASSWORD, "SCRAM-SHA-256")],
    ids=["password", "user", "mechanism"],
)
def test_a_user_that_is_refused_is_told_what_to_check(
    own_apache: ApacheKafka, user: str, password: str, mechanism: str
) -> None:
    error = refusal(
        Address(own_apache.sasl_servers, protocol="SASL_PLAINTEXT", mechanism=mechanism, user=user, password=password)
    )
    assert isinstance(error, InvalidInput)
    assert error.message.startswith(f"KAFKA_SASL_PASSWORD: {own_apache.sasl_servers} as {user} with {mechanism}: ")
    assert "check user, password and KAFKA_SASL_MECHANISM" in error.message


def test_a_certificate_that_another_signed_is_told_what_to_name(own_apache: ApacheKafka, tmp_path: Path) -> None:
    for ca in (make_certificate(tmp_path), None):
        error = refusal(Address(own_apache.ssl_servers, protocol="SSL", ca=ca))
        assert isinstance(error, InvalidInput)
        assert error.message.startswith(f"KAFKA_SSL_CA_LOCATION: no connection to {own_apache.ssl_servers}: ")


@pytest.mark.parametrize("protocol", ["SSL", "PLAINTEXT"])
def test_another_protocol_than_the_ports_is_told_of(own_apache: ApacheKafka, hasty: None, protocol: str) -> None:
    servers = own_apache.servers if protocol == "SSL" else own_apache.ssl_servers
    error = refusal(Address(servers, protocol=protocol))
    assert "KAFKA_SECURITY_PROTOCOL" in f"{error.message} {error.fields}"


def test_a_file_or_a_user_that_is_missing_is_told_before_anybody_is_asked(tmp_path: Path) -> None:
    address = Address("127.0.0.1:1", protocol="SASL_SSL", user=USER)
    assert refusal(address).fields == ("KAFKA_SASL_PASSWORD",)
    assert refusal(replace(address, password=PASSWORD, ca=tmp_path / "none.pem")).fields == ("KAFKA_SSL_CA_LOCATION",)


def test_kafka_without_what_it_needs_is_refused_with_the_reason(tmp_path: Path) -> None:
    given = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "POSTGRES_URL": "postgresql://h/d", "QDRANT_URL": "http://h:1"}
    for missing in ("POSTGRES_URL", "QDRANT_URL"):
        settings = load_settings({**given, missing: ""}, home=tmp_path)
        with pytest.raises(InvalidInput, match=f"needs {missing} too") as caught:
            open_stream(settings)
        assert caught.value.fields == ("KAFKA_BOOTSTRAP_SERVERS", missing)
    with pytest.raises(InvalidInput, match="EVENTING_ENABLED: is false"):
        kafka_address(load_settings({**given, "EVENTING_ENABLED": "false"}, home=tmp_path))
    with pytest.raises(InvalidInput, match="KAFKA_BOOTSTRAP_SERVERS: is not set"):
        kafka_address(load_settings({}, home=tmp_path))
    assert kafka_address(load_settings(given, home=tmp_path)).servers == "127.0.0.1:1"
