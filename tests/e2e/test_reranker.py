"""A cross-encoder from a folder: the real engine with a small generated one."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from embeddings.reranker import OnnxReranker
from soma_core.bootstrap import create_memory_system
from soma_core.domain.errors import ModelMissing
from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.query import Recall, RecallQuery
from soma_core.engine import Soma
from soma_core.services.rerank import RERANKED
from tests.support.graphs import cross_encoder, lookup_model

SCOPE = Scope("api_ns")
VALUES = {"[UNK]": 0.0, "answer": 80.0, "perhaps": 2.0, "question": 5.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return cross_encoder(tmp_path / "reranker", VALUES)


def opened(home: Path, model: Path, reranker: Path | None) -> Soma:
    return create_memory_system(home=home, embedding_model=model, reranker_model=reranker)


def asked(soma: Soma, **options: Any) -> Recall:
    return soma.recall(SCOPE, RecallQuery.parse("ferry question", **options))


def test_a_pair_is_scored_by_both_of_its_texts_and_cut_at_the_window(folder: Path) -> None:
    reranker = OnnxReranker(folder)
    assert not reranker.ready
    assert reranker.scores("question one", ["the answer", "perhaps", "question"]) == pytest.approx([20, 2 / 3, 5 / 3])
    assert reranker.ready
    assert reranker.scores("question " * 500, ["the answer " * 500])[0] > 0


def test_the_best_thirty_are_put_in_the_models_order(home: Path, tmp_path: Path, folder: Path) -> None:
    model = lookup_model(tmp_path / "model", {"[UNK]": (0.1, 0.0), "ferry": (0.0, 1.0)})
    texts = ["The ferry ferry leaves at noon.", "The answer about the ferry and all the rest.", "perhaps the ferry"]
    with closing(opened(home, model, None)) as soma:
        for text in texts:
            soma.store(SCOPE, NewMemory.parse(text))
        soma.index(SCOPE)
        plain = asked(soma)
    with closing(opened(home, model, folder)) as soma:
        soma.embedder.load()
        early = asked(soma)
        assert [hit.memory.id for hit in early.hits] == [hit.memory.id for hit in plain.hits]
        assert any("reranker" in note for note in early.degraded)
        soma.warm(SCOPE)
        found = asked(soma)
        assert found.degraded == []
        assert found.hits[0].memory.text == texts[1] != plain.hits[0].memory.text
        totals = [hit.parts.total for hit in found.hits]
        assert totals == sorted(totals, reverse=True)
        assert found.hits[0].parts.boosts == 3.0
        assert [hit.memory.text for hit in asked(soma, limit=1).hits] == [texts[1]], "it looks beyond the limit"


def test_what_comes_after_the_first_thirty_stays(home: Path, tmp_path: Path, folder: Path) -> None:
    model = lookup_model(tmp_path / "model", {"[UNK]": (0.1, 0.0), "ferry": (0.0, 1.0)})
    with closing(opened(home, model, folder)) as soma:
        soma.store_many(SCOPE, [NewMemory.parse(f"ferry {'and ' * n} number {n}") for n in range(40)])
        soma.index(SCOPE)
        soma.warm(SCOPE)
        found = asked(soma, limit=40, max_tokens=100_000)
        assert len({hit.memory.id for hit in found.hits}) == 40
        assert [hit.parts.boosts for hit in found.hits[RERANKED:]] == [0.0] * 10


def test_a_folder_without_a_model_is_refused_at_the_start(home: Path, tmp_path: Path, folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(ModelMissing, match=r"has no config.json.*SOMA_RERANKER_MODEL"):
        create_memory_system(home=home, reranker_model=folder)


def test_a_graph_that_gives_no_score_is_refused_at_load(folder: Path, tmp_path: Path) -> None:
    other = lookup_model(tmp_path / "other", dict.fromkeys(VALUES, (0.1, 0.2)))
    (folder / "model.onnx").write_bytes((other / "model.onnx").read_bytes())
    with pytest.raises(ModelMissing, match="1 or 2 finite ones"):
        OnnxReranker(folder).load()
