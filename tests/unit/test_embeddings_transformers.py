"""Models of sentence-transformers: what is known before they are loaded, and, with the extra, how they embed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from embeddings import transformers as module
from embeddings.transformers import TransformersEmbedder
from embeddings.weights import PIECE, PIECES, find_weights
from soma_core.bootstrap import create_memory_system
from soma_core.domain.errors import ModelMissing
from soma_core.domain.memory import NewMemory, Scope
from soma_core.domain.query import RecallQuery
from soma_core.settings import load_settings
from tests.e2e.clients import ROOT, environment
from tests.support.models import sentence_model

WITH_THE_EXTRA = pytest.mark.skipif(
    find_spec("sentence_transformers") is None, reason="the extra `transformers` is not installed"
)
POOLED = {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}


def modules(*kinds: tuple[str, str]) -> list[dict[str, str]]:
    return [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds]


def a_folder(folder: Path, other: Mapping[str, object] = MappingProxyType({})) -> Path:
    """A folder as sentence-transformers writes it; `other` replaces files, None leaves one out."""
    files: dict[str, Any] = {
        "model.safetensors": b"weights",
        "config.json": {"hidden_size": 384},
        "modules.json": modules(("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")),
        "1_Pooling/config.json": POOLED,
    }
    for name, content in (files | dict(other)).items():
        if content is not None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return folder


def missing(spec: Path | str | None) -> str:
    """The message of `ModelMissing`, which names the ways to a model and the extra."""
    with pytest.raises(ModelMissing) as caught:
        find_weights(None if spec is None else str(spec))
    assert "soma-fractal-memory[transformers]" in caught.value.message
    assert caught.value.fields == ("SOMA_EMBEDDING_MODEL",)
    return caught.value.message


class TestBeforeLoading:
    def test_the_id_has_name_precision_and_the_start_of_a_hash(self, tmp_path: Path) -> None:
        name, _, rest = find_weights(str(a_folder(tmp_path / "mine"))).model_id.partition(":")
        precision, _, hashed = rest.partition("@")
        assert (name, precision, len(hashed)) == ("mine", "float32-torch", 8)

    @pytest.mark.parametrize("field", ["dtype", "torch_dtype"])
    def test_the_precision_is_that_of_its_config(self, tmp_path: Path, field: str) -> None:
        folder = a_folder(tmp_path, {"config.json": {"hidden_size": 8, field: "bfloat16"}})
        assert find_weights(str(folder)).precision == "bfloat16"

    @pytest.mark.parametrize("at", [0, PIECE * PIECES * 2 // PIECES + 5])
    def test_other_weights_of_the_same_size_have_another_id(self, tmp_path: Path, at: int) -> None:
        weights = bytearray(PIECE * PIECES * 2)
        one = find_weights(str(a_folder(tmp_path / "a" / "m", {"model.safetensors": bytes(weights)})))
        weights[at] = 1
        other = find_weights(str(a_folder(tmp_path / "b" / "m", {"model.safetensors": bytes(weights)})))
        assert one.model_id != other.model_id

    @pytest.mark.parametrize(
        ("other", "length"),
        [
            ({}, 384),
            ({"modules.json": None}, 384),
            ({"1_Pooling/config.json": {"embedding_dimension": 512, "pooling_mode": "mean"}}, 512),
            ({"1_Pooling/config.json": POOLED | {"pooling_mode_cls_token": True}}, 768),
            ({"1_Pooling/config.json": {"embedding_dimension": 8, "pooling_mode": ["mean", "cls", "max"]}}, 24),
            (
                {
                    "modules.json": modules(("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense")),
                    "2_Dense/config.json": {"in_features": 384, "out_features": 96},
                },
                96,
            ),
            ({"config_sentence_transformers.json": {"truncate_dim": 64}}, 64),
            ({"config_sentence_transformers.json": {"prompts": {}}}, 384),
            ({"modules.json": modules(("", "Transformer"), ("1", "Surprise"))}, None),
            ({"modules.json": modules(("0", "StaticEmbedding")), "config.json": None}, None),
        ],
    )
    def test_the_length_of_vectors_is_followed_through_the_modules(
        self, tmp_path: Path, other: dict[str, object], length: int | None
    ) -> None:
        assert find_weights(str(a_folder(tmp_path, other))).dimensions == length

    def test_what_is_no_model_is_named_with_the_ways_to_one(self, tmp_path: Path) -> None:
        assert "no weights" in missing(a_folder(tmp_path, {"model.safetensors": None}))
        assert "there is no folder" in missing("/no/such/folder")
        assert "needs SOMA_EMBEDDING_MODEL" in missing(None)
        assert "cannot be read" in missing(a_folder(tmp_path / "broken", {"config.json": b"{"}))

    def test_a_hub_name_fetches_the_weights_in_one_form_and_no_program(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[list[str]] = []

        def fetch(name: str, *, allow_patterns: list[str], local_files_only: bool) -> str:
            asked.append(allow_patterns)
            return str(a_folder(tmp_path))

        monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
        assert find_weights("org/name").model_id.startswith("org/name:float32-torch@")
        assert asked == [["*.json", "*.txt", "*.model", "*.safetensors"]]

    def test_without_the_extra_it_says_what_to_install(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "find_spec", lambda name: None)
        with pytest.raises(ModelMissing, match=r"soma-fractal-memory\[transformers\]"):
            TransformersEmbedder(find_weights(str(a_folder(tmp_path))))


@WITH_THE_EXTRA
class TestLoaded:
    @pytest.fixture(scope="class")
    @classmethod
    def embedder(cls) -> Iterator[TransformersEmbedder]:
        with closing(TransformersEmbedder(find_weights(str(sentence_model())))) as embedder:
            embedder.load()
            yield embedder

    @pytest.fixture
    def copy(self, tmp_path: Path) -> Path:
        """A folder with the same files, each of which can be replaced."""
        for path in sentence_model().rglob("*"):
            if path.is_file():
                place = tmp_path / "copy" / path.relative_to(sentence_model())
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(path)
        return tmp_path / "copy"

    def test_nobody_is_asked_over_the_network(self, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise AssertionError("the network was used")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        with closing(TransformersEmbedder(find_weights(str(copy)))) as embedder:
            assert len(embedder.embed_query("alpha")) == 384

    def test_the_prompts_of_its_config_go_before_questions_and_passages(
        self, copy: Path, embedder: TransformersEmbedder
    ) -> None:
        config = copy / "config_sentence_transformers.json"
        config.unlink()
        config.write_text(json.dumps({"prompts": {"query": "ask: ", "document": "tell: "}}))
        with closing(TransformersEmbedder(find_weights(str(copy)))) as prompted:
            assert prompted.embed_query("alpha") == pytest.approx(embedder.embed_query("ask: alpha"), abs=1e-5)
            (passage,) = prompted.embed_passages(["alpha"])
        assert passage == pytest.approx(embedder.embed_query("tell: alpha"), abs=1e-5)

    def test_a_length_that_the_files_do_not_tell_is_asked_of_the_model(self) -> None:
        untold = replace(find_weights(str(sentence_model())), dimensions=None)
        with closing(TransformersEmbedder(untold)) as embedder:
            assert embedder.dimensions == 384

    def test_a_folder_that_says_another_length_than_its_model_has_is_refused(self, copy: Path) -> None:
        pooling = copy / "1_Pooling" / "config.json"
        pooling.unlink()
        pooling.write_text(json.dumps(POOLED | {"word_embedding_dimension": 12}))
        with (
            closing(TransformersEmbedder(find_weights(str(copy)))) as embedder,
            pytest.raises(ModelMissing, match="says 12 dimensions"),
        ):
            embedder.load()

    def test_weights_that_are_cut_short_are_refused(self, copy: Path) -> None:
        weights = copy / "model.safetensors"
        whole = weights.read_bytes()
        weights.unlink()
        weights.write_bytes(whole[: len(whole) // 2])
        with (
            closing(TransformersEmbedder(find_weights(str(copy)))) as embedder,
            pytest.raises(ModelMissing, match="cannot be used"),
        ):
            embedder.load()

    def test_the_engine_starts_without_it_and_answers_by_its_meaning_when_it_is_there(self, tmp_path: Path) -> None:
        given = {"SOMA_EMBEDDING_BACKEND": "transformers", "SOMA_EMBEDDING_MODEL": str(sentence_model())}
        scope, question = Scope("api_ns"), RecallQuery("how does she indent?")
        with closing(create_memory_system(load_settings(given, home=tmp_path, disk_reserve="0"))) as soma:
            soma.store(scope, NewMemory.parse("Ana prefers tabs to spaces"))
            soma.store(scope, NewMemory.parse("The train to Graz was late"))
            assert not soma.status(scope).model_ready
            assert any("not loaded" in said for said in soma.recall(scope, question).degraded)
            soma.warm(scope)
            soma.index(scope)
            found = soma.recall(scope, question)
        assert (found.degraded, found.hits[0].memory.text) == ([], "Ana prefers tabs to spaces")

    def test_a_start_does_not_import_torch(self, tmp_path: Path) -> None:
        code = (
            "import sys; from soma_core.bootstrap import create_memory_system as create; "
            "create(disk_reserve='0').close(); print('torch' in sys.modules, 'numpy' in sys.modules)"
        )
        given = {"SOMA_EMBEDDING_BACKEND": "transformers", "SOMA_EMBEDDING_MODEL": str(sentence_model())}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment(tmp_path, **given),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == ["False", "False"]
