"""Points, conditions and searches as a Qdrant server takes them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, cast
from uuid import uuid5

import qdrant_edge as edge
from qdrant_client import models

from soma_core.adapters.qdrant import filters
from soma_core.adapters.qdrant import points as layout
from soma_core.adapters.qdrant.filters import Below, Condition, During, Is, OneOf
from soma_core.adapters.qdrant.points import DENSE, KEY, LEARNED, WORDS
from soma_core.domain.memory import ID_SPACE
from soma_core.ports.embedder import Vector
from soma_core.ports.index import IndexPoint, IndexQuery, Match
from soma_core.ports.sparse import Weights

TENANT = "tenant"
"""The field that keeps namespaces apart: all of them are in one collection."""
OVERSAMPLING = 2.0


def server_point(tenant: str, point: IndexPoint, words: edge.SparseVector, *, learned: bool) -> models.PointStruct:
    """A passage of a tenant. Its id is the tenant's too: two namespaces may hold a memory of the same id."""
    vectors: dict[str, Any] = {WORDS: _sparse(words)}
    if point.vector is not None:
        vectors[DENSE] = _floats(point.vector)
    if learned and point.learned:
        vectors[LEARNED] = _weights(point.learned)
    name = f"point\0{tenant}\0{point.memory_id}\0{point.version}\0{point.passage}"
    return models.PointStruct(
        id=str(uuid5(ID_SPACE, name)), vector=vectors, payload={**layout.payload(point), TENANT: tenant}
    )


def server_filter(tenant: str, conditions: Sequence[Condition] = ()) -> models.Filter:
    """Points of a tenant that meet every condition."""
    return models.Filter(must=[_condition(condition) for condition in (Is(TENANT, tenant), *conditions)])


def arms(tenant: str, query: IndexQuery, words: edge.SparseVector, *, learned: bool) -> dict[str, models.QueryRequest]:
    """A request for each arm that has something to look for. How rare a word is, the tenant's points tell."""
    found: dict[str, models.QueryRequest] = {}
    wanted = server_filter(tenant, filters.searched(query.filter))
    if query.vector is not None:
        rescored = models.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)
        found[DENSE] = models.QueryRequest(
            query=models.NearestQuery(nearest=_floats(query.vector)),
            using=DENSE,
            filter=wanted,
            params=models.SearchParams(quantization=rescored),
            limit=query.limit,
            with_payload=KEY,
        )
    if words.indices:
        found[WORDS] = models.QueryRequest(
            query=models.NearestQuery(nearest=_sparse(words)),
            using=WORDS,
            filter=wanted,
            params=models.SearchParams(idf=models.IdfCorpusParams(corpus=server_filter(tenant))),
            limit=query.limit,
            with_payload=KEY,
        )
    if learned and query.learned:
        found[LEARNED] = models.QueryRequest(
            query=models.NearestQuery(nearest=_weights(query.learned)),
            using=LEARNED,
            filter=wanted,
            limit=query.limit,
            with_payload=KEY,
        )
    return found


def matches(points: Sequence[models.ScoredPoint]) -> list[Match]:
    """What an arm found: best first, equal ones by memory id, version and passage.

    Scores are the server's floats of 32 bits; JSON gives their shortest decimals, so they are brought back to these.
    """
    scores = array("f", [point.score for point in points])
    found = [layout.match(point.payload or {}, score) for point, score in zip(points, scores, strict=True)]
    return sorted(found, key=lambda each: (-each.score, *each[:3]))


def _condition(condition: Condition) -> models.FieldCondition:
    match condition:
        case Is(field, value):
            return models.FieldCondition(key=field, match=models.MatchValue(value=value))
        case OneOf(field, values):
            return models.FieldCondition(key=field, match=models.MatchAny(any=list(values)))
        case Below(field, number):
            return models.FieldCondition(key=field, range=models.Range(lt=number))
        case During(field, since, until):
            return models.FieldCondition(key=field, range=models.DatetimeRange(gte=since, lt=until))


def _sparse(words: edge.SparseVector) -> models.SparseVector:
    return models.SparseVector(indices=list(words.indices), values=list(words.values))


def _weights(learned: Weights) -> models.SparseVector:
    return models.SparseVector(indices=list(learned), values=list(learned.values()))


def _floats(vector: Vector) -> list[float]:
    return cast("list[float]", vector.tolist()) if hasattr(vector, "tolist") else list(vector)
