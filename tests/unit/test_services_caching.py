"""What is kept for a while: never in the place of the records, and nothing that was forgotten."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID

import pytest

from soma_core.adapters.memory.cache import MemoryCache
from soma_core.adapters.sqlite.records import SqliteRecordStore
from soma_core.domain.memory import Memory
from soma_core.domain.query import Selection
from soma_core.ports.embedder import Vector
from soma_core.ports.telemetry import NoTelemetry
from soma_core.services import caching
from soma_core.services.caching import Bodies, CachingEmbedder
from soma_core.services.copies import CacheDrift
from tests.support.embedder import HashEmbedder, embed
from tests.support.engine import SCOPE, Engine, opened
from tests.support.requests import new, request, stored


class Counts:
    """A `Telemetry` that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int, int]] = []

    def cache_asked(self, what: str, hits: int, misses: int) -> None:
        self.told.append((what, hits, misses))


class OpenCache(MemoryCache):
    """Shows what it holds."""

    @property
    def held(self) -> bytes:
        return b" ".join(body for _, body in self._kept.values() if body)


@pytest.fixture
def records(tmp_path: Path) -> Iterator[SqliteRecordStore]:
    store = SqliteRecordStore(tmp_path / "records.db", reserve_bytes=0)
    yield store
    store.close()


@pytest.fixture
def cache() -> OpenCache:
    return OpenCache()


@pytest.fixture
def engine(tmp_path: Path, cache: OpenCache, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine whose bodies are cached."""
    monkeypatch.setattr("soma_core.engine.Bodies", lambda records, _, telemetry: Bodies(records, cache, telemetry))
    with opened(tmp_path) as engine:
        yield engine


def test_a_question_is_embedded_once_and_its_vector_is_the_same_to_the_bit(cache: OpenCache) -> None:
    inner, counts = HashEmbedder(), Counts()
    asked: list[str] = []

    def noted(text: str) -> Vector:
        asked.append(text)
        return embed(text)

    inner.embed_query = noted
    embedder = CachingEmbedder(inner, cache, counts)
    first, second = embedder.embed_query("who sleeps"), embedder.embed_query("who sleeps")
    assert list(first) == list(second) == embed("who sleeps")
    assert list(embedder.embed_query("who eats")) == embed("who eats")
    assert asked == ["who sleeps", "who eats"]
    assert counts.told == [("query_vectors", hit, not hit) for hit in (False, True, False)]


def test_the_vectors_of_two_models_never_mix_and_a_damaged_one_is_none(cache: OpenCache) -> None:
    inner = HashEmbedder()
    embedder = CachingEmbedder(inner, cache, NoTelemetry())
    embedder.embed_query("owls")
    other = HashEmbedder()
    other.model_id = "another:float64"
    other.embed_query = lambda text: [1.0] * other.dimensions
    assert CachingEmbedder(other, cache, NoTelemetry()).embed_query("owls") == [1.0] * other.dimensions
    for key in list(cache._kept):
        cache.put({key: b"short"}, 60)
    assert list(embedder.embed_query("owls")) == list(inner.embed_query("owls"))


def test_a_memory_is_the_same_from_the_cache_as_from_the_records(records: SqliteRecordStore, cache: OpenCache) -> None:
    given = new(
        "Füchse \N{FOX FACE}? 'é'", tags=["a", "b"], thread="t", speaker="Ana", payload={"n": 1.5, "of": [None]}
    )
    changes = stored(records, "a", [given, new("plain")], request())
    wanted = {change.id: change.version for change in changes}
    counts = Counts()
    bodies = Bodies(records, cache, counts)
    assert bodies.read("a", wanted) == bodies.read("a", wanted) == records.read("a", list(wanted))
    assert counts.told == [("bodies", 0, 2), ("bodies", 2, 0)]


def test_another_version_another_namespace_and_garbage_are_read_from_the_records(
    records: SqliteRecordStore, cache: OpenCache
) -> None:
    first = stored(records, "a", [new("one", coordinate="1")], request())[0]
    bodies = Bodies(records, cache, NoTelemetry())
    bodies.read("a", {first.id: 1})
    second = stored(records, "a", [new("two", coordinate="1")], request())[0]
    assert bodies.read("a", {second.id: 2})[first.id].text == "two"
    assert bodies.read("b", {second.id: 2}) == {}
    for garbage in (b"", b"[]", b"{}", b"\xff", b'["a","%s",2,{}]' % first.id.hex.encode(), b"[[[1]]]"):
        for key in list(cache._kept):
            cache.put({key: garbage}, 60)
        assert bodies.read("a", {second.id: 2})[first.id].text == "two"


def test_what_was_forgotten_leaves_the_cache_with_the_index(engine: Engine, cache: OpenCache) -> None:
    kept, hidden, gone = engine.store("owl kept"), engine.store("owl hidden"), engine.store("owl purged")
    assert len(engine.texts("owl")) == 3
    assert all(word in cache.held for word in (b"kept", b"hidden", b"purged"))
    engine.forget(hidden)
    engine.forget(gone, purge=True)
    assert b"hidden" not in cache.held
    assert b"purged" not in cache.held
    assert engine.texts("owl") == ["owl kept"]
    assert kept.version == 1


def test_a_cache_filled_late_with_what_was_just_forgotten(records: SqliteRecordStore, cache: OpenCache) -> None:
    change = stored(records, "a", [new("secret", coordinate="1")], request())[0]
    read, purged = threading.Event(), threading.Event()

    class Slow:
        """The records as a thread sees them that stands still after it has read."""

        def read(self, namespace: str, ids: Sequence[UUID]) -> dict[UUID, Memory]:
            found = records.read(namespace, ids)
            read.set()
            assert purged.wait(10)
            return found

    late = Bodies(Slow(), cache, NoTelemetry())  # type: ignore[arg-type]
    reader = threading.Thread(target=late.read, args=("a", {change.id: 1}))
    reader.start()
    assert read.wait(10)
    records.forget("a", Selection((change.id,)), request(), purge=True, reason=None)
    assert Bodies(records, cache, NoTelemetry()).drop("a", [change.id])
    purged.set()
    reader.join()
    assert b"secret" not in cache.held
    assert Bodies(records, cache, NoTelemetry()).read("a", {change.id: 1}) == {}
    again = stored(records, "a", [new("begun anew", coordinate="1")], request())[0]
    assert again.id == change.id
    assert Bodies(records, cache, NoTelemetry()).read("a", {again.id: again.version})[again.id].text == "begun anew"


def test_what_took_long_to_read_is_not_kept(
    records: SqliteRecordStore, cache: OpenCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = stored(records, "a", [new("slow")], request())[0]
    monkeypatch.setattr(caching, "READ_SECONDS", 0.0)
    assert Bodies(records, cache, NoTelemetry()).read("a", {change.id: 1})[change.id].text == "slow"
    assert cache.held == b""


def test_a_body_that_a_late_reader_left_in_the_cache_is_returned_to_nobody(engine: Engine, cache: OpenCache) -> None:
    receipt = engine.store("owl secret")
    engine.texts("owl")
    late = {key: body for key, (_, body) in cache._kept.items() if body}
    engine.forget(receipt, purge=True)
    cache._kept.clear()  # as when Redis was restarted, or lost the mark of the drop
    cache.put(late, 60)
    assert b"secret" in cache.held
    assert engine.texts("owl") == []


def test_a_receipt_says_pending_while_the_cache_cannot_be_reached(engine: Engine, cache: OpenCache) -> None:
    first, second = engine.store("one"), engine.store("two")
    engine.soma.index(SCOPE)
    assert engine.soma.forget(SCOPE, [str(first.id)]).index == "removed"
    cache.drop = lambda keys: False
    assert engine.soma.forget(SCOPE, [str(second.id)]).index == "pending"


def test_verify_finds_bodies_that_are_not_as_the_records_have_them(engine: Engine, cache: OpenCache) -> None:
    kept = {text: engine.store(text).id for text in ("alpha", "beta", "gamma", "delta")}
    engine.soma.index(SCOPE)
    engine.soma.get(SCOPE, [str(key) for key in kept.values()])
    bodies = Bodies(engine.records, cache, NoTelemetry())
    bodies.read(SCOPE.namespace, dict.fromkeys(kept.values(), 1))
    assert engine.soma.verify(SCOPE)[0].cache == CacheDrift(4, 0, 0, 0)
    for key, body in list(cache.entries("body:")):
        if key.endswith(kept["beta"].hex):
            cache.put({key: b"[]"}, 60)
        if key.endswith(kept["gamma"].hex):
            cache.put({key: body.replace(b"gamma", b"omega")}, 60)
    engine.records.forget(SCOPE.namespace, Selection((kept["delta"],)), request(), purge=False, reason=None)
    engine.soma.index(SCOPE)
    found = engine.soma.verify(SCOPE)[0]
    assert found.cache == CacheDrift(4, outdated=1, forgotten=1, altered=1)
    assert not found.is_good
    assert {each.split()[1] for each in found.examples} == {str(kept["delta"]), str(kept["gamma"])}
