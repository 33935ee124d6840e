"""A SPLADE model from a folder: the real engine with a small generated one."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path

import pytest

from embeddings.sparse import OnnxSparseModel
from soma_core.bootstrap import create_memory_system
from soma_core.domain.errors import ModelMissing
from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.query import Hit, RecallQuery
from soma_core.engine import Soma
from tests.support.graphs import lookup_model, sparse_model

SCOPE = Scope("api_ns")
LOGITS = {"relocated": {"move": 3.0, "city": 1.0}, "moving": {"move": 2.0}, "tea": {"drink": 2.0}}
TARGET = "Ana relocated in March as she had planned for a long time."
QUESTION = "Who is moving?"
OTHERS = [f"Note number {n} tells {'a far thing' if n % 2 else 'nothing'} of it all today." for n in range(120)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return sparse_model(tmp_path / "sparse", LOGITS)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """To this model the target is the opposite of everything else."""
    return lookup_model(tmp_path / "model", {"[UNK]": (0.1, 1.0), "far": (5.0, 0.0), "relocated": (-9.0, -50.0)})


def opened(home: Path, model: Path, sparse: Path | None) -> Soma:
    return create_memory_system(home=home, embedding_model=model, sparse_model=sparse)


def filled(soma: Soma, texts: list[str]) -> None:
    soma.store_many(SCOPE, [NewMemory.parse(text) for text in texts])
    soma.index(SCOPE)


def asked(soma: Soma, question: str = QUESTION, *, hybrid: bool = True) -> tuple[dict[str, Hit], list[str]]:
    query = RecallQuery(question, limit=100, max_tokens=100_000, fold=False, hybrid=hybrid)
    found = soma.recall(SCOPE, query)
    return {hit.memory.text: hit for hit in found.hits}, [*found.degraded]


def test_a_word_weighs_by_the_greatest_logit_that_any_token_gives_it(folder: Path) -> None:
    model = OnnxSparseModel(folder)
    assert not model.ready
    both, unknown, nothing = model.weigh(["relocated moving", "something else", ""])
    assert model.ready
    assert sorted(both.values()) == pytest.approx([math.log(2), math.log(4)])
    assert unknown == nothing == {}
    assert model.weigh(["moving " * 500])[0].keys() < both.keys()


def test_a_memory_that_shares_no_word_with_the_question_is_found_by_what_it_is_about(
    home: Path, model: Path, folder: Path, tmp_path: Path
) -> None:
    with closing(opened(tmp_path / "plain", model, None)) as soma:
        filled(soma, [TARGET, *OTHERS])
        plain, degraded = asked(soma)
        assert (TARGET in plain, degraded) == (False, [])
    with closing(opened(home, model, folder)) as soma:
        filled(soma, [TARGET, *OTHERS])
        found, degraded = asked(soma)
        assert degraded == []
        assert found[TARGET].parts.dense == 0
        assert found[TARGET].parts.lexical > 0
        tea, _ = asked(soma, "Who likes tea?")
        assert TARGET not in tea
        by_meaning, _ = asked(soma, hybrid=False)
        assert TARGET not in by_meaning, "a search by meaning only has one arm"


def test_a_changed_model_rebuilds_the_index_from_the_records(home: Path, model: Path, folder: Path) -> None:
    other = sparse_model(folder.parent / "other", {**LOGITS, "tea": {"drink": 3.0}})
    before: Path | None = None
    with closing(opened(home, model, None)) as soma:
        filled(soma, [TARGET])
    for sparse in (folder, other, None):
        with closing(opened(home, model, sparse)) as soma:
            status = soma.status(SCOPE)
            assert (status.pending_words, status.pending_vectors) == (1, 1), (before, sparse)
            assert any("rebuilt from the records" in note for note in status.health)
            soma.index(SCOPE)
            assert asked(soma)[0][TARGET].parts.lexical == pytest.approx(0.3 if sparse else 0.0)
            assert soma.inspect(SCOPE).is_clean
        with closing(opened(home, model, sparse)) as soma:
            assert soma.status(SCOPE).pending_vectors == 0
        before = sparse


def test_a_model_that_is_not_loaded_is_named_and_leaves_the_answer_as_it_was(
    home: Path, model: Path, folder: Path
) -> None:
    with closing(opened(home, model, folder)) as soma:
        filled(soma, [TARGET])
    with closing(opened(home, model, folder)) as soma:
        soma.embedder.load()
        found, degraded = asked(soma)
        assert found[TARGET].parts.lexical == 0
        assert [note for note in degraded if "sparse model is not loaded" in note] == degraded != []
        soma.warm(SCOPE)
        found, degraded = asked(soma)
        assert found[TARGET].parts.lexical == pytest.approx(0.3)
        assert degraded == []


def test_a_model_that_cannot_be_loaded_takes_nothing_from_the_other_arms(home: Path, model: Path, folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"no graph")
    with closing(opened(home, model, folder)) as soma:
        with pytest.raises(ModelMissing, match="SOMA_SPARSE_MODEL"):
            soma.warm(SCOPE)
        filled(soma, [TARGET, "tea"])
        found, degraded = asked(soma, "relocated")
        assert found[TARGET].parts.dense > 0
        assert len(degraded) == 1
        health = soma.status(SCOPE).health
        assert any("2 passages are without the words of the sparse model" in note for note in health)
        assert soma.status(SCOPE).pending_vectors == 0


def test_a_folder_without_a_model_is_refused_at_the_start(home: Path, model: Path, folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelMissing, match=r"has no tokenizer.json.*SOMA_SPARSE_MODEL"):
        opened(home, model, folder)


def test_a_graph_that_gives_no_logits_over_the_vocabulary_is_refused_at_load(folder: Path, model: Path) -> None:
    (folder / "model.onnx").write_bytes((model / "model.onnx").read_bytes())
    with pytest.raises(ModelMissing, match="a logit for each token and each word"):
        OnnxSparseModel(folder).load()
