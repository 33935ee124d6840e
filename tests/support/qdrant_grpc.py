"""The same server over gRPC: requests and answers go through the conversions of qdrant-client."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from qdrant_client import grpc as wire
from qdrant_client import models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_client.grpc import collections_service_pb2_grpc, points_service_pb2_grpc, qdrant_pb2_grpc

from tests.support.qdrant_engine import Collections, Existing, Missing

DONE = wire.UpdateResult(operation_id=0, status=wire.UpdateStatus.Completed)
FIELD_TYPES = {
    wire.FieldType.FieldTypeKeyword: models.PayloadSchemaType.KEYWORD,
    wire.FieldType.FieldTypeInteger: models.PayloadSchemaType.INTEGER,
    wire.FieldType.FieldTypeUuid: models.PayloadSchemaType.UUID,
    wire.FieldType.FieldTypeDatetime: models.PayloadSchemaType.DATETIME,
}


def serve_grpc(collections: Collections, port: int, version: str) -> grpc.Server:
    """Start it; hold what it returns."""
    server = grpc.server(ThreadPoolExecutor(8))
    collections_service_pb2_grpc.add_CollectionsServicer_to_server(_Collections(collections), server)
    points_service_pb2_grpc.add_PointsServicer_to_server(_Points(collections), server)
    qdrant_pb2_grpc.add_QdrantServicer_to_server(_Health(version), server)
    assert server.add_insecure_port(f"127.0.0.1:{port}") == port
    server.start()
    return server


class _Health(qdrant_pb2_grpc.QdrantServicer):
    def __init__(self, version: str) -> None:
        self._version = version

    def HealthCheck(self, request: Any, context: Any) -> Any:
        return wire.HealthCheckReply(title="qdrant - vector search engine", version=self._version)


def answering(method: Callable[[Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
    """A method of a service from one that takes only the request; what it raises becomes a status."""

    def answer(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request)
        except Missing as error:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Collection `{error}` doesn't exist!")
        except Existing as error:
            context.abort(grpc.StatusCode.ALREADY_EXISTS, f"Collection `{error}` already exists!")
        except Exception:
            traceback.print_exc()
            raise

    return answer


class _Collections(collections_service_pb2_grpc.CollectionsServicer):
    def __init__(self, collections: Collections) -> None:
        self._collections = collections

    @answering
    def CollectionExists(self, request: Any) -> Any:
        exists = self._collections.exists(request.collection_name)
        return wire.CollectionExistsResponse(result=wire.CollectionExists(exists=exists))

    @answering
    def Get(self, request: Any) -> Any:
        info = RestToGrpc.convert_collection_info(self._collections.info(request.collection_name))
        return wire.GetCollectionInfoResponse(result=info)

    @answering
    def Create(self, request: Any) -> Any:
        sparse = GrpcToRest.convert_sparse_vector_config(request.sparse_vectors_config)
        vectors = GrpcToRest.convert_vectors_config(request.vectors_config)
        wanted = models.CreateCollection(vectors=vectors, sparse_vectors=sparse)
        self._collections.create(request.collection_name, wanted)
        return wire.CollectionOperationResponse(result=True)

    @answering
    def Delete(self, request: Any) -> Any:
        self._collections.delete(request.collection_name)
        return wire.CollectionOperationResponse(result=True)


class _Points(points_service_pb2_grpc.PointsServicer):
    def __init__(self, collections: Collections) -> None:
        self._collections = collections

    @answering
    def CreateFieldIndex(self, request: Any) -> Any:
        schema: Any = FIELD_TYPES[request.field_type]
        if request.HasField("field_index_params"):
            schema = GrpcToRest.convert_payload_schema_params(request.field_index_params)
        wanted = models.CreateFieldIndex(field_name=request.field_name, field_schema=schema)
        self._collections.index(request.collection_name, wanted)
        return wire.PointsOperationResponse(result=DONE)

    @answering
    def Upsert(self, request: Any) -> Any:
        points = [GrpcToRest.convert_point_struct(point) for point in request.points]
        self._collections.upsert(request.collection_name, models.PointsList(points=points))
        return wire.PointsOperationResponse(result=DONE)

    @answering
    def SetPayload(self, request: Any) -> Any:
        chosen: Any = GrpcToRest.convert_points_selector(request.points_selector)
        wanted = models.SetPayload(payload=GrpcToRest.convert_payload(request.payload), filter=chosen.filter)
        self._collections.set_payload(request.collection_name, wanted)
        return wire.PointsOperationResponse(result=DONE)

    @answering
    def Delete(self, request: Any) -> Any:
        self._collections.delete_points(request.collection_name, GrpcToRest.convert_points_selector(request.points))
        return wire.PointsOperationResponse(result=DONE)

    @answering
    def Get(self, request: Any) -> Any:
        ids = [GrpcToRest.convert_point_id(each) for each in request.ids]
        found = self._collections.retrieve(request.collection_name, models.PointRequest(ids=ids))
        return wire.GetResponse(result=[RestToGrpc.convert_retrieved_point(record) for record in found])

    @answering
    def Scroll(self, request: Any) -> Any:
        wanted = models.ScrollRequest(
            filter=GrpcToRest.convert_filter(request.filter),
            offset=GrpcToRest.convert_point_id(request.offset) if request.HasField("offset") else None,
            limit=request.limit,
            with_payload=GrpcToRest.convert_with_payload_interface(request.with_payload),
        )
        found = self._collections.scroll(request.collection_name, wanted)
        following = found.next_page_offset
        return wire.ScrollResponse(
            result=[RestToGrpc.convert_retrieved_point(record) for record in found.points],
            next_page_offset=None if following is None else RestToGrpc.convert_extended_point_id(following),
        )

    @answering
    def QueryBatch(self, request: Any) -> Any:
        wanted = [GrpcToRest.convert_query_points(each) for each in request.query_points]
        return wire.QueryBatchResponse(
            result=[
                wire.BatchResult(result=[RestToGrpc.convert_scored_point(point) for point in found.points])
                for found in self._collections.query(request.collection_name, wanted)
            ]
        )
