"""The embedders of this project, held to the contract."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from importlib.util import find_spec

import pytest

from embeddings.batching import BatchingEmbedder
from embeddings.endpoint import Endpoint
from embeddings.onnx import OnnxEmbedder
from embeddings.remote import RemoteEmbedder
from embeddings.resolve import resolve
from embeddings.transformers import TransformersEmbedder, find_weights
from soma_core.ports.embedder import Embedder
from tests.contract.embedder import EmbedderContract
from tests.support.embedding_server import MODEL, EmbeddingServer, embedding_server
from tests.support.models import sentence_model


class TestOnnxEmbedder(EmbedderContract):
    tolerance = 0.0

    @staticmethod
    def make() -> Embedder:
        return OnnxEmbedder(resolve(None))


class TestOnnxEmbedderInOneThread(EmbedderContract):
    tolerance = 0.0

    @staticmethod
    def make() -> Embedder:
        return OnnxEmbedder(resolve(None), threads=1)


class TestBatchingEmbedder(EmbedderContract):
    tolerance = 0.0

    @staticmethod
    def make() -> Embedder:
        return BatchingEmbedder(OnnxEmbedder(resolve(None)))


class TestRemoteEmbedder(EmbedderContract):
    """The packaged model behind a server that speaks the OpenAI protocol and refuses long texts."""

    served: EmbeddingServer
    made: ExitStack

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def server(cls) -> Iterator[None]:
        with embedding_server(OnnxEmbedder(resolve(None)).embed_passages) as cls.served:
            cls.served.window = 2_000
            with ExitStack() as cls.made:
                yield

    @classmethod
    def make(cls) -> Embedder:
        return cls.made.enter_context(closing(RemoteEmbedder(Endpoint(cls.served.url, MODEL, dimensions=384))))


@pytest.mark.skipif(find_spec("sentence_transformers") is None, reason="the extra `transformers` is not installed")
class TestTransformersEmbedder(EmbedderContract):
    @staticmethod
    def make() -> Embedder:
        return TransformersEmbedder(find_weights(str(sentence_model())))
