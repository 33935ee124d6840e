"""The embedders of this project, held to the contract."""

from __future__ import annotations

from embeddings.batching import BatchingEmbedder
from embeddings.onnx import OnnxEmbedder
from embeddings.resolve import resolve
from soma_core.ports.embedder import Embedder
from tests.contract.embedder import EmbedderContract


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
