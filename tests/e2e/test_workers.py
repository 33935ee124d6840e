"""The server, the relay and the indexers as processes, over Postgres, Kafka and a Qdrant server."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from soma_core.adapters.kafka.address import Address
from soma_core.adapters.kafka.stream import KafkaStream
from soma_core.ports.stream import Message, Topic
from soma_core.services.dead_letters import DeadLetters
from tests.support.distributed import Distributed, WorkerProcess, said, texts
from tests.support.kafka import ApacheKafka, Broker
from tests.support.ports import free_port, free_ports
from tests.support.qdrant_process import QdrantProcess
from tests.support.serving import ROOT, Serving, environment, until
from workers.processes import WORKERS

QUESTION = "Which pets live with us?"
PETS = "A tabby kitten and two goldfish share our flat."
LATER = b'{"schema":"memory.event.v2","id":"11111111-1111-4111-8111-111111111111"}'


@pytest.fixture
def soma(
    tmp_path: Path, database: str, qdrant: QdrantProcess, kafka: Broker, topic_prefix: str
) -> Iterator[Distributed]:
    settings = {
        "POSTGRES_URL": database,
        "QDRANT_URL": qdrant.url,
        "QDRANT_COLLECTION": str(uuid4()),
        "KAFKA_BOOTSTRAP_SERVERS": kafka.servers,
        "KAFKA_TOPIC_PREFIX": topic_prefix,
    }
    found = Distributed(tmp_path / "soma", settings)
    yield found
    found.close()


@pytest.fixture
def stream(soma: Distributed, kafka: Broker, topic_prefix: str) -> Iterator[KafkaStream]:
    with closing(KafkaStream(Address(kafka.servers, prefix=topic_prefix))) as opened:
        yield opened


def pending(api: Serving) -> dict[str, int]:
    found = said(api, "/stats")["pending"]
    return {"words": found["words"], "vectors": found["vectors"]}


def until_indexed(api: Serving, seconds: float = 60.0) -> None:
    until(lambda: not any(pending(api).values()), "all in the index", seconds)


def store(api: Serving, text: str, **more: Any) -> str:
    return str(said(api, "/store", {"payload": {"text": text}, **more})["id"])


def test_what_is_stored_is_found_at_once_by_words_and_soon_by_meaning_and_poison_stops_nothing(
    soma: Distributed, apache: Broker, stream: KafkaStream
) -> None:
    api = soma.api()
    kept = store(api, PETS)
    assert list(texts(api, "tabby kitten goldfish")) == [PETS]
    assert pending(api) == {"words": 1, "vectors": 1}
    relay, indexer = soma.start("outbox_relay"), soma.start("vector_indexer")
    relay.ready()
    indexer.ready()
    until_indexed(api)
    until(lambda: said(api, "/stats")["model"]["ready"], "the model")
    assert list(texts(api, QUESTION)) == [PETS]

    stream.publish(Topic.EVENTS, [Message("a", b"{"), Message("b", LATER)])
    given_up = DeadLetters(stream)
    until(lambda: len(given_up.list()) == 2, "two dead letters")
    letters = soma.soma("dead-letters", "list")["dead_letters"]
    assert {letter["reason"] for letter in letters} == {"malformed", "unknown_schema"}
    store(api, "The kettle whistles at noon.")
    until_indexed(api)
    assert said(api, "/recall", {"query": "kettle"})["matches"]
    later = next(letter["id"] for letter in letters if letter["event"])
    assert soma.soma("dead-letters", "replay", "--all") == {"replayed": [later]}
    again = until(lambda: len(found := given_up.list()) == 2 and found, "it to come again")
    assert later not in {letter.id for letter in again}
    assert len(soma.soma("dead-letters", "drop", "--all")["dropped"]) == 2
    assert given_up.list() == []

    assert api.ask(f"/memories/{kept}?purge=true", method="DELETE").status == 200
    until_indexed(api)
    assert soma.soma("verify")["clean"]
    until(lambda: indexer.metrics("consumer_lag") and not any(indexer.metrics("consumer_lag")), "no lag")
    assert sum(indexer.metrics("soma_dead_letters_total", component="vector_indexer")) == 3
    assert indexer.metrics("consumer_messages_consumed_total", topic="memory.events") == [6]
    assert indexer.metrics("consumer_process_success_total", component="vector_indexer") == [3]
    assert relay.metrics("soma_events_sent_total") == [3]
    assert [relay.end(), indexer.end()] == [0, 0]


def test_relays_indexers_and_the_broker_are_killed_under_load_and_nothing_is_lost_or_twice(
    soma: Distributed, own_apache: ApacheKafka
) -> None:
    api = soma.api()
    workers: dict[str, list[WorkerProcess]] = {}
    for name in ("outbox_relay", "vector_indexer"):
        workers[name] = [soma.start(name) for _ in range(2)]
    for worker in workers["outbox_relay"] + workers["vector_indexer"]:
        worker.ready()
    numbers = range(240)
    with ThreadPoolExecutor(4) as pool:
        storing = [pool.submit(store, api, f"Locker {n} holds {n * 7} marbles.") for n in numbers]
        until(lambda: sum(done.done() for done in storing) > 60, "some stores")
        workers["vector_indexer"][0].end(signal.SIGKILL)
        workers["outbox_relay"][0].end(signal.SIGKILL)
        until(lambda: sum(done.done() for done in storing) > 120, "more stores")
        own_apache.kill()
        ids = [done.result() for done in storing]
    gone = set(ids[::10])
    for id in gone:
        assert api.ask(f"/memories/{id}", method="DELETE").status == 200
    assert pending(api)["vectors"]
    own_apache.start()
    until_indexed(api)
    assert soma.soma("verify")["clean"]
    found = {n: list(texts(api, f"Locker {n} holds marbles", 3)) for n in numbers if n % 8 < 2}
    for n, hits in found.items():
        assert (f"Locker {n} holds {n * 7} marbles." in hits) is (n % 10 != 0)
    assert soma.soma("dead-letters", "list") == {"dead_letters": []}
    assert [worker.end() for name in workers for worker in workers[name][1:]] == [0, 0]


def test_of_two_relays_one_sends_each_event_once_and_an_idle_system_indexes_within_a_moment(
    soma: Distributed, apache: Broker, stream: KafkaStream
) -> None:
    api = soma.api()
    everything = soma.start("all")
    everything.ready()
    second = soma.start("outbox_relay").ready()
    for n in range(20):
        store(api, f"Note {n}.")
        until_indexed(api, 10.0)
    assert len({message.value for message in stream.read(Topic.EVENTS)}) == len(stream.read(Topic.EVENTS)) == 20
    assert sum(worker.metrics("soma_events_sent_total")[0] for worker in (everything, second)) == 20
    assert everything.end(signal.SIGINT) == second.end() == 0


def test_a_worker_without_a_usable_setting_says_so_and_ends(
    soma: Distributed, database: str, kafka: Broker, tmp_path: Path
) -> None:
    port = free_port()
    for change, expected in (
        (
            {"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}"},
            f"KAFKA_BOOTSTRAP_SERVERS: no connection to 127.0.0.1:{port}",
        ),
        ({"POSTGRES_URL": ""}, "KAFKA_BOOTSTRAP_SERVERS: needs POSTGRES_URL too"),
        ({"EVENTING_ENABLED": "false"}, "EVENTING_ENABLED: is false"),
    ):
        other = Distributed(tmp_path / "other", soma.settings | change)
        worker = other.start("outbox_relay")
        assert worker.process.wait(20) == 1
        assert expected in worker.log
        assert "Traceback" not in worker.log


def test_run_consumers_starts_all_workers_and_ends_them_together(soma: Distributed) -> None:
    first, *_ = free_ports(len(WORKERS))
    home = soma.folder / "consumers"
    home.parent.mkdir(parents=True, exist_ok=True)
    api = soma.api()
    with home.with_suffix(".log").open("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.run_consumers", "--metrics-port", str(first)],
            stderr=log, env=environment(home, soma.settings), cwd=ROOT,
        )  # fmt: skip
        try:
            store(api, PETS)
            until_indexed(api)
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, home.with_suffix(".log").read_text()
        finally:
            process.kill()
    assert home.with_suffix(".log").read_text().count(" is ready ") == len(WORKERS)
