"""`soma serve` with its records in Postgres."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres import DURABLE, PostgresServer
from tests.support.server import Answer
from tests.support.serving import Serving, soma_serve


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    found = PostgresServer(*DURABLE)
    yield found
    found.remove()


def say(soma: Serving, path: str, body: object, **headers: str) -> Answer:
    return soma.ask(path, json.dumps(body), content_type="application/json", **headers)


def test_memories_outlive_the_server_its_folder_and_a_database_that_was_away(
    server: PostgresServer, tmp_path: Path
) -> None:
    url = server.database()
    with soma_serve(tmp_path / "one", POSTGRES_URL=url) as soma:
        kept = say(soma, "/store", {"payload": {"text": "Owls sleep by day."}}).json["id"]
        gone = say(soma, "/store", {"payload": {"text": "zyxSECRET"}}).json["id"]
        soma.until_embedded()
        assert soma.ask(f"/memories/{gone}?purge=true", method="DELETE").json["records"] == "purged"

        server.stop("immediate")
        refused = say(soma, "/store", {"payload": {"text": "Foxes too."}}, idempotency_key="foxes")
        assert refused.status == 503
        assert int(refused.headers["retry-after"]) > 0
        assert say(soma, "/recall", {"query": "owls"}).status == 503
        server.start()
        assert say(soma, "/store", {"payload": {"text": "Foxes too."}}, idempotency_key="foxes").status == 200
        soma.end(signal.SIGKILL)

    with soma_serve(tmp_path / "another", POSTGRES_URL=url) as soma:
        soma.until_embedded()
        hits = say(soma, "/recall", {"query": "When do owls sleep?"}).json["matches"]
        assert [hit["id"] for hit in hits][:1] == [kept]
        assert soma.ask("/stats").json["total_memories"] == 2
