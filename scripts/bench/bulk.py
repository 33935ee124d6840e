"""Row `bulk`: text to recallable, beside the embedder's own rate."""

from __future__ import annotations

import time
from collections.abc import Sequence

from embeddings.onnx import OnnxEmbedder
from scripts.bench.figures import Row, Series, at_least, say
from scripts.bench.stores import Bench, embedder, memories, scope, settings, store_and_index
from scripts.bench.texts import texts
from soma_core.domain.query import RecallQuery
from soma_mcp.sharing import SharedSoma

BATCH = 64
BOUND = 0.85


def measure(bench: Bench) -> list[Row]:
    """Store and index, and embed the same texts, in turn; the model is loaded before either."""
    number = bench.times(2_000, 200)
    wanted = texts(number)
    model = embedder()
    rates, plain = [], []
    for turn in range(bench.times(5, 2)):
        say(f"bulk, turn {turn + 1}")
        plain.append(_embedding_rate(model, wanted))
        rates.append(_bulk_rate(bench, number))
    measured = Series(f"{number} texts stored in batches, then indexed", "texts/s", rates)
    control = Series(f"the embedder alone, the same texts in batches of {BATCH}", "texts/s", plain)
    ratio = measured.median / control.median
    relation = "ratio of the medians"
    return [Row("bulk", measured, [control], relation, ratio, at_least(BOUND), ratio >= BOUND)]


def _embedding_rate(model: OnnxEmbedder, wanted: Sequence[str]) -> float:
    began = time.perf_counter()
    for start in range(0, len(wanted), BATCH):
        model.embed_passages(wanted[start : start + BATCH])
    return len(wanted) / (time.perf_counter() - began)


def _bulk_rate(bench: Bench, number: int) -> float:
    """Texts a second, from text to recallable in full."""
    with bench.empty() as home:
        shared = SharedSoma(settings(home), stay=False)
        try:
            shared.warm(scope())
            began = time.perf_counter()
            store_and_index(shared, memories(number))
            taken = time.perf_counter() - began
            if shared.recall(scope(), RecallQuery("What was decided?")).degraded:
                raise RuntimeError("not all is recallable in full")
        finally:
            shared.close()
    return number / taken
