"""Whether the server lives, can serve, and how its parts do."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from typing_extensions import TypedDict

from soma_core.bootstrap import soma_version
from soma_core.domain.errors import SomaError
from soma_core.domain.memory import Scope
from soma_core.engine import Soma, Status
from soma_mcp.http.routes import new_router

log = logging.getLogger(__name__)

router = new_router("health")

PROBE = "health"
NOT_WHOLE = "is not whole or not up to date: GET /stats says why"
NOT_USED = "is not used: GET /stats says why"
AWAY = "is away: answers are by words"
"""Reasons may name servers, and callers here bring no token."""


class Greeting(TypedDict):
    name: str
    version: str
    docs: str
    metrics: str
    mcp: str


class Alive(TypedDict):
    status: str


class Ready(TypedDict):
    ready: bool
    missing: list[str]


class Part(TypedDict):
    ok: bool
    ms: float
    note: str


class Health(TypedDict):
    status: str
    parts: dict[str, Part]


@router.get("/", response_model=Greeting)
async def root() -> JSONResponse:
    """What this is, and where to look next."""
    links = {"docs": "/docs", "metrics": "/metrics", "mcp": "/mcp"}
    return JSONResponse({"name": "soma", "version": soma_version(), **links})


@router.get("/healthz", response_model=Alive)
async def healthz() -> JSONResponse:
    """Say that this process lives."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", response_model=Ready, responses={503: {"model": Ready}})
async def readyz(request: Request) -> JSONResponse:
    """It can serve; if not, what is missing."""
    parts = await _parts(request)
    missing = [f"{name}: {part['note']}" for name, part in parts.items() if not part["ok"]]
    return JSONResponse({"ready": not missing, "missing": missing}, 503 if missing else 200)


@router.get("/health", response_model=Health, responses={503: {"model": Health}})
async def health(request: Request) -> JSONResponse:
    """Each part, and how long it took to ask it."""
    parts = await _parts(request)
    fine = all(part["ok"] for part in parts.values())
    return JSONResponse({"status": "ok" if fine else "not ready", "parts": parts}, 200 if fine else 503)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Prometheus metrics."""
    kept = request.app.state.metrics
    with contextlib.suppress(SomaError):  # what was known last is still worth reading
        kept.set_status(await _status(request))
    body, content_type = kept.render()
    return Response(body, media_type=content_type)


async def _status(request: Request) -> Status:
    state = request.app.state
    status: Status = await state.memory.call(Soma.status, Scope(state.settings.namespace, PROBE))
    return status


async def _parts(request: Request) -> dict[str, dict[str, Any]]:
    began = time.perf_counter()
    try:
        status = await _status(request)
    except SomaError as error:
        log.warning("asked how it stands: %s", error.message)
        return {"records": _part(began, error.code)}
    waiting = any("index" in note for note in status.health)
    without = any(note.startswith("cache: ") for note in status.health)
    # A model that was there and is away, as that of an endpoint may be, stops no store and no answer by words.
    loaded = request.app.state.model_loaded = status.model_ready or getattr(request.app.state, "model_loaded", False)
    away = loaded and not status.model_ready
    return {
        "records": _part(began, ""),
        "index": _part(began, "") | {"note": NOT_WHOLE if waiting else ""},
        "model": _part(began, "") | {"note": AWAY if away else ""} if loaded else _part(began, "is not loaded yet"),
        "cache": _part(began, "") | {"note": NOT_USED if without else ""},
    }


def _part(began: float, problem: str) -> dict[str, Any]:
    return {"ok": not problem, "ms": round((time.perf_counter() - began) * 1_000, 3), "note": problem}
