"""Loading a model: altered files, a second model, and what cannot be used. The second model is made here."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from embeddings import resolve as resolving
from embeddings.choice import Local, open_model
from embeddings.files import ModelFiles
from embeddings.onnx import OnnxEmbedder
from embeddings.resolve import resolve
from soma_core.bootstrap import model_choice
from soma_core.domain.errors import InvalidInput, ModelMissing
from soma_core.settings import load_settings
from tests.support.graphs import graph

WORDS = {"[UNK]": 0, "red": 1, "blue": 2, "green": 3, "a": 4, "text": 5}
TABLE = [[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [3.0, 4.0], [1.0, 2.0], [2.0, 1.0]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the small model; its tokenizer pads and cuts, as published ones do."""
    (tmp_path / "model.onnx").write_bytes(graph(TABLE))
    tokenizer = Tokenizer(WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.enable_padding(length=16)
    tokenizer.enable_truncation(2)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    describe(tmp_path)
    return tmp_path


def describe(folder: Path, **other: object) -> None:
    given = {"name": "lookup", "precision": "float32", "dimensions": 2, "window": 4, "pooling": "mean"}
    (folder / "model.json").write_text(json.dumps(given | other))


def unit(x: float, y: float) -> object:
    return pytest.approx([x / math.hypot(x, y), y / math.hypot(x, y)], abs=1e-6)


def refused(files: ModelFiles) -> str:
    embedder = OnnxEmbedder(files)
    with pytest.raises(ModelMissing) as raised:
        embedder.load()
    assert not embedder.ready
    assert all(way in raised.value.message for way in ("the package", "a folder", "a hub name"))
    return raised.value.message


def test_as_many_texts_are_embedded_at_once_as_the_settings_say(folder: Path) -> None:
    told = {"SOMA_HOME": str(folder), "SOMA_EMBEDDING_THREADS": "3"}
    for more in ({}, {"SOMA_EMBEDDING_MODEL": str(folder)}):
        chosen = model_choice(load_settings(told | more))
        assert isinstance(chosen, Local)
        assert open_model(chosen).embedder.parallel == 3


def test_another_model_is_used_as_its_folder_says(folder: Path) -> None:
    describe(folder, query_prefix="green ", passage_prefix="blue ")
    embedder = OnnxEmbedder(resolve(str(folder)))
    assert embedder.model_id.startswith("lookup:float32@")
    assert embedder.embed_query("red") == unit(4, 4)
    assert embedder.embed_queries(["red", "blue"]) == [unit(4, 4), unit(3, 5)]
    assert embedder.embed_passages(["red", "red red"]) == [unit(1, 1), unit(2, 1)]


def test_pooling_takes_the_first_token_or_the_mean(folder: Path) -> None:
    files = resolve(str(folder))
    assert OnnxEmbedder(files).embed_passages(["blue red red"]) == [unit(2, 1)]
    assert OnnxEmbedder(replace(files, pooling="cls")).embed_passages(["blue red red"]) == [unit(0, 1)]


def test_the_window_is_the_models_and_no_padding_is_counted(folder: Path) -> None:
    embedder = OnnxEmbedder(resolve(str(folder)))
    assert embedder.embed_query("red red blue blue green green") == unit(1, 1)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json"])
def test_an_altered_file_of_the_package_is_refused_until_it_is_put_back(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(resolving.PACKAGED, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(resolving, "PACKAGED", tmp_path)
    files = resolve(None)
    flip(tmp_path / name)
    embedder = OnnxEmbedder(files)
    for _ in range(2):
        with pytest.raises(ModelMissing, match="is altered") as raised:
            embedder.embed_query("who?")
    message = raised.value.message
    assert str(tmp_path / name) in message
    assert files.sha256[name] in message
    assert "hub name" in message
    assert not embedder.ready
    flip(tmp_path / name)
    assert len(embedder.embed_query("who?")) == 384


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))


def test_a_graph_that_changed_since_it_was_named_is_refused(folder: Path) -> None:
    files = resolve(str(folder))
    (folder / "model.onnx").write_bytes(graph([[1.0, 1.0]] * len(WORDS)))
    assert "is altered" in refused(files)


def test_a_file_that_went_away_is_named(folder: Path) -> None:
    files = resolve(str(folder))
    (folder / "model.onnx").unlink()
    assert f"{folder / 'model.onnx'} cannot be read" in refused(files)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"this is no graph", "cannot be used"),
        (graph([[1.0, 1.0, 1.0]] * len(WORDS)), "gives 3 numbers where 2"),
        (graph([[math.nan, 1.0]] * len(WORDS)), "finite"),
        (graph([[0.0, 0.0]] * len(WORDS)), "finite"),
        (graph(TABLE, wants="pixels"), "wants pixels"),
    ],
)
def test_a_graph_that_cannot_be_used_is_refused_at_load(content: bytes, said: str, folder: Path) -> None:
    (folder / "model.onnx").write_bytes(content)
    assert said in refused(resolve(str(folder)))


def test_a_tokenizer_that_cannot_be_read_is_refused_at_load(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    assert "cannot be used" in refused(resolve(str(folder)))


def test_lone_surrogates_are_invalid_input(folder: Path) -> None:
    embedder = OnnxEmbedder(resolve(str(folder)))
    with pytest.raises(InvalidInput, match="surrogates"):
        embedder.embed_passages(["red", "\ud800"])
    assert embedder.embed_query("red") == unit(1, 0)


def test_threads_are_as_many_as_told(folder: Path) -> None:
    files = resolve(str(folder))
    assert OnnxEmbedder(files, threads=3).parallel == 3
    assert 1 <= OnnxEmbedder(files).parallel <= 4
