"""Concurrent questions are taken together, and a lone one is not held up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from embeddings.batching import BatchingEmbedder
from soma_core.ports.embedder import Vector

EVERY = 1_000_000


class Recorder:
    """An inner embedder that records its batches and, once closed, lets a batch end only when it is opened."""

    model_id = "recorder:none"
    dimensions = 1

    def __init__(self, parallel: int = 1) -> None:
        self.parallel = parallel
        self.ready = False
        self.batches: list[list[str]] = []
        self.passages: list[Sequence[str]] = []
        self.fails_on: dict[str, BaseException] = {}
        self._gate = threading.Semaphore(EVERY)

    def close(self) -> None:
        self._gate = threading.Semaphore(0)

    def open(self, batches: int = EVERY) -> None:
        self._gate.release(batches)

    def load(self) -> None:
        self.ready = True

    def embed_query(self, text: str) -> Vector:
        raise AssertionError("questions go through embed_queries")

    def embed_queries(self, texts: Sequence[str]) -> list[Vector]:
        self.batches.append(list(texts))
        assert self._gate.acquire(timeout=10)
        for text in texts:
            if text in self.fails_on:
                raise self.fails_on[text]
        return [[float(text)] for text in texts]

    def embed_passages(self, texts: Sequence[str]) -> list[Vector]:
        self.passages.append(texts)
        return [[0.0] for _ in texts]


def wait_until(true: Callable[[], object]) -> None:
    limit = time.monotonic() + 10
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.001)


class Crowd:
    """Callers in threads of their own; each has arrived before the next one comes."""

    def __init__(self, pool: ThreadPoolExecutor, embedder: BatchingEmbedder, inner: Recorder) -> None:
        self._pool, self._embedder, self._inner = pool, embedder, inner

    def asks(self, *texts: str) -> list[Future[Vector]]:
        return [self._ask(text) for text in texts]

    def _ask(self, text: str) -> Future[Vector]:
        before = self._arrived()
        future = self._pool.submit(self._embedder.embed_query, text)
        wait_until(lambda: self._arrived() > before or future.done())
        return future

    def _arrived(self) -> int:
        return sum(map(len, self._inner.batches)) + len(self._embedder._waiting)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as pool:
        yield pool


def results(futures: list[Future[Vector]]) -> list[Vector]:
    return [future.result(timeout=10) for future in futures]


def test_a_lone_caller_is_one_call_in_its_own_thread() -> None:
    inner = Recorder()
    embedder = BatchingEmbedder(inner)
    before = threading.active_count()
    assert [embedder.embed_query("1"), embedder.embed_query("2")] == [[1.0], [2.0]]
    assert inner.batches == [["1"], ["2"]]
    assert threading.active_count() == before


def test_who_comes_meanwhile_is_taken_together(pool: ThreadPoolExecutor) -> None:
    inner = Recorder()
    embedder = BatchingEmbedder(inner)
    inner.close()
    asked = Crowd(pool, embedder, inner).asks(*"12345")
    assert inner.batches == [["1"]]
    inner.open()
    assert results(asked) == [[1.0], [2.0], [3.0], [4.0], [5.0]]
    assert [sorted(batch) for batch in inner.batches] == [["1"], ["2", "3", "4", "5"]]


def test_a_batch_has_a_largest_size(pool: ThreadPoolExecutor) -> None:
    inner = Recorder()
    embedder = BatchingEmbedder(inner, largest=2)
    inner.close()
    asked = Crowd(pool, embedder, inner).asks(*"123456")
    inner.open()
    assert results(asked) == [[float(text)] for text in "123456"]
    assert max(map(len, inner.batches)) == 2
    assert len(inner.batches) == 4


def test_whoever_has_waited_longest_goes_first(pool: ThreadPoolExecutor) -> None:
    inner = Recorder()
    embedder = BatchingEmbedder(inner, largest=1)
    inner.close()
    asked = Crowd(pool, embedder, inner).asks(*"123456")
    inner.open()
    assert results(asked) == [[float(text)] for text in "123456"]
    assert inner.batches == [[text] for text in "123456"]


def test_as_many_go_through_at_once_as_the_inner_one_serves(pool: ThreadPoolExecutor) -> None:
    inner = Recorder(parallel=2)
    embedder = BatchingEmbedder(inner)
    inner.close()
    asked = Crowd(pool, embedder, inner).asks(*"123456")
    assert inner.batches == [["1"], ["2"]]
    inner.open()
    assert results(asked) == [[float(text)] for text in "123456"]
    assert max(map(len, inner.batches)) == 2, "those who wait are shared between the two"


def test_an_error_reaches_every_caller_of_its_batch_and_no_other(pool: ThreadPoolExecutor) -> None:
    inner = Recorder()
    inner.fails_on["3"] = ValueError("three")
    embedder = BatchingEmbedder(inner)
    inner.close()
    first, *others = Crowd(pool, embedder, inner).asks(*"1234")
    inner.open()
    assert first.result(timeout=10) == [1.0]
    assert [str(future.exception(timeout=10)) for future in others] == ["three"] * 3
    assert embedder.embed_query("5") == [5.0]


def test_a_wrong_number_of_vectors_is_an_error_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = Recorder()
    embedder = BatchingEmbedder(inner)
    monkeypatch.setattr(inner, "embed_queries", lambda texts: [])
    with pytest.raises(ValueError, match="shorter"):
        embedder.embed_query("1")
    monkeypatch.undo()
    assert embedder.embed_query("1") == [1.0]


def test_a_caller_who_is_told_to_stop_leaves_the_others_their_turn(pool: ThreadPoolExecutor) -> None:
    inner = Recorder()
    inner.fails_on["2"] = stop = SystemExit()
    embedder = BatchingEmbedder(inner)
    inner.close()
    _, *asked = Crowd(pool, embedder, inner).asks(*"1234")
    inner.open(1)
    wait_until(lambda: len(inner.batches) == 2)
    inner.open(1)
    wait_until(lambda: len(inner.batches) == 3)
    del inner.fails_on["2"]
    inner.open()
    errors = [future.exception(timeout=10) for future in asked]
    assert sorted(error is stop for error in errors) == [False, False, True]
    assert sorted(error is None for error in errors) == [False, True, True]


def test_many_callers_each_get_their_own_vector(pool: ThreadPoolExecutor) -> None:
    inner = Recorder(parallel=2)
    embedder = BatchingEmbedder(inner)
    asked = [pool.submit(embedder.embed_query, str(number)) for number in range(2_000)]
    assert results(asked) == [[float(number)] for number in range(2_000)]
    assert sum(map(len, inner.batches)) == 2_000


def test_passages_do_not_wait_for_questions(pool: ThreadPoolExecutor) -> None:
    inner = Recorder()
    embedder = BatchingEmbedder(inner)
    inner.close()
    asked = Crowd(pool, embedder, inner).asks("1", "2")
    assert embedder.embed_passages(["a", "b"]) == [[0.0], [0.0]]
    inner.open()
    assert results(asked) == [[1.0], [2.0]]


def test_it_is_the_inner_embedder_to_those_who_ask() -> None:
    embedder = BatchingEmbedder(Recorder())
    assert (embedder.model_id, embedder.dimensions, embedder.ready) == ("recorder:none", 1, False)
    embedder.load()
    assert embedder.ready
