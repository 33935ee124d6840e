"""Where a model's files come from, and what is said when they do not."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from embeddings import resolve as resolving
from embeddings.files import ModelFiles, check_unaltered
from embeddings.resolve import resolve
from soma_core.domain.errors import ModelMissing

FLOAT_GRAPH = b"...MatMul..."
INT8_GRAPH = b"...MatMulInteger..."
NAMED = {"name": "m", "precision": "int8", "dimensions": 8, "window": 64, "pooling": "mean"}


def write(path: Path, content: bytes | object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def a_folder(folder: Path, other: Mapping[str, object] = MappingProxyType({})) -> Path:
    """A folder as sentence-transformers writes it; `other` replaces files, None leaves one out."""
    files: dict[str, Any] = {
        "model.onnx": FLOAT_GRAPH,
        "tokenizer.json": b"{}",
        "config.json": {"hidden_size": 384, "max_position_embeddings": 514, "model_type": "bert"},
        "sentence_bert_config.json": {"max_seq_length": 256},
        "1_Pooling/config.json": {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True},
    }
    for name, content in {**files, **other}.items():
        if content is not None:
            write(folder / name, content)
    return folder


def missing(spec: str | Path | None) -> str:
    """The message of `ModelMissing`, which names the three ways whatever the reason."""
    with pytest.raises(ModelMissing) as raised:
        resolve(str(spec) if spec else None)
    message = raised.value.message
    assert raised.value.fields == ("SOMA_EMBEDDING_MODEL",)
    assert all(way in message for way in ("the package", "a folder", "a hub name"))
    return message


class TestPackage:
    @pytest.mark.parametrize("spec", [None, ""])
    def test_the_default_is_the_model_in_the_package(self, spec: str | None) -> None:
        files = resolve(spec)
        assert files.model_id == "bge-small-en-v1.5:int8"
        assert (files.dimensions, files.window, files.pooling) == (384, 512, "cls")
        assert files.query_prefix.startswith("Represent this sentence")
        assert files.passage_prefix == ""
        assert set(files.sha256) == {"model.onnx", "tokenizer.json"}
        assert files.languages == ("english",)

    def test_its_files_are_those_the_manifest_names(self) -> None:
        check_unaltered(resolve(None))

    def test_resolving_it_reads_no_model_and_imports_nothing_heavy(self) -> None:
        code = """
import sys
import embeddings.batching, embeddings.onnx
from embeddings import files, resolve
files.sha256_of = resolve.sha256_of = None
embedder = embeddings.batching.BatchingEmbedder(embeddings.onnx.OnnxEmbedder(resolve.resolve(None)))
assert embedder.model_id and not embedder.ready
print(sorted({"huggingface_hub", "numpy", "onnxruntime", "tokenizers"} & set(sys.modules)))
"""
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
        )
        assert run.stdout == "[]\n"

    @pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "model.json"])
    def test_a_file_that_is_not_there_is_named(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for other in {"model.onnx", "tokenizer.json", "model.json"} - {name}:
            write(tmp_path / other, (resolving.PACKAGED / other).read_bytes() if other == "model.json" else b"x")
        monkeypatch.setattr(resolving, "PACKAGED", tmp_path)
        assert f"has no {name}" in missing(None)


class TestFolder:
    def test_the_files_of_sentence_transformers_describe_a_model(self, tmp_path: Path) -> None:
        folder = a_folder(tmp_path / "minilm")
        files = resolve(str(folder))
        digest = hashlib.sha256(FLOAT_GRAPH).hexdigest()
        assert files == ModelFiles(
            model_id=f"minilm:float@{digest[:8]}",
            dimensions=384,
            window=256,
            pooling="mean",
            model=folder / "model.onnx",
            tokenizer=folder / "tokenizer.json",
            sha256={"model.onnx": digest},
        )

    def test_the_graph_may_be_in_a_folder_of_its_own(self, tmp_path: Path) -> None:
        folder = a_folder(tmp_path, {"model.onnx": None, "onnx/model.onnx": INT8_GRAPH})
        files = resolve(str(folder))
        assert files.model == folder / "onnx" / "model.onnx"
        assert ":int8@" in files.model_id

    def test_our_own_description_goes_before_theirs(self, tmp_path: Path) -> None:
        given = {"name": "mine", "precision": "int8", "dimensions": 8, "window": 16, "pooling": "cls"}
        files = resolve(str(a_folder(tmp_path, {"model.json": given})))
        assert files.model_id.startswith("mine:int8@")
        assert (files.dimensions, files.window, files.pooling, files.query_prefix) == (8, 16, "cls", "")

    def test_two_graphs_of_one_name_have_two_ids(self, tmp_path: Path) -> None:
        one, other = a_folder(tmp_path / "1" / "m"), a_folder(tmp_path / "2" / "m", {"model.onnx": FLOAT_GRAPH + b"!"})
        assert resolve(str(one)).model_id != resolve(str(other)).model_id

    def test_a_copy_of_the_package_under_another_name_is_another_model(self, tmp_path: Path) -> None:
        manifest = json.loads((resolving.PACKAGED / "model.json").read_bytes())
        write(tmp_path / "model.json", manifest | {"name": "another"})
        for name in ("model.onnx", "tokenizer.json"):
            (tmp_path / name).symlink_to(resolving.PACKAGED / name)
        files = resolve(str(tmp_path))
        assert files.model_id == "another:int8@6c9c6101"
        check_unaltered(files)

    def test_the_home_folder_and_relative_paths_are_understood(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        a_folder(tmp_path / "models" / "m")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        ids = {resolve(spec).model_id for spec in ("~/models/m", "models/m", "./models/m", str(tmp_path / "models/m"))}
        assert len(ids) == 1

    @pytest.mark.parametrize(
        ("settings", "config", "window"),
        [
            ({"max_seq_length": 128}, {}, 128),
            (None, {"max_position_embeddings": 512}, 512),
            ({"max_seq_length": None}, {"max_position_embeddings": 514, "model_type": "xlm-roberta"}, 512),
        ],
    )
    def test_the_window_is_what_the_model_was_made_for(
        self, settings: object, config: dict[str, object], window: int, tmp_path: Path
    ) -> None:
        folder = a_folder(
            tmp_path, {"sentence_bert_config.json": settings, "config.json": {"hidden_size": 4, **config}}
        )
        assert resolve(str(folder)).window == window

    @pytest.mark.parametrize(
        ("given", "pooling"),
        [
            ({"pooling_mode_cls_token": True, "include_prompt": True}, "cls"),
            ({"pooling_mode": "mean"}, "mean"),
        ],
    )
    def test_pooling_is_read_in_both_spellings(self, given: object, pooling: str, tmp_path: Path) -> None:
        assert resolve(str(a_folder(tmp_path, {"1_Pooling/config.json": given}))).pooling == pooling

    def test_prompts_are_taken_over(self, tmp_path: Path) -> None:
        prompts = {"prompts": {"query": "query: ", "passage": "passage: "}}
        files = resolve(str(a_folder(tmp_path, {"config_sentence_transformers.json": prompts})))
        assert (files.query_prefix, files.passage_prefix) == ("query: ", "passage: ")

    @pytest.mark.parametrize(
        ("other", "said"),
        [
            ({"model.onnx": None}, "no model.onnx (or onnx/model.onnx)"),
            ({"tokenizer.json": None}, "no tokenizer.json"),
            ({"1_Pooling/config.json": None}, "1_Pooling/config.json"),
            ({"config.json": None}, "config.json"),
            ({"config.json": {"max_position_embeddings": 512}}, "hidden_size is None"),
            ({"config.json": b"{"}, "config.json cannot be read"),
            ({"config.json": []}, "must be a JSON object"),
            ({"1_Pooling/config.json": {"pooling_mode_max_tokens": True}}, "pooling is max"),
            ({"1_Pooling/config.json": {"pooling_mode_max_tokens": True, "pooling_mode_cls_token": True}}, "max + cls"),
            ({"1_Pooling/config.json": {}}, "pooling is not said"),
            ({"modules.json": [{"type": "sentence_transformers.models.Dense"}]}, "not supported: Dense"),
            ({"model.json": {"name": "mine"}}, "precision is None"),
            ({"model.json": {"name": "m", "precision": "int8", "dimensions": 0}}, "dimensions is 0"),
            ({"model.json": {**NAMED, "languages": "german"}}, "languages is 'german'"),
            ({"model.json": {**NAMED, "languages": ["german", 5]}}, "languages is"),
            ({"model.onnx": b""}, "cannot be read"),
        ],
    )
    def test_what_a_folder_lacks_or_gets_wrong_is_named(
        self, other: dict[str, object], said: str, tmp_path: Path
    ) -> None:
        assert said in missing(a_folder(tmp_path, other))

    @pytest.mark.parametrize("spec", ["nowhere", "./no/where", "/no/such/folder", "~/no-such-folder"])
    def test_a_folder_that_is_not_there_is_named(self, spec: str) -> None:
        assert "there is no folder" in missing(spec)

    def test_a_folder_of_an_unknown_user_is_no_model(self) -> None:
        missing("~no-such-user-here/model")


class TestHub:
    @pytest.fixture
    def calls(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
        """Let the hub answer from `tmp_path/hub`, once it was asked over the network; whether each call was."""
        calls: list[bool] = []

        def fetch(name: str, *, allow_patterns: list[str], local_files_only: bool) -> str:
            calls.append(not local_files_only)
            assert (name, "onnx/model.onnx" in allow_patterns) == ("org/name", True)
            if local_files_only and True not in calls:
                raise FileNotFoundError("not cached")
            return str(tmp_path / "hub")

        monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
        return calls

    def test_a_name_is_fetched_once_and_then_taken_from_the_cache(self, calls: list[bool], tmp_path: Path) -> None:
        a_folder(tmp_path / "hub")
        first, second = resolve("org/name"), resolve("org/name")
        assert first == second
        assert first.model_id.startswith("org/name:float@")
        assert calls == [False, True, False]

    def test_a_model_without_a_graph_is_refused(self, calls: list[bool], tmp_path: Path) -> None:
        a_folder(tmp_path / "hub", {"model.onnx": None})
        assert "no model.onnx" in missing("org/name")

    def test_offline_it_says_so_and_takes_no_other_model(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        message = missing("org/name")
        assert "could not be fetched" in message
        assert "offline" in message

    def test_an_unreachable_hub_is_the_same_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fetch(*_: object, **__: object) -> str:
            raise RuntimeError("no route to host")

        monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
        assert "no route to host" in missing("org/name")

    def test_without_the_hub_client_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
        assert "huggingface-hub" in missing("org/name")
