"""The vector index on a Qdrant server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from qdrant_client import QdrantClient, models

from soma_core.adapters.qdrant import filters
from soma_core.adapters.qdrant.points import CURRENT, DENSE, KEY, LEARNED, OLD, SCOPE, WORDS, match
from soma_core.adapters.qdrant.server_client import Gone, server_failures
from soma_core.adapters.qdrant.server_collection import prepare_collection
from soma_core.adapters.qdrant.server_requests import arms, matches, server_filter, server_point
from soma_core.adapters.qdrant.server_tenants import Tenants
from soma_core.adapters.qdrant.shards import named
from soma_core.adapters.qdrant.stamps import Stamp
from soma_core.adapters.qdrant.words import Words
from soma_core.domain.errors import Unavailable
from soma_core.ports.index import Checkpoint, Indexed, IndexPoint, IndexQuery, Matches

BATCH = 500
PAGE = 1_000
ASK_SECONDS = 3
"""For a search: a recall goes on without the index after that."""
WRITE_SECONDS = 30


class ServerIndex:
    """A `VectorIndex` in one collection of a Qdrant server, with every namespace a tenant of it.

    It takes over `client` and closes it. Every call has a time limit, and one that fails raises `Unavailable`; the next
    call connects anew. A write is acknowledged by the server before it counts as done, and the stamp with a checkpoint
    is a write after those it describes: the server's own log keeps their order, so `flush` has nothing more to do.
    What several processes write they write by the same ids; the last checkpoint stands.
    """

    def __init__(
        self,
        client: QdrantClient,
        collection: str,
        *,
        store_id: str,
        model_id: str,
        dimensions: int | None,
        language: str = "english",
        sparse_model_id: str | None = None,
        max_open: int = 10_000,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """`dimensions` None: those of the collection, which must be there.

        `is_wanted`: whether a collection that was lost is made again.
        """
        self._client = client
        self._collection = collection
        self._dimensions = dimensions
        self._words = Words(language)
        self._learns = sparse_model_id is not None
        stamp = Stamp("", store_id, model_id, language, sparse_model_id=sparse_model_id)
        self._tenants = Tenants(client, collection, stamp, max_open=max_open, seconds=WRITE_SECONDS)
        self._closed = False
        self._is_wanted = is_wanted
        prepare_collection(client, collection, dimensions, WRITE_SECONDS, learned=self._learns)

    def put(self, namespace: str, points: Sequence[IndexPoint]) -> None:
        with self._calls(f"the index of {named(namespace)} could not be written"):
            tenant = self._tenants.made(namespace)
            for start in range(0, len(points), BATCH):
                batch = [
                    server_point(tenant, point, self._words.document(point.words), learned=self._learns)
                    for point in points[start : start + BATCH]
                ]
                self._client.upsert(self._collection, _last_of_each(batch), wait=True, timeout=WRITE_SECONDS)

    def retire(self, namespace: str, memory_id: UUID, version: int) -> None:
        wanted = server_filter(self._tenants.tenant(namespace), filters.below(memory_id, version))
        with self._calls(f"the index of {named(namespace)} could not be written"):
            self._client.set_payload(self._collection, {SCOPE: OLD}, wanted, wait=True, timeout=WRITE_SECONDS)

    def remove(self, namespace: str, memory_id: UUID, version: int) -> None:
        wanted = server_filter(self._tenants.tenant(namespace), filters.below(memory_id, version))
        with self._calls(f"the index of {named(namespace)} could not be written"):
            selector = models.FilterSelector(filter=wanted)
            self._client.delete(self._collection, selector, wait=True, timeout=WRITE_SECONDS)

    def search(self, namespace: str, query: IndexQuery) -> Matches:
        wanted = arms(self._tenants.tenant(namespace), query, self._words.query(query.words), learned=self._learns)
        if not wanted:
            return Matches((), ())
        with self._calls(f"the index of {named(namespace)} could not be searched"):
            answers = self._client.query_batch_points(self._collection, [*wanted.values()], timeout=ASK_SECONDS)
            if not any(answer.points for answer in answers):
                self._tenants.check(namespace)
        found = {arm: matches(answer.points) for arm, answer in zip(wanted, answers, strict=True)}
        return Matches(found.get(DENSE, ()), found.get(WORDS, ()), found.get(LEARNED, ()))

    def overlap(self, query: str, texts: Sequence[str]) -> list[float]:
        return self._words.overlaps(query, texts)

    def is_open(self, namespace: str) -> bool:
        return self._tenants.is_at_hand(namespace)

    def checkpoint(self, namespace: str) -> Checkpoint:
        with self._calls(f"the index of {named(namespace)} could not be asked"):
            return self._tenants.checkpoint(namespace)

    def flush(self, namespace: str, checkpoint: Checkpoint) -> None:
        with self._calls(f"the index of {named(namespace)} could not be flushed"):
            self._tenants.record(namespace, checkpoint)

    def reset(self, namespace: str) -> None:
        with self._calls(f"the index of {named(namespace)} could not be deleted"):
            self._tenants.drop(namespace)

    def points(self, namespace: str) -> Iterator[Indexed]:
        offset: Any = None
        while True:
            with self._calls(f"the index of {named(namespace)} could not be read"):
                page, offset = self._page(self._tenants.tenant(namespace), offset)
            yield from page
            if offset is None:
                return

    def rebuilt(self) -> Sequence[str]:
        return tuple(self._tenants.rebuilt)

    def close(self) -> None:
        self._closed = True
        self._client.close()

    @contextmanager
    def _calls(self, what: str) -> Iterator[None]:
        if self._closed:
            raise Unavailable("the index is closed")
        try:
            with server_failures(what):
                yield
        except Gone as gone:
            todo = "it is made anew" if self._begin_anew() else "another one serves: see `soma stats`"
            raise Unavailable(f"{what}: the collection {self._collection!r} was gone, {todo}") from gone

    def _begin_anew(self) -> bool:
        """Make the collection again that somebody deleted, unless it is deleted for good; whether that was done.

        Its namespaces are then rebuilt from the records.
        """
        if not self._is_wanted():
            return False
        with server_failures(f"the collection {self._collection!r} is gone and could not be made again"):
            prepare_collection(self._client, self._collection, self._dimensions, WRITE_SECONDS, learned=self._learns)
            self._tenants.check_all()
        return True

    def _page(self, tenant: str, offset: Any) -> tuple[list[Indexed], Any]:
        """The next points from `offset` on, and where to go on from, None at the end."""
        fields, wanted = [*KEY, SCOPE], server_filter(tenant)
        records, following = self._client.scroll(
            self._collection, wanted, limit=PAGE, offset=offset, with_payload=fields, timeout=WRITE_SECONDS
        )
        embedded = self._embedded([record.id for record in records]) if records else set()
        return [_indexed(record, record.id in embedded) for record in records], following

    def _embedded(self, ids: list[Any]) -> set[Any]:
        """Which of the points have a vector, without reading the vectors."""
        wanted = models.Filter(must=[models.HasIdCondition(has_id=ids), models.HasVectorCondition(has_vector=DENSE)])
        records, _ = self._client.scroll(
            self._collection, wanted, limit=PAGE, with_payload=False, timeout=WRITE_SECONDS
        )
        return {record.id for record in records}


def _last_of_each(points: Sequence[models.PointStruct]) -> list[models.PointStruct]:
    return list({point.id: point for point in points}.values())


def _indexed(record: models.Record, embedded: bool) -> Indexed:
    found = record.payload or {}
    key = match(found, 0.0)
    return Indexed(UUID(int=key.memory), key.version, key.passage, found[SCOPE] == CURRENT, embedded)
