"""Changing what the index is made with: the model, the language; and stores of before there were generations."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from soma_core.bootstrap import create_memory_system
from soma_core.domain.errors import ModelMismatch
from soma_core.domain.generations import Generation
from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.query import RecallQuery
from soma_core.engine import Soma
from tests.support.graphs import lookup_model

SCOPE = Scope("api_ns")
Open = Callable[..., Soma]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models with vectors of different lengths."""
    folder = tmp_path_factory.mktemp("models")
    vectors = [{"[UNK]": [0.1] * n, "heron": [1.0] + [0.0] * (n - 1), "lake": [0.5] * n} for n in (8, 12)]
    return [lookup_model(folder / name, held, name=name) for name, held in zip(("old", "new"), vectors, strict=True)]


@pytest.fixture
def opened(home: Path) -> Iterator[Open]:
    """Opens the folder; one at a time."""
    with ExitStack() as stack:

        def opened(model: Path, **told: Any) -> Soma:
            stack.close()
            system = create_memory_system(home=home, embedding_model=str(model), disk_reserve="0", **told)
            return stack.enter_context(closing(system))

        yield opened


def filled(opened: Open, model: Path, *texts: str, **told: Any) -> Soma:
    soma = opened(model, **told)
    soma.store_many(SCOPE, [NewMemory(text) for text in texts])
    soma.index(SCOPE)
    return soma


def texts(soma: Soma, question: str) -> list[str]:
    return [hit.memory.text for hit in soma.recall(SCOPE, RecallQuery(question)).hits]


def test_whoever_has_only_the_new_model_is_answered_by_words_until_it_serves(opened: Open, models: list[Path]) -> None:
    filled(opened, models[0], "A heron by the lake.", "Tea is at three.")
    with pytest.raises(ModelMismatch, match="soma reindex"):
        opened(models[1])
    soma = opened(models[1], accept_model=True)
    soma.store(SCOPE, NewMemory("Another heron."))
    answer = soma.recall(SCOPE, RecallQuery("heron"))
    assert {hit.memory.text for hit in answer.hits} == {"A heron by the lake.", "Another heron."}
    assert any(said.startswith("dense: ") for said in answer.degraded)
    assert soma.status(SCOPE).model.startswith("old:")
    assert soma.reindex(SCOPE).model.startswith("new:")
    answer = soma.recall(SCOPE, RecallQuery("heron"))
    assert {hit.memory.text for hit in answer.hits[:2]} == {"A heron by the lake.", "Another heron."}
    assert answer.degraded == []
    assert soma.inspect(SCOPE).is_clean


def test_what_was_stored_without_the_old_model_gets_its_vectors_when_that_is_back(
    opened: Open, models: list[Path]
) -> None:
    filled(opened, models[0], "A heron by the lake.")
    opened(models[1], accept_model=True).store(SCOPE, NewMemory("Another heron."))
    soma = opened(models[0])
    assert soma.index(SCOPE) == 1
    assert soma.inspect(SCOPE).is_clean
    assert soma.inspect(SCOPE).points == 2


def test_another_language_is_built_beside_the_one_that_serves(opened: Open, models: list[Path]) -> None:
    filled(opened, models[0], "Die Reiher stehen am See.")
    soma = opened(models[0], language="german", accept_model=True)
    soma.warm(SCOPE)
    before = soma.recall(SCOPE, RecallQuery("Reiher"))
    assert before.degraded == []
    assert soma.serving.built.generation.language == "english"
    soma.reindex(SCOPE)
    assert soma.serving.built.generation.language == "german"
    again = opened(models[0], language="german")
    assert again.status(SCOPE).health == []
    assert again.inspect(SCOPE).is_clean


def test_a_store_of_before_there_were_generations_opens_without_a_rebuild(
    opened: Open, models: list[Path], home: Path
) -> None:
    soma = filled(opened, models[0], "A heron by the lake.")
    described = soma.serving.built.generation
    soma.close()
    with closing(sqlite3.connect(home / "records.db")) as db:
        db.execute("DELETE FROM meta WHERE key = 'generations'")
        db.execute("INSERT INTO meta VALUES ('model', ?)", (described.model_id,))
        db.commit()
    with pytest.raises(ModelMismatch):
        opened(models[1])
    changing = opened(models[1], accept_model=True)
    assert texts(changing, "heron") == ["A heron by the lake."]
    changing.store(Scope("another"), NewMemory("Tea is at three."))
    assert changing.indexing.words_now("another") is False
    soma = opened(models[0])
    assert soma.serving.built.generation == described == Generation(1, described.model_id, 8, "english")
    assert soma.indexing.backlog("api_ns") == (0, 0)
    assert soma.status(SCOPE).health == []
    assert soma.index(Scope("another")) == 1
    assert soma.reindex(SCOPE).events == 2
