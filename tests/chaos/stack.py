"""A whole distributed Soma on servers of its own, each of which can be killed and started again."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from soma_core.adapters.kafka.address import Address
from soma_core.adapters.kafka.stream import KafkaStream
from soma_core.ports.stream import EventStream
from soma_core.services.dead_letters import DeadLetters
from tests.chaos.load import Load
from tests.support.distributed import Distributed, WorkerProcess
from tests.support.kafka import ApacheKafka
from tests.support.postgres import DURABLE, PostgresServer
from tests.support.qdrant_process import QdrantProcess
from tests.support.redis_server import RedisServer
from tests.support.serving import Serving, until

RELAY, INDEXER = "outbox_relay", "vector_indexer"
SAMPLE = 16
PATIENCE = 60.0


class Stack:
    """One server, two relays, of which one stands by, and an indexer; and the load on them."""

    def __init__(
        self,
        soma: Distributed,
        postgres: PostgresServer,
        redis: RedisServer,
        kafka: ApacheKafka,
        stream: EventStream,
        qdrant: QdrantProcess | None,
    ) -> None:
        """Without `qdrant` the index is on a server that is not the tests' own."""
        self.soma, self.postgres, self.redis, self.kafka, self.qdrant = soma, postgres, redis, kafka, qdrant
        self.api: Serving = soma.api()
        self.relays = [soma.start(RELAY), soma.start(RELAY)]
        self.indexer = soma.start(INDEXER)
        for worker in (*self.relays, self.indexer):
            worker.ready()
        self.load = Load(lambda: self.api)
        self.dead_letters = DeadLetters(stream)

    def kill_relay(self) -> None:
        """Kill the one that works."""
        dying = max(self.relays, key=_sent)
        dying.end(signal.SIGKILL)
        self.relays.remove(dying)

    def sent(self) -> float:
        """How many events the relays that live have sent."""
        return sum(map(_sent, self.relays))

    def pending(self) -> int:
        """How many changes the index lacks."""
        return int(self.load.asked("/stats")["pending"]["vectors"])

    def degraded(self) -> str:
        """What a recall says is missing."""
        return "; ".join(self.load.asked("/recall", {"query": "Where is the teapot?"})["degraded"])

    def until_indexed(self) -> None:
        until(lambda: not self.pending(), "all in the index", PATIENCE, pause=0.1)

    def check(self) -> None:
        """All that was acknowledged is there once, nothing else is, and index and cache hold it as the records do."""
        self.check_answers()
        found = self.soma.soma("verify")
        assert found["clean"], found
        assert [drift["pending"] for drift in found["namespaces"]] == [0]
        assert [drift["memories"] for drift in found["namespaces"]] == [len(self.load.live)]
        assert self.dead_letters.list() == []

    def check_answers(self) -> None:
        """All that was acknowledged is there once, and nothing else is."""
        self.until_indexed()
        load = self.load
        exported = [(line["id"], line["text"]) for line in self._exported()]
        assert len(exported) == len(dict(exported))
        assert dict(exported) == load.live
        self._check_recall("by meaning", hybrid=False)
        self._check_recall("by words too")

    def _check_recall(self, how: str, **more: Any) -> None:
        """The newest of what is kept is recalled, and what was forgotten newly is not."""
        load = self.load
        for chosen in (load.live, load.gone):
            some = list(chosen.items())[-SAMPLE:]
            answers = load.answers([text for _, text in some], **more)
            for (id, text), answer in zip(some, answers, strict=True):
                assert len(answer) == len(set(answer)), answer
                assert (id in answer) is (id in load.live), f"{how}: {text}"
                assert not load.gone.keys() & set(answer), f"{how}: {text}"

    def _exported(self) -> Iterator[Any]:
        answer = self.api.ask("/export")
        assert answer.status == 200
        yield from map(json.loads, answer.body.decode().splitlines())


def _sent(relay: WorkerProcess) -> float:
    return sum(relay.metrics("soma_events_sent_total"))


@contextmanager
def running(folder: Path, kafka: ApacheKafka, given_qdrant: dict[str, str]) -> Iterator[Stack]:
    """All of it; gone afterwards."""
    with ExitStack() as opened:
        postgres = PostgresServer(*DURABLE)
        opened.callback(postgres.remove)
        redis = RedisServer()
        opened.callback(redis.kill)
        qdrant = None if given_qdrant else QdrantProcess(folder / "qdrant")
        if qdrant:
            qdrant.start()
            opened.callback(qdrant.kill)
        settings = {
            "POSTGRES_URL": postgres.database(),
            "REDIS_URL": redis.url,
            "KAFKA_BOOTSTRAP_SERVERS": kafka.servers,
            "KAFKA_TOPIC_PREFIX": f"{uuid4()}.",
            "QDRANT_COLLECTION": str(uuid4()),
            **(given_qdrant or {"QDRANT_URL": qdrant.url if qdrant else ""}),
        }
        address = Address(kafka.servers, prefix=settings["KAFKA_TOPIC_PREFIX"])
        stream = opened.enter_context(closing(KafkaStream(address)))
        soma = opened.enter_context(closing(Distributed(folder / "soma", settings)))
        yield Stack(soma, postgres, redis, kafka, stream, qdrant)
