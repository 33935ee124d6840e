"""A server of Qdrant's interfaces for tests, as far as Soma uses them: `python -m tests.support.qdrant_http`.

It reads requests with the models of qdrant-client, and Qdrant Edge does the work.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import Body, FastAPI, Request
from fastapi.responses import JSONResponse
from qdrant_client import models

from tests.support.qdrant_engine import Collections, Existing, Missing
from tests.support.qdrant_grpc import serve_grpc

DONE = models.UpdateResult(operation_id=0, status=models.UpdateStatus.COMPLETED)


def qdrant_app(collections: Collections, *, version: str = "1.19.0", api_key: str | None = None) -> FastAPI:
    app = FastAPI()

    @app.middleware("http")
    async def check_key(request: Request, go_on: Any) -> Any:
        if api_key and request.url.path != "/" and request.headers.get("api-key") != api_key:
            return JSONResponse({"status": {"error": "Must provide an API key"}}, 401)
        return await go_on(request)

    @app.exception_handler(Missing)
    async def missing(_: Request, error: Missing) -> JSONResponse:
        return JSONResponse({"status": {"error": f"Not found: Collection `{error}` doesn't exist!"}}, 404)

    @app.exception_handler(Existing)
    async def existing(_: Request, error: Existing) -> JSONResponse:
        return JSONResponse({"status": {"error": f"Wrong input: Collection `{error}` already exists!"}}, 409)

    @app.get("/")
    def root() -> dict[str, str]:
        return {"title": "qdrant - vector search engine", "version": version}

    _add_collection_routes(app, collections)
    _add_point_routes(app, collections)
    return app


def _add_collection_routes(app: FastAPI, collections: Collections) -> None:
    @app.get("/collections")
    def names() -> dict[str, Any]:
        return _answer({"collections": [{"name": name} for name in collections.names()]})

    @app.get("/collections/{name}/exists")
    def exists(name: str) -> dict[str, Any]:
        return _answer({"exists": collections.exists(name)})

    @app.get("/collections/{name}")
    def info(name: str) -> dict[str, Any]:
        return _answer(collections.info(name))

    @app.put("/collections/{name}")
    def create(name: str, wanted: models.CreateCollection) -> dict[str, Any]:
        collections.create(name, wanted)
        return _answer(True)

    @app.delete("/collections/{name}")
    def delete(name: str) -> dict[str, Any]:
        collections.delete(name)
        return _answer(True)

    @app.put("/collections/{name}/index")
    def index(name: str, wanted: models.CreateFieldIndex) -> dict[str, Any]:
        collections.index(name, wanted)
        return _answer(DONE)


def _add_point_routes(app: FastAPI, collections: Collections) -> None:
    @app.put("/collections/{name}/points")
    def upsert(name: str, wanted: models.PointsList) -> dict[str, Any]:
        collections.upsert(name, wanted)
        return _answer(DONE)

    @app.post("/collections/{name}/points/payload")
    def set_payload(name: str, wanted: models.SetPayload) -> dict[str, Any]:
        collections.set_payload(name, wanted)
        return _answer(DONE)

    @app.post("/collections/{name}/points/delete")
    def delete_points(name: str, wanted: Annotated[models.PointsSelector, Body()]) -> dict[str, Any]:
        collections.delete_points(name, wanted)
        return _answer(DONE)

    @app.post("/collections/{name}/points")
    def retrieve(name: str, wanted: models.PointRequest) -> dict[str, Any]:
        return _answer(collections.retrieve(name, wanted))

    @app.post("/collections/{name}/points/scroll")
    def scroll(name: str, wanted: models.ScrollRequest) -> dict[str, Any]:
        return _answer(collections.scroll(name, wanted))

    @app.post("/collections/{name}/points/query/batch")
    def query(name: str, wanted: models.QueryRequestBatch) -> dict[str, Any]:
        return _answer(collections.query(name, wanted.searches))


def _answer(result: Any) -> dict[str, Any]:
    return {"result": result, "status": "ok", "time": 0.0}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--grpc-port", type=int)
    parser.add_argument("--version", default="1.19.0")
    parser.add_argument("--api-key")
    told = parser.parse_args()
    collections = Collections(told.folder)
    app = qdrant_app(collections, version=told.version, api_key=told.api_key)
    beside = serve_grpc(collections, told.grpc_port, told.version) if told.grpc_port else None
    uvicorn.run(app, host="127.0.0.1", port=told.port, access_log=False, log_level="warning")
    if beside:
        beside.stop(None)


if __name__ == "__main__":
    main()
