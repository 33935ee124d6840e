"""The whole of Soma with its model behind an endpoint: what starts, what an outage costs, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from embeddings import asking, remote
from soma_core.bootstrap import create_memory_system
from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.query import Recall, RecallQuery
from soma_core.engine import Soma
from soma_core.settings import load_settings
from soma_mcp.sharing import SharedSoma
from tests.e2e.clients import Shell, wait_until
from tests.e2e.test_eval import small_set
from tests.support.embedder import DIMENSIONS, embed
from tests.support.embedding_server import MODEL, EmbeddingServer, Reply, embedding_server
from workers import vector_indexer
from workers.embedded import Workers

SCOPE = Scope("api_ns")
KEY = "sk-0123456789-secret"


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with embedding_server(lambda texts: [embed(text) for text in texts]) as server:
        server.key = KEY
        yield server


def told(server: EmbeddingServer, **other: str) -> dict[str, str]:
    """The settings of a process that uses the server."""
    return {
        "SOMA_EMBEDDING_BACKEND": "remote",
        "SOMA_EMBEDDING_URL": server.url,
        "SOMA_EMBEDDING_MODEL": MODEL,
        "SOMA_EMBEDDING_API_KEY": KEY,
    } | other


@pytest.fixture
def soma(server: EmbeddingServer, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Soma]:
    """An engine with its workers, which try again at once."""
    monkeypatch.setattr(remote, "PASSAGE_RETRIES", 0)
    monkeypatch.setattr(asking, "REST_SECONDS", 0.01)
    monkeypatch.setattr(vector_indexer, "RETRY_SECONDS", 0.01)
    settings = load_settings(told(server, SOMA_HOME=str(home), SOMA_DISK_RESERVE="0"))
    with closing(create_memory_system(settings)) as soma, Workers(soma):
        yield soma


def store(soma: Soma, *texts: str) -> None:
    for text in texts:
        soma.store(SCOPE, NewMemory.parse(text))


def recall(soma: Soma, question: str) -> Recall:
    return soma.recall(SCOPE, RecallQuery(question))


def until_embedded(soma: Soma) -> None:
    wait_until(lambda: not soma.status(SCOPE).pending_vectors, what="vectors of all memories")


def test_memories_are_found_by_their_meaning(soma: Soma, server: EmbeddingServer) -> None:
    store(soma, "the heron stands in the river", "the deployment is on friday")
    until_embedded(soma)
    found = recall(soma, "heron")
    assert (found.degraded, found.hits[0].memory.text) == ([], "the heron stands in the river")
    assert found.hits[0].parts.dense > 0
    status = soma.status(SCOPE)
    assert (status.model, status.model_ready, status.health) == (f"{MODEL}:remote-{DIMENSIONS}", True, [])


@pytest.mark.parametrize("reply", [Reply(503), Reply(401), Reply(200, b"garbage"), Reply(500)], ids=lambda r: r.status)
def test_while_it_is_away_stores_and_answers_by_words_go_on_and_all_is_embedded_afterwards(
    soma: Soma, server: EmbeddingServer, reply: Reply
) -> None:
    store(soma, "the heron stands in the river")
    until_embedded(soma)
    server.instead = lambda texts: reply
    store(soma, "a kingfisher came to the river")
    wait_until(lambda: not soma.status(SCOPE).model_ready, what="an outage that is noticed")
    wait_until(lambda: soma.status(SCOPE).health, what="a word about it")
    found = recall(soma, "kingfisher")
    assert found.hits[0].memory.text == "a kingfisher came to the river"
    assert any(said.startswith("dense: ") for said in found.degraded)
    assert soma.status(SCOPE).pending_vectors == 1

    server.instead = lambda texts: None
    until_embedded(soma)
    assert soma.status(SCOPE).health == []
    assert recall(soma, "kingfisher").degraded == []
    assert soma.inspect(SCOPE).is_clean


def test_a_question_that_notices_the_outage_first_is_answered_by_words(soma: Soma, server: EmbeddingServer) -> None:
    store(soma, "the heron stands in the river")
    until_embedded(soma)
    server.instead = lambda texts: Reply(503)
    found = recall(soma, "heron")
    assert found.hits[0].memory.text == "the heron stands in the river"
    assert "is not available (status 503), the answer is by words only" in found.degraded[0]


def test_a_text_that_it_cannot_embed_stops_nothing(soma: Soma, server: EmbeddingServer) -> None:
    def refuse(texts: Sequence[str]) -> Reply | None:
        return Reply(400) if any("poison" in text for text in texts) else None

    server.instead = refuse
    store(soma, "alpha", "poison", "beta")
    until_embedded(soma)
    assert recall(soma, "poison").hits[0].memory.text == "poison"
    assert any("1 passages could not be embedded" in said for said in soma.status(SCOPE).health)


def test_it_starts_while_the_endpoint_is_away_where_the_length_of_vectors_is_set(
    server: EmbeddingServer, home: Path
) -> None:
    server.instead = lambda texts: Reply(503)
    shell = Shell(home, **told(server, SOMA_EMBEDDING_DIMENSIONS=str(DIMENSIONS)))
    done = shell.run("store", "the heron stands in the river")
    assert b"cannot" not in done.stdout
    assert KEY.encode() not in done.stderr
    assert Shell(home, **told(server)).refusal_here("stats")["code"] == "unavailable"


@pytest.mark.parametrize(
    ("other", "setting"),
    [
        ({"SOMA_EMBEDDING_URL": "http://127.0.0.1:9/v1"}, "SOMA_EMBEDDING_URL"),
        ({"SOMA_EMBEDDING_URL": ""}, "SOMA_EMBEDDING_URL"),
        ({"SOMA_EMBEDDING_MODEL": ""}, "SOMA_EMBEDDING_MODEL"),
        ({"SOMA_EMBEDDING_API_KEY": "sk-another-one"}, "SOMA_EMBEDDING_API_KEY"),
        ({"SOMA_EMBEDDING_DIMENSIONS": "128"}, "SOMA_EMBEDDING_DIMENSIONS"),
        ({"SOMA_EMBEDDING_BACKEND": "onnx", "SOMA_EMBEDDING_MODEL": ""}, "SOMA_EMBEDDING_URL"),
    ],
)
def test_a_start_that_cannot_be_names_the_setting_and_no_key(
    server: EmbeddingServer, home: Path, other: dict[str, str], setting: str
) -> None:
    error = Shell(home, **told(server, **other)).refusal_here("stats")
    assert error["message"].startswith(f"{setting}: ")
    assert error["fields"] == [setting]
    assert not any(key in json.dumps(error) for key in (KEY, "sk-another-one"))


def test_vectors_of_two_models_never_mix_and_reindex_changes_the_model(server: EmbeddingServer, home: Path) -> None:
    shell = Shell(home, **told(server))
    shell.run("store", "the heron stands in the river")
    assert "soma reindex" in Shell(home).refusal_here("stats")["message"]
    assert f"{MODEL}:remote-{DIMENSIONS}" in Shell(home).refusal_here("stats")["message"]
    Shell(home).run("reindex")
    assert shell.refusal_here("stats")["code"] == "model_mismatch"


def test_a_rebuild_with_another_backend_is_not_left_to_an_owner_that_would_misunderstand_it(
    server: EmbeddingServer, home: Path
) -> None:
    settings = load_settings(told(server, SOMA_HOME=str(home), SOMA_DISK_RESERVE="0"))
    with closing(SharedSoma(settings, stay=True)) as owner:
        owner.store(SCOPE, NewMemory.parse("the heron stands in the river"))
        error = Shell(home, SOMA_EMBEDDING_MODEL="org/name").refusal_here("reindex")
        assert error["fields"] == ["SOMA_EMBEDDING_BACKEND"]
        assert "is onnx here, and remote in process" in error["message"]
        assert "rebuilt from 1 changes" in Shell(home).text("reindex")
        assert owner.status(SCOPE).model == f"{MODEL}:remote-{DIMENSIONS}"


def test_the_doctor_and_an_evaluation_use_it(server: EmbeddingServer, home: Path, tmp_path: Path) -> None:
    shell = Shell(home, **told(server))
    assert f"{MODEL}:remote-{DIMENSIONS}, {DIMENSIONS} dimensions, answers at 127.0.0.1" in shell.text("doctor")
    path = tmp_path / "small.json"
    path.write_text(json.dumps(small_set()))
    shell.run("eval", str(path), "--output", str(tmp_path / "result.json"))
    report = json.loads((tmp_path / "result.json").read_text())
    assert report["model"] == f"{MODEL}:remote-{DIMENSIONS}"
    assert report["notes"] == []
