"""What the rows of the distributed system stand on: its servers, which are private ones, and its worker processes."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
from confluent_kafka.admin import AdminClient

from scripts.bench.stores import Bench
from soma_core.adapters.kafka.address import Address
from soma_core.adapters.kafka.stream import KafkaStream
from soma_core.adapters.postgres.records import PostgresRecordStore
from soma_core.domain.errors import SomaError
from soma_core.domain.memory import NewMemory
from soma_core.ports.records import Request, Submission
from tests.support.distributed import WorkerProcess
from tests.support.kafka import NO_APACHE, ApacheKafka, Broker, Given, kafka_home
from tests.support.postgres import PostgresServer
from tests.support.qdrant_process import QdrantProcess

STORED_AT_ONCE = 5_000
GLANCE_SECONDS = 0.1
PATIENCE_SECONDS = 120.0
STAND_IN = "the tests' stand-in for a Qdrant server, in Python, on the same cores"


@dataclass(frozen=True, slots=True)
class Deployment:
    """Servers that run, and the settings that lead to them."""

    home: Path
    settings: dict[str, str]
    index: str
    """What stands for the Qdrant server."""
    index_pid: int | None

    @property
    def database(self) -> str:
        return self.settings["POSTGRES_URL"]

    @contextlib.contextmanager
    def asking(self) -> Iterator[Callable[[str], Any]]:
        """What gives the one value that Postgres answers to a statement."""
        with contextlib.closing(psycopg2.connect(self.database)) as db, db.cursor() as cursor:
            db.autocommit = True

            def ask(statement: str) -> Any:
                cursor.execute(statement)
                return cursor.fetchall()[0][0]

            yield ask

    @contextlib.contextmanager
    def worker(self, name: str, **settings: str) -> Iterator[WorkerProcess]:
        """A `soma worker` that is ready."""
        self.home.mkdir(parents=True, exist_ok=True)
        worker = WorkerProcess(self.home / "worker", name, self.settings | settings)
        try:
            yield worker.ready()
        finally:
            worker.end()

    def store(self, wanted: Sequence[str]) -> None:
        """Record these texts and nothing else: their events wait in the outbox."""
        records = PostgresRecordStore(self.database)
        try:
            outbox = records.outbox()
            outbox.begin()
            outbox.adopted()
            for start in range(0, len(wanted), STORED_AT_ONCE):
                memories = [NewMemory.parse(text) for text in wanted[start : start + STORED_AT_ONCE]]
                outcome = records.store([Submission("api_ns", memories, Request(str(uuid4()), "digest"))])[0]
                if isinstance(outcome, SomaError):
                    raise outcome
        finally:
            records.close()


@contextlib.contextmanager
def broker() -> Iterator[Broker]:
    """Apache Kafka: the one that `KAFKA_BOOTSTRAP_SERVERS` names, else a private one. Raises `RuntimeError`."""
    if given := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield Given(given)
        return
    if (found := kafka_home()) is None:
        raise RuntimeError(NO_APACHE)
    private = ApacheKafka(found)
    try:
        private.start()
        yield private
    finally:
        private.remove()


@contextlib.contextmanager
def deployment(bench: Bench, *, fresh: Broker) -> Iterator[Deployment]:
    """A Postgres with its usual settings, topics of its own, and the Qdrant server that is named or its stand-in."""
    prefix = f"bench-{uuid4().hex[:8]}."
    with bench.empty() as home, contextlib.ExitStack() as stack:
        server = PostgresServer()
        stack.callback(server.remove)
        settings = {
            "POSTGRES_URL": server.database(),
            "KAFKA_BOOTSTRAP_SERVERS": fresh.servers,
            "KAFKA_TOPIC_PREFIX": prefix,
            "QDRANT_COLLECTION": prefix.rstrip("."),
        }
        stack.callback(_drop_topics, fresh, prefix)
        with contextlib.closing(KafkaStream(Address(fresh.servers, prefix=prefix))):
            pass  # makes the topics
        if url := os.environ.get("QDRANT_URL"):
            yield Deployment(home, settings | {"QDRANT_URL": url}, f"the server at {url}", None)
            return
        index = QdrantProcess(home.with_name("qdrant"))
        stack.callback(index.kill)
        index.start()
        yield Deployment(home, settings | {"QDRANT_URL": index.url}, STAND_IN, index.pid)


def _drop_topics(broker: Broker, prefix: str) -> None:
    admin = AdminClient({"bootstrap.servers": broker.servers})
    names = [name for name in admin.list_topics(timeout=5).topics if name.startswith(prefix)]
    for future in admin.delete_topics(names).values() if names else ():
        future.result()


def processor_seconds(pid: int) -> float:
    """How long a process was on a processor since it began, its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def all_processor_seconds() -> float:
    """How long the processors of this machine were at work since it began, whoever for."""
    busy = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:4]
    return sum(map(int, busy)) / os.sysconf("SC_CLK_TCK")


def until(true: Callable[[], bool], what: str, every: float = GLANCE_SECONDS) -> None:
    """Wait for it. Raises `RuntimeError` when it takes too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {PATIENCE_SECONDS:g} s for {what}")
        time.sleep(every)
