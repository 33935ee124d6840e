"""What a Qdrant server does with the requests that Soma makes, on Edge: one shard a collection."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import qdrant_edge as edge
from qdrant_client import models
from qdrant_client.http.models import QueryResponse

NEVER = 10**9
CREATED = "created.json"
FIELDS = {
    "keyword": edge.PayloadSchemaType.Keyword,
    "uuid": edge.PayloadSchemaType.Uuid,
    "integer": edge.PayloadSchemaType.Integer,
    "datetime": edge.PayloadSchemaType.Datetime,
}


class Missing(Exception):
    """There is no such collection."""


class Existing(Exception):
    """There is one already."""


class Collections:
    """The collections of a server in a folder. One call at a time, as Edge holds Python's lock in all of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self._open: dict[str, edge.EdgeShard] = {}
        for path in folder.glob(f"*/{CREATED}"):
            self._open[path.parent.name] = edge.EdgeShard.load(str(path.parent / "shard"))

    def names(self) -> list[str]:
        with self._lock:
            return list(self._open)

    def exists(self, name: str) -> bool:
        return name in self._open

    def create(self, name: str, wanted: models.CreateCollection) -> None:
        with self._lock:
            if name in self._open:
                raise Existing(name)
            shard = self._folder / name / "shard"
            shard.mkdir(parents=True)
            (shard / "edge_config.json").write_text(json.dumps(_config(wanted)), encoding="utf-8")
            self._open[name] = edge.EdgeShard.load(str(shard))
            (self._folder / name / CREATED).write_text(wanted.model_dump_json(exclude_none=True), encoding="utf-8")

    def delete(self, name: str) -> None:
        with self._lock:
            if shard := self._open.pop(name, None):
                shard.close()
                shutil.rmtree(self._folder / name)

    def info(self, name: str) -> models.CollectionInfo:
        with self._lock:
            shard = self._shard(name)
            text = (self._folder / name / CREATED).read_text(encoding="utf-8")
            created = models.CreateCollection.model_validate_json(text)
            indexed = shard.info().payload_schema
        params = models.CollectionParams(vectors=created.vectors, sparse_vectors=created.sparse_vectors)
        return models.CollectionInfo(
            status=models.CollectionStatus.GREEN,
            optimizer_status=models.OptimizersStatusOneOf.OK,
            segments_count=1,
            config=models.CollectionConfig(
                params=params,
                wal_config=models.WalConfig(wal_capacity_mb=32, wal_segments_ahead=0),
                hnsw_config=models.HnswConfig(m=0, ef_construct=100, full_scan_threshold=10_000),
                optimizer_config=models.OptimizersConfig(
                    deleted_threshold=0.2, vacuum_min_vector_number=1000, default_segment_number=1, flush_interval_sec=5
                ),
            ),
            payload_schema={
                field: models.PayloadIndexInfo(data_type=models.PayloadSchemaType.KEYWORD, points=0)
                for field in indexed
            },
        )

    def index(self, name: str, wanted: models.CreateFieldIndex) -> None:
        schema = wanted.field_schema
        assert schema is not None
        if isinstance(schema, models.KeywordIndexParams):
            kind: Any = edge.KeywordIndexParams(is_tenant=schema.is_tenant)
        else:
            kind = FIELDS[str(getattr(schema, "value", schema))]
        self._update(name, edge.UpdateOperation.create_field_index(wanted.field_name, kind))

    def upsert(self, name: str, wanted: models.PointsList) -> None:
        points = [
            edge.Point(point.id, _vectors(point.vector), point.payload or {})  # type: ignore[arg-type]
            for point in wanted.points
        ]
        self._update(name, edge.UpdateOperation.upsert_points(points))

    def set_payload(self, name: str, wanted: models.SetPayload) -> None:
        chosen = edge_filter(wanted.filter)
        self._update(name, edge.UpdateOperation.set_payload_by_filter(chosen, wanted.payload))

    def delete_points(self, name: str, wanted: models.FilterSelector | models.PointIdsList) -> None:
        if isinstance(wanted, models.PointIdsList):
            self._update(name, edge.UpdateOperation.delete_points([str(each) for each in wanted.points]))
        else:
            self._update(name, edge.UpdateOperation.delete_points_by_filter(edge_filter(wanted.filter)))

    def retrieve(self, name: str, wanted: models.PointRequest) -> list[models.Record]:
        with self._lock:
            found = self._shard(name).retrieve([str(each) for each in wanted.ids], True, False)
        return [models.Record(id=str(each.id), payload=each.payload) for each in found]

    def scroll(self, name: str, wanted: models.ScrollRequest) -> models.ScrollResult:
        request = edge.ScrollRequest(
            offset=wanted.offset,
            limit=wanted.limit,
            filter=edge_filter(wanted.filter) if wanted.filter else None,
            with_payload=wanted.with_payload,  # type: ignore[arg-type]
        )
        with self._lock:
            records, following = self._shard(name).scroll(request)
        points = [models.Record(id=str(each.id), payload=each.payload or {}) for each in records]
        return models.ScrollResult(points=points, next_page_offset=None if following is None else str(following))

    def query(self, name: str, wanted: Sequence[models.QueryRequest]) -> list[QueryResponse]:
        with self._lock:
            lists = self._shard(name).query_batch(edge.QueryBatchRequest([_request(each) for each in wanted]))
        return [
            QueryResponse(
                points=[
                    models.ScoredPoint(
                        id=str(each.id), version=each.version, score=_shortest(each.score), payload=each.payload
                    )
                    for each in found
                ]
            )
            for found in lists
        ]

    def close(self) -> None:
        with self._lock:
            for shard in self._open.values():
                shard.close()
            self._open.clear()

    def _shard(self, name: str) -> edge.EdgeShard:
        if name not in self._open:
            raise Missing(name)
        return self._open[name]

    def _update(self, name: str, operation: edge.UpdateOperation) -> None:
        with self._lock:
            self._shard(name).update(operation)


def _shortest(score: float) -> float:
    """As a server writes its floats of 32 bits."""
    return float(str(numpy.float32(score)))


def edge_filter(wanted: models.Filter | None) -> edge.Filter:
    assert wanted is not None
    assert not wanted.should
    return edge.Filter(must=_conditions(wanted.must), must_not=_conditions(wanted.must_not))


def _conditions(wanted: Any) -> list[Any]:
    return [_condition(each) for each in (wanted if isinstance(wanted, list) else [wanted] if wanted else [])]


def _condition(wanted: Any) -> Any:
    match wanted:
        case models.HasIdCondition(has_id=ids):
            return edge.HasIdCondition({str(each) for each in ids})
        case models.HasVectorCondition(has_vector=name):
            return edge.HasVectorCondition(name)
        case models.FieldCondition(key=key, match=models.MatchValue(value=value)):
            return edge.FieldCondition(key, match=edge.MatchValue(value))
        case models.FieldCondition(key=key, match=models.MatchAny(any=values)):
            return edge.FieldCondition(key, match=edge.MatchAny([str(value) for value in values]))
        case models.FieldCondition(key=key, range=models.Range(lt=lt)):
            return edge.FieldCondition(key, range=edge.RangeFloat(lt=lt))
        case models.FieldCondition(key=key, range=models.DatetimeRange(gte=gte, lt=lt)):
            start, end = gte.isoformat() if gte else None, lt.isoformat() if lt else None
            return edge.FieldCondition(key, range=edge.RangeDateTime(gte=start, lt=end))
    raise AssertionError(f"this server does not know the condition {wanted!r}")


def _request(wanted: models.QueryRequest) -> edge.QueryRequest:
    query = wanted.query
    assert isinstance(query, models.NearestQuery), query
    nearest: Any = query.nearest
    if isinstance(nearest, models.SparseVector):
        nearest = edge.SparseVector(nearest.indices, nearest.values)
    return edge.QueryRequest(
        limit=wanted.limit or 10,
        query=edge.Query.Nearest(nearest, using=wanted.using),
        with_payload=wanted.with_payload,  # type: ignore[arg-type]
        filter=edge_filter(wanted.filter) if wanted.filter else None,
        params=_params(wanted.params),
    )


def _params(wanted: models.SearchParams | None) -> edge.SearchParams | None:
    if wanted is None:
        return None
    quantised = None
    if found := wanted.quantization:
        quantised = edge.QuantizationSearchParams(rescore=found.rescore, oversampling=found.oversampling)
    corpus = wanted.idf.corpus if isinstance(wanted.idf, models.IdfCorpusParams) else None
    idf = edge.IdfParams(corpus=edge_filter(corpus)) if corpus else None
    return edge.SearchParams(quantization=quantised, idf=idf)


def _vectors(wanted: Any) -> dict[str, Any]:
    assert isinstance(wanted, dict)
    return {
        name: edge.SparseVector(vector.indices, vector.values) if isinstance(vector, models.SparseVector) else vector
        for name, vector in wanted.items()
    }


def _config(wanted: models.CreateCollection) -> dict[str, Any]:
    assert isinstance(wanted.vectors, dict)
    return {
        "vectors": {name: _dense(params) for name, params in wanted.vectors.items()},
        "sparse_vectors": {
            name: {"modifier": params.modifier} for name, params in (wanted.sparse_vectors or {}).items()
        },
        "optimizers": {"indexing_threshold": NEVER},
    }


def _dense(params: models.VectorParams) -> dict[str, Any]:
    quantised = params.quantization_config
    dense: dict[str, Any] = {"size": params.size, "distance": params.distance, "datatype": params.datatype}
    if isinstance(quantised, models.TurboQuantization):
        dense["quantization_config"] = {"turbo": {"bits": quantised.turbo.bits}}
    return dense
