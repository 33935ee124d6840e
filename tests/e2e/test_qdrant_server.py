"""Soma with its index on a Qdrant server."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from uuid import uuid4

import pytest
from qdrant_client import QdrantClient, models

from soma_core.bootstrap import create_memory_system
from soma_core.domain.errors import ModelMismatch
from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.query import RecallQuery
from soma_core.engine import Soma
from tests.e2e.clients import ROOT, Shell, environment, wait_until
from tests.support.graphs import lookup_model
from tests.support.ports import free_port
from tests.support.qdrant_process import QdrantProcess
from workers.embedded import Workers

SCOPE = Scope("api_ns")
DIARY = ROOT / "examples" / "diary.jsonl"
QUESTION = "Why were customers charged two times?"


@pytest.fixture
def served(home: Path, qdrant: QdrantProcess) -> Shell:
    """The command line with its index in a collection of its own."""
    return Shell(home, QDRANT_URL=qdrant.url, QDRANT_COLLECTION=str(uuid4()))


def texts(soma: Soma, question: str) -> list[str]:
    return [hit.memory.text for hit in soma.recall(SCOPE, RecallQuery.parse(question)).hits]


def test_commands_on_a_server_find_what_they_find_in_the_folder(served: Shell, tmp_path: Path) -> None:
    embedded = Shell(tmp_path / "embedded")
    answers = []
    for shell in (served, embedded):
        assert shell.json("store-bulk", str(DIARY)) == {"stored": 62, "refused": []}
        hits = shell.json("recall", QUESTION, "--limit", "10")["hits"]
        answers.append([(hit["text"], pytest.approx(hit["score"], rel=1e-5)) for hit in hits])
    assert len(answers[0]) == 10
    assert answers[0] == answers[1]
    assert not (served.home / "index").exists()
    rebuilt = served.json("reindex")
    assert (rebuilt["events"], rebuilt["generation"], rebuilt["kept"]) == (62, 2, [1])
    assert "soma reindex --drop-old" in served.text("reindex")
    assert served.json("reindex", "--drop-old") == {"dropped": [2]}
    assert served.text("reindex", "--drop-old") == "there is none to delete\n"
    assert served.json("recall", QUESTION)["hits"]
    found = {one["what"]: one for one in served.json("doctor")["findings"]}
    assert found["index"]["verdict"] == found["index server"]["verdict"] == "good"
    assert found["index"]["detail"] == "64 points for 62 memories"
    assert "Qdrant 1.19.0 at 127.0.0.1" in found["index server"]["detail"]


def test_a_process_that_starts_again_goes_on_where_the_last_one_stopped(served: Shell) -> None:
    served.text("store", "The kafka broker lives in Oslo.")
    served.text("recall", "kafka")
    told = {"home": served.home, **{name.lower(): value for name, value in served.settings.items()}}
    soma = create_memory_system(**told)  # type: ignore[arg-type]
    assert soma.indexing.backlog("api_ns") == (0, 0)
    assert texts(soma, "Where is the kafka broker?") == ["The kafka broker lives in Oslo."]
    soma.close()


def test_verify_names_what_the_server_lost_and_reindex_brings_it_back(served: Shell) -> None:
    kept, lost = served.json("store", "The kafka broker lives in Oslo."), served.json("store", "Tea is at three.")
    assert served.json("verify")["namespaces"][0]["pending"] == 2
    served.text("recall", "kafka")
    assert served.json("verify")["clean"]
    client = QdrantClient(url=served.settings["QDRANT_URL"], check_compatibility=False)
    of_lost = models.FieldCondition(key="memory", match=models.MatchValue(value=lost["id"]))
    wanted = models.FilterSelector(filter=models.Filter(must=[of_lost]))
    client.delete(served.settings["QDRANT_COLLECTION"], wanted)
    client.close()
    found = served.json("verify", status=1)
    assert not found["clean"]
    assert found["namespaces"][0]["missing"] == 1
    assert lost["id"] in found["namespaces"][0]["examples"][0]
    told = served.text("verify", status=1)
    assert told.startswith("bad   'api_ns': 1 points for 2 memories, 1 missing\n")
    assert "do: `soma reindex` rebuilds the collection" in told
    assert kept["id"] not in told
    served.text("reindex")
    assert served.text("verify") == "good  'api_ns': 2 points for 2 memories\n"


def test_another_language_builds_the_index_anew_and_leaves_nothing_of_the_old_one(served: Shell) -> None:
    served.text("store", "The kafka broker lives in Oslo.")
    served.text("recall", "kafka")
    assert served.json("recall", "Wo lebt der broker?", SOMA_LANGUAGE="german")["hits"]
    assert served.json("verify", SOMA_LANGUAGE="german")["clean"]
    client = QdrantClient(url=served.settings["QDRANT_URL"], check_compatibility=False)
    points, _ = client.scroll(served.settings["QDRANT_COLLECTION"], limit=10)
    client.close()
    assert len([point for point in points if point.payload and "memory" in point.payload]) == 1
    assert [point.payload["language"] for point in points if point.payload and "language" in point.payload] == [
        "german"
    ]


def test_a_server_that_is_not_there_is_named_by_every_command(home: Path) -> None:
    port = free_port()
    shell = Shell(home, QDRANT_URL=f"http://127.0.0.1:{port}", QDRANT_API_KEY="a-key-that-is-secret")
    begun = time.monotonic()
    error = shell.refusal("store", "something")
    assert time.monotonic() - begun < 10
    assert error["code"] == "unavailable"
    assert error["fields"] == ["QDRANT_URL"]
    assert f"127.0.0.1:{port}" in error["message"]
    assert "a-key-that-is-secret" not in str(error)
    found = {one["what"]: one for one in shell.json("doctor", status=1)["findings"]}
    assert found["index server"]["verdict"] == "bad"


@pytest.mark.parametrize(
    "settings",
    [
        {"QDRANT_URL": "http://user:a-key-that-is-secret@127.0.0.1"},
        {"QDRANT_URL": "qdrant:6333"},
        {"QDRANT_HOST": "http://qdrant"},
        {"QDRANT_HOST": "qdrant", "QDRANT_PORT": "0"},
        {"QDRANT_COLLECTION": "a/b"},
    ],
)
def test_a_setting_that_is_wrong_is_named(home: Path, settings: dict[str, str]) -> None:
    error = Shell(home, **settings).refusal("store", "something")
    assert error["code"] == "invalid_input"
    assert error["fields"] == [list(settings)[-1]]
    assert "a-key-that-is-secret" not in str(error)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[QdrantProcess]:
    process = QdrantProcess(tmp_path / "qdrant")
    process.start()
    yield process
    process.kill()


def test_while_the_server_is_away_stores_are_taken_and_recall_says_what_is_missing(
    own: QdrantProcess, home: Path
) -> None:
    soma = create_memory_system(home=home, qdrant_host="127.0.0.1", qdrant_port=str(own.port), disk_reserve="0")
    soma.store(SCOPE, NewMemory.parse("The kafka broker lives in Oslo."))
    soma.index(SCOPE)
    own.kill()
    stored = soma.store(SCOPE, NewMemory.parse("The postgres replica lives in Bergen."))
    assert stored.indexed == "none"
    answer = soma.recall(SCOPE, RecallQuery.parse("Where is the postgres replica?"))
    assert [hit.memory.text for hit in answer.hits] == ["The postgres replica lives in Bergen."]
    assert any(said.startswith("index: ") for said in answer.degraded)
    own.start()
    wait_until(lambda: not soma.recall(SCOPE, RecallQuery.parse("Oslo")).degraded[1:], 10, "an answer of the index")
    soma.index(SCOPE)
    assert texts(soma, "Where is the kafka broker?")[0] == "The kafka broker lives in Oslo."
    assert texts(soma, "Where is the postgres replica?")[0] == "The postgres replica lives in Bergen."
    soma.close()


def test_the_driver_is_loaded_only_where_a_server_is_set(home: Path) -> None:
    code = "import sys, soma_mcp.cli, soma_core.bootstrap; sys.exit('qdrant_client' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env=environment(home), cwd=ROOT, timeout=60, check=True)


def test_a_missing_driver_is_named_with_what_installs_it(served: Shell) -> None:
    code = "import sys; sys.modules['qdrant_client'] = None; from soma_mcp.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "store", "something"],
        env=environment(served.home, **served.settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "soma-fractal-memory[server]" in done.stderr


@pytest.fixture
def together(qdrant: QdrantProcess, database: str, tmp_path: Path) -> Iterator[Callable[..., Soma]]:
    """Opens engines that share their records and their index, each with a folder of its own."""
    collection = str(uuid4())
    with ExitStack() as stack:

        def together(name: str, model: Path, **told: bool) -> Soma:
            return stack.enter_context(
                closing(
                    create_memory_system(
                        home=tmp_path / name,
                        embedding_model=str(model),
                        postgres_url=database,
                        qdrant_url=qdrant.url,
                        qdrant_collection=collection,
                        **told,  # type: ignore[arg-type]
                    )
                )
            )

        yield together


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models with vectors of different lengths."""
    folder = tmp_path_factory.mktemp("models")
    vectors = [{"[UNK]": [0.1] * n, "heron": [1.0] + [0.0] * (n - 1), "lake": [0.5] * n} for n in (8, 12)]
    return [lookup_model(folder / name, held, name=name) for name, held in zip(("old", "new"), vectors, strict=True)]


def test_processes_elsewhere_go_on_while_one_changes_the_model(
    together: Callable[..., Soma], two_models: list[Path]
) -> None:
    old, new = two_models
    serving = together("serving", old)
    serving.store_many(SCOPE, [NewMemory("A heron by the lake."), NewMemory("Tea is at three.")])
    serving.index(SCOPE)
    with pytest.raises(ModelMismatch, match="soma reindex"):
        together("elsewhere", new)
    changing = together("elsewhere", new, accept_model=True)
    assert texts(changing, "heron") == ["A heron by the lake."]
    done = changing.reindex(SCOPE)
    assert (done.events, done.generation, done.kept) == (2, 2, [1])
    assert done.model.startswith("new:")

    serving.follow_switch()
    serving.store(SCOPE, NewMemory("Another heron."))
    serving.index(SCOPE)
    assert set(texts(serving, "heron")[:2]) == {"A heron by the lake.", "Another heron."}
    assert any("generation 2" in notice for notice in serving.status(SCOPE).health)
    assert set(texts(changing, "heron")[:2]) == {"A heron by the lake.", "Another heron."}
    with pytest.raises(ModelMismatch):
        together("late", old)

    assert changing.drop_old(SCOPE) == [1]
    answer = serving.recall(SCOPE, RecallQuery.parse("heron"))
    assert any("another one serves" in said for said in answer.degraded)
    again = together("again", new)
    again.index(SCOPE)
    assert set(texts(again, "heron")[:2]) == {"A heron by the lake.", "Another heron."}
    assert again.inspect(SCOPE).is_clean


def test_a_process_elsewhere_goes_over_to_an_index_that_was_built_anew_with_its_model(
    together: Callable[..., Soma], two_models: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.switching.EVERY_SECONDS", 0.05)
    serving, other = together("serving", two_models[0]), together("other", two_models[0])
    serving.store(SCOPE, NewMemory("A heron by the lake."))
    serving.index(SCOPE)
    assert other.reindex(SCOPE).kept == [1]
    with Workers(serving):
        wait_until(lambda: serving.serving.built.generation.number == 2, 20, "the switch to be noticed")
    assert other.drop_old(SCOPE) == [1]
    assert texts(serving, "heron") == ["A heron by the lake."]
    assert serving.status(SCOPE).health == []
