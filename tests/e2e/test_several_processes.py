"""Several API processes on one Postgres and one Qdrant, without a broker: they share all and take turns at indexing."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from tests.support.postgres import PostgresServer
from tests.support.qdrant_process import QdrantProcess
from tests.support.server import Answer
from tests.support.serving import Serving, soma_serve, until

WORKERS = 2


@pytest.fixture
def served(database: str, qdrant: QdrantProcess) -> dict[str, str]:
    return {"POSTGRES_URL": database, "QDRANT_URL": qdrant.url, "QDRANT_COLLECTION": str(uuid4())}


@pytest.fixture
def soma(tmp_path: Path, served: dict[str, str]) -> Iterator[Serving]:
    with soma_serve(tmp_path / "home", files=None, UVICORN_WORKERS=str(WORKERS), **served) as serving:
        yield serving


def say(soma: Serving, path: str, body: object) -> Answer:
    return soma.ask(path, json.dumps(body), content_type="application/json")


def store(soma: Serving, text: str) -> str:
    answer = say(soma, "/store", {"text": text})
    assert answer.status == 200, answer.body
    return str(answer.json["id"])


def recalled(soma: Serving, query: str) -> list[str]:
    answer = say(soma, "/recall", {"query": query})
    assert answer.status == 200, answer.body
    return [hit["id"] for hit in answer.json["matches"]]


def workers(soma: Serving) -> list[int]:
    """The processes that serve: those that listen, without the one that started them."""
    children = psutil.Process(soma.pid).children(recursive=True)
    return [child.pid for child in children if "spawn_main" in " ".join(child.cmdline())]


def leader(postgres: PostgresServer, database: str) -> int:
    """Which process writes the index."""
    name = database.rpartition("/")[2]
    rows = postgres.execute(
        "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' "
        f"AND l.granted AND a.datname = '{name}' AND a.application_name LIKE 'soma % %'"
    )
    return int(rows[0][0].split()[-1]) if rows else 0


def test_several_processes_serve_one_port_and_when_the_one_that_indexes_is_killed_another_does(
    soma: Serving, postgres: PostgresServer, served: dict[str, str]
) -> None:
    for number in range(30):  # over many connections: whoever takes it, all of them find it at once
        stored = store(soma, f"The owl number {number} is called zebra{number}.")
        assert stored in recalled(soma, f"zebra{number}")
    pids = workers(soma)
    assert len(pids) == WORKERS
    soma.until_embedded()
    shown = soma.ask("/metrics").body.decode()
    counted = re.findall(r'api_requests_total\{endpoint="store",method="POST",status="200"\} (\S+)', shown)
    assert counted == ["30.0"]

    first = until(lambda: leader(postgres, served["POSTGRES_URL"]), "a leader")
    assert first in pids
    os.kill(first, signal.SIGKILL)
    until(lambda: leader(postgres, served["POSTGRES_URL"]) not in (0, first), "another leader")
    until(lambda: len(set(workers(soma)) - {first}) == WORKERS, "another process")

    def answered() -> bool:
        try:
            return soma.ask("/readyz").status == 200
        except OSError:
            return False

    until(answered, "an answer")
    late = store(soma, "The last owl is called giraffe.")
    assert late in recalled(soma, "giraffe")
    soma.until_embedded()
    assert recalled(soma, "zebra7 and giraffe")
    assert soma.ask(f"/memories/{late}?purge=true", method="DELETE").status == 200
    assert all(late not in recalled(soma, "giraffe") for _ in range(6))
    assert 'endpoint="store",method="POST",status="200"} 31.0' in soma.ask("/metrics").body.decode()
    assert not soma.home.exists()  # nothing of it is in a data folder
    assert soma.end() == 0
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_they_end_with_the_process_that_started_them_and_when_one_cannot_start(
    soma: Serving, tmp_path: Path, served: dict[str, str]
) -> None:
    pids = until(lambda: len(workers(soma)) == WORKERS and workers(soma), "all processes")
    soma.end(signal.SIGKILL)
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids), "the end of all")
    wrong = served | {"POSTGRES_URL": served["POSTGRES_URL"].replace("//soma@", "//nobody@"), "UVICORN_WORKERS": "2"}
    serving = Serving(tmp_path / "other", ("--port", "0"), wrong)
    assert serving.process.wait(30) == 1
    assert "POSTGRES_URL: no connection to" in serving.log
    assert "serving http" not in serving.log


def test_a_second_index_folder_on_one_database_is_refused_until_the_first_is_gone(
    tmp_path: Path, database: str
) -> None:
    with soma_serve(tmp_path / "one", POSTGRES_URL=database) as one:
        store(one, "Owls sleep by day.")
        refused = Serving(tmp_path / "two", ("--port", "0"), {"POSTGRES_URL": database})
        assert refused.process.wait(30) == 1
        assert f" {one.pid} at 127.0.0.1 keeps the index of this database in its own data folder" in refused.log
        assert "set QDRANT_URL for all of them" in refused.log
        one.end(signal.SIGKILL)
    with soma_serve(tmp_path / "two", POSTGRES_URL=database) as two:
        until(lambda: recalled(two, "owls"), "the index of the second")
