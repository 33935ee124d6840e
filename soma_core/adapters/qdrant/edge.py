"""The vector index in this process, on Qdrant Edge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import qdrant_edge as edge

from soma_core.adapters.qdrant import filters
from soma_core.adapters.qdrant.edge_filters import edge_filter
from soma_core.adapters.qdrant.names import Names
from soma_core.adapters.qdrant.points import CURRENT, DENSE, KEY, LEARNED, OLD, SCOPE, WORDS, match, payload, point_id
from soma_core.adapters.qdrant.shards import MARK, Shard, engine_failures, flush_shard, mix, named
from soma_core.adapters.qdrant.shelf import Shelf
from soma_core.adapters.qdrant.stamps import Stamp, list_files, write_stamp
from soma_core.adapters.qdrant.turns import Turns
from soma_core.adapters.qdrant.words import Words
from soma_core.ports.embedder import Vector
from soma_core.ports.index import Checkpoint, Indexed, IndexPoint, IndexQuery, Match, Matches
from soma_core.ports.sparse import Weights

SLICE = 50
PAGE = 1_000
OVERSAMPLING = 2.0
EVERYTHING = edge.Filter()
"""What the rarity of a word is counted over. Without saying so, the engine counts points that were removed, too."""


class EdgeIndex:
    """A `VectorIndex` of one Edge shard a namespace, at most `max_open` of them open, under `folder`.

    The engine holds Python's global lock in every call, so writes go in slices of 50 points and queries pass between
    them. Its own log keeps what was not flushed through the death of the process.
    """

    def __init__(
        self,
        folder: Path,
        *,
        store_id: str,
        model_id: str,
        dimensions: int | None,
        language: str = "english",
        sparse_model_id: str | None = None,
        max_open: int = 16,
        turns: Turns | None = None,
    ) -> None:
        """`dimensions` None: no new namespace can be made. `turns`: taken with other indexes of this process."""
        self._words = Words(language)
        self._turns = turns or Turns()
        self._names = Names()
        self._learns = sparse_model_id is not None
        stamp = Stamp("", store_id, model_id, language, sparse_model_id=sparse_model_id)
        self._shelf = Shelf(folder, stamp, dimensions, self._turns, max_open)

    def put(self, namespace: str, points: Sequence[IndexPoint]) -> None:
        with self._shelf.made(namespace) as shard:
            for start in range(0, len(points), SLICE):
                batch = [self._point(point) for point in points[start : start + SLICE]]
                if shard.plain and not all(point.current for point in points[start : start + SLICE]):
                    mix(shard)
                self._update(namespace, shard, edge.UpdateOperation.upsert_points(batch))

    def retire(self, namespace: str, memory_id: UUID, version: int) -> None:
        wanted = edge_filter(filters.below(memory_id, version))
        with self._shelf.found(namespace) as shard:
            if shard:
                mix(shard)
                self._update(namespace, shard, edge.UpdateOperation.set_payload_by_filter(wanted, {SCOPE: OLD}))

    def remove(self, namespace: str, memory_id: UUID, version: int) -> None:
        wanted = edge_filter(filters.below(memory_id, version))
        with self._shelf.found(namespace) as shard:
            if shard:
                mix(shard)
                self._update(namespace, shard, edge.UpdateOperation.delete_points_by_filter(wanted))

    def search(self, namespace: str, query: IndexQuery) -> Matches:
        with self._shelf.found(namespace) as shard:
            if not shard or not (arms := self._arms(query, shard.plain)):
                return Matches((), ())
            with self._turns.query(), engine_failures(f"the index of {named(namespace)} could not be searched"):
                lists = shard.engine.query_batch(edge.QueryBatchRequest(list(arms.values())))
                found = dict(zip(arms, [self._matches(shard, points) for points in lists], strict=True))
        return Matches(found.get(DENSE, ()), found.get(WORDS, ()), found.get(LEARNED, ()))

    def _matches(self, shard: Shard, points: Sequence[edge.ScoredPoint]) -> list[Match]:
        def read(ids: list[UUID]) -> dict[UUID, dict[str, Any]]:
            wanted = cast("list[Any]", ids)
            return {cast(UUID, record.id): record.payload or {} for record in shard.engine.retrieve(wanted, KEY, False)}

        ids = [cast(UUID, point.id).int for point in points]
        return self._names.matches(ids, [point.score for point in points], read)

    def overlap(self, query: str, texts: Sequence[str]) -> list[float]:
        return self._words.overlaps(query, texts)

    def is_open(self, namespace: str) -> bool:
        return self._shelf.is_open(namespace)

    def checkpoint(self, namespace: str) -> Checkpoint:
        with self._shelf.found(namespace) as shard:
            self._shelf.begun_anew.discard(namespace)
            return shard.checkpoint if shard else Checkpoint()

    def flush(self, namespace: str, checkpoint: Checkpoint) -> None:
        """As the port says, but an index that was begun anew keeps (0, 0) until its owner has asked for the checkpoint.

        What an owner writes who has not noticed is only the end of what the index must hold.
        """
        with self._shelf.made(namespace) as shard:
            if namespace in self._shelf.begun_anew:
                checkpoint = Checkpoint()
            with shard.flushing, engine_failures(f"the index of {named(namespace)} could not be flushed"):
                with self._turns.write():
                    flush_shard(shard)
                    files = list_files(shard.folder)
                write_stamp(shard.folder, shard.stamp, checkpoint, files)
                shard.checkpoint = checkpoint

    def reset(self, namespace: str) -> None:
        self._shelf.drop(namespace)

    def points(self, namespace: str) -> Iterator[Indexed]:
        offset: Any = None
        while True:
            with self._shelf.found(namespace) as shard:
                if not shard:
                    return
                page, offset = self._page(namespace, shard, offset)
            yield from page
            if offset is None:
                return

    def rebuilt(self) -> Sequence[str]:
        return tuple(self._shelf.rebuilt)

    def close(self) -> None:
        self._shelf.close()

    def _update(self, namespace: str, shard: Shard, operation: edge.UpdateOperation) -> None:
        with self._turns.write(), engine_failures(f"the index of {named(namespace)} could not be written"):
            shard.engine.update(operation)

    def _point(self, point: IndexPoint) -> edge.Point:
        vectors: dict[str, Any] = {WORDS: self._words.document(point.words)}
        if point.vector is not None:
            vectors[DENSE] = _floats(point.vector)
        if self._learns and point.learned:
            vectors[LEARNED] = _sparse(point.learned)
        return edge.Point(str(point_id(point.memory_id, point.version, point.passage)), vectors, payload(point))

    def _arms(self, query: IndexQuery, plain: bool) -> dict[str, edge.QueryRequest]:
        """The engine's request for each arm that has something to look for.

        In a plain shard all points are in scope, and those that count for how rare a word is are those that are there:
        asked for, both cost time that grows with the shard.
        """
        arms: dict[str, edge.QueryRequest] = {}
        conditions = [each for each in filters.searched(query.filter) if not (plain and each == filters.IN_SCOPE)]
        wanted = edge_filter(conditions) if conditions else None
        if query.vector is not None:
            rescored = edge.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)
            arms[DENSE] = edge.QueryRequest(
                limit=query.limit,
                query=edge.Query.Nearest(_floats(query.vector), using=DENSE),
                with_payload=False,
                filter=wanted,
                params=edge.SearchParams(quantization=rescored),
            )
        words = self._words.query(query.words)
        if words.indices:
            nearest = edge.Query.Nearest(words, using=WORDS)
            arms[WORDS] = edge.QueryRequest(
                limit=query.limit,
                query=nearest,
                with_payload=False,
                filter=wanted,
                params=None if plain else edge.SearchParams(idf=edge.IdfParams(corpus=EVERYTHING)),
            )
        if self._learns and query.learned:
            nearest = edge.Query.Nearest(_sparse(query.learned), using=LEARNED)
            arms[LEARNED] = edge.QueryRequest(limit=query.limit, query=nearest, with_payload=False, filter=wanted)
        return arms

    def _page(self, namespace: str, shard: Shard, offset: Any) -> tuple[list[Indexed], Any]:
        """The next points from `offset` on, and where to go on from, None at the end."""
        request = edge.ScrollRequest(offset=offset, limit=PAGE, with_payload=[*KEY, SCOPE])
        with self._turns.write(), engine_failures(f"the index of {named(namespace)} could not be read"):
            records, following = shard.engine.scroll(request)
            embedded = _embedded(shard, [record.id for record in records])
        return [_indexed(record, record.id in embedded) for record in records if record.id != MARK], following


def _floats(vector: Vector) -> list[float]:
    """A list, as the engine wants it; arrays turn themselves into one faster than `list` does."""
    return cast("list[float]", vector.tolist()) if hasattr(vector, "tolist") else list(vector)


def _sparse(weights: Weights) -> edge.SparseVector:
    return edge.SparseVector(list(weights), list(weights.values()))


def _embedded(shard: Shard, ids: Sequence[edge.PointId]) -> set[edge.PointId]:
    """Which of the points have a vector, without reading the vectors."""
    wanted = edge.Filter(must=[edge.HasIdCondition(set(ids)), edge.HasVectorCondition(DENSE)])
    records, _ = shard.engine.scroll(edge.ScrollRequest(limit=PAGE, filter=wanted, with_payload=False))
    return {record.id for record in records}


def _indexed(record: edge.Record, embedded: bool) -> Indexed:
    found = record.payload or {}
    key = match(found, 0.0)
    return Indexed(UUID(int=key.memory), key.version, key.passage, found[SCOPE] == CURRENT, embedded)
