"""The outermost layer: ids, answers of last resort, access lines, counts."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from soma_core.domain.errors import Unavailable
from soma_mcp.http.metrics import Metrics
from soma_mcp.http.observe import ENDPOINTS, Observed, endpoint_of
from soma_mcp.http.routes import health
from tests.support.server import ask, serving

SECRET = "the-secret-of-the-boat"
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


async def show_state(request: Request) -> JSONResponse:
    request.state.principal = SimpleNamespace(caller="token:ada", namespace="team one")
    return JSONResponse({"id": request.state.request_id, "endpoint": request.state.endpoint})


async def read_body(request: Request) -> JSONResponse:
    return JSONResponse({"bytes": len(await request.body())})


async def stream_then_fail(request: Request) -> StreamingResponse:
    async def parts() -> Iterator[bytes]:
        yield b"first"
        raise RuntimeError("in the middle")

    return StreamingResponse(parts())


async def raw(scope: Scope, receive: Receive, send: Send) -> None:
    """Without Starlette's own answer to failures."""
    if scope["path"] == "/recall":
        raise RuntimeError("internals at /var/lib")
    if scope["path"] == "/stats":
        raise Unavailable("the disk is full", retry_after=7)
    if scope["path"] == "/range":
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(Request(scope, receive).body())
    if scope["path"] == "/forget":
        return
    await routed(scope, receive, send)


routed = Starlette(
    routes=[
        Route("/memories/{id}", show_state, methods=["GET", "DELETE", "PROPFIND"]),
        Route("/store", read_body, methods=["POST"]),
        Route("/export", stream_then_fail),
    ]
)


class Seen:
    """The app under `Observed`, with its records and metrics."""

    def __init__(self, port: int, metrics: Metrics, caplog: pytest.LogCaptureFixture) -> None:
        self.port = port
        self._metrics = metrics
        self._caplog = caplog

    @property
    def records(self) -> list[logging.LogRecord]:
        return list(self._caplog.records)

    def lines(self, logger: str = "soma_mcp.access", count: int = 1) -> list[Any]:
        """The records of a logger, once there are `count`: a line is written after the answer was sent."""
        deadline = time.monotonic() + 10
        while True:
            found = [record for record in self.records if record.name == logger]
            if len(found) >= count or time.monotonic() > deadline:
                return found
            time.sleep(0.01)

    @property
    def metrics(self) -> str:
        return self._metrics.render()[0].decode()


def observed(app: ASGIApp, caplog: pytest.LogCaptureFixture) -> Iterator[Seen]:
    metrics = Metrics()
    with caplog.at_level("INFO"), serving(Observed(app, metrics, endpoint_of)) as port:
        yield Seen(port, metrics, caplog)


@pytest.fixture
def seen(caplog: pytest.LogCaptureFixture) -> Iterator[Seen]:
    yield from observed(raw, caplog)


def test_a_good_request_id_is_kept_and_reaches_state_and_header(seen: Seen) -> None:
    answer = ask(seen.port, "/memories/7", headers={"X-Request-ID": "~Trace:1/2!"})
    assert answer.headers["x-request-id"] == answer.json["id"] == "~Trace:1/2!"
    assert answer.json["endpoint"] == "memory"


@pytest.mark.parametrize("bad", ["", "two words", "é", "x" * 129, "tab\tbed"])
def test_a_bad_request_id_is_replaced(seen: Seen, bad: str) -> None:
    answer = ask(seen.port, "/memories/7", headers={"X-Request-ID": bad})
    assert UUID7.fullmatch(answer.headers["x-request-id"])
    assert answer.json["id"] == answer.headers["x-request-id"]


def test_an_id_of_128_characters_is_kept_and_ids_that_are_made_differ(seen: Seen) -> None:
    assert ask(seen.port, "/memories/7", headers={"X-Request-ID": "x" * 128}).json["id"] == "x" * 128
    assert ask(seen.port, "/memories/7").json["id"] != ask(seen.port, "/memories/7").json["id"]


def test_an_unexpected_failure_is_500_without_internals_and_logged_with_its_traceback(seen: Seen) -> None:
    answer = ask(seen.port, "/recall", headers={"X-Request-ID": "r1"})
    assert answer.status == 500
    assert (answer.json["error"]["code"], answer.json["error"]["request_id"]) == ("internal", "r1")
    assert answer.json["error"]["fields"] == []
    assert b"/var/lib" not in answer.body
    assert answer.headers["x-request-id"] == "r1"
    (line,) = seen.lines("soma_mcp.http.observe")
    assert line.exc_info is not None
    assert "/var/lib" in str(line.exc_info[1])
    assert line.fields == {"request_id": "r1", "endpoint": "recall"}
    assert seen.lines()[0].fields["status"] == 500


def test_an_error_of_the_engine_is_answered_as_itself(seen: Seen) -> None:
    answer = ask(seen.port, "/stats")
    assert (answer.status, answer.headers["retry-after"]) == (503, "7")
    assert answer.json["error"]["message"] == "the disk is full"
    assert not seen.lines("soma_mcp.http.observe", 0)


def test_an_application_that_answers_nothing_is_500_in_our_shape(seen: Seen) -> None:
    answer = ask(seen.port, "/forget", b"{}")
    assert (answer.status, answer.json["error"]["code"]) == (500, "internal")


def test_a_failure_in_the_middle_of_an_answer_cuts_the_connection(seen: Seen) -> None:
    with socket.create_connection(("127.0.0.1", seen.port), timeout=10) as client:
        client.sendall(b"GET /export HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b""
        while part := client.recv(65_536):
            answer += part
    assert b"200 OK" in answer
    assert b"first" in answer
    assert b"\r\n0\r\n" not in answer
    assert "in the middle" in str(seen.lines("soma_mcp.http.observe")[0].exc_info)


def test_an_access_line_tells_who_did_what_but_no_query_body_header_or_token(seen: Seen) -> None:
    headers = {"Authorization": f"Bearer {SECRET}", "Cookie": SECRET}
    ask(seen.port, f"/memories/7?query={SECRET}", SECRET, headers=headers, method="DELETE")
    (line,) = seen.lines()
    assert line.fields.pop("ms") >= 0
    assert UUID7.fullmatch(line.fields.pop("request_id"))
    assert line.fields == {
        "method": "DELETE", "endpoint": "memory", "path": "/memories/7", "status": 200, "caller": "token:ada",
        "namespace": "team one",
    }  # fmt: skip
    assert SECRET not in str(vars(line))


def test_a_path_cannot_forge_a_line_of_the_log(seen: Seen) -> None:
    ask(seen.port, "/a%0Aforged%1b[31m" + "x" * 1000)
    path = seen.lines()[0].fields["path"]
    assert path.startswith("/a%0Aforged%1B%5B31m")
    assert len(path) < 400


@pytest.mark.parametrize("path", ["store", "range"])
def test_a_client_that_hangs_up_in_its_body_is_no_error(seen: Seen, path: str) -> None:
    with socket.create_connection(("127.0.0.1", seen.port), timeout=10) as client:
        client.sendall(f"POST /{path} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf".encode())
        time.sleep(0.1)
    assert seen.lines()[0].fields["status"] == 499
    assert not [record for record in seen.records if record.levelno >= logging.WARNING]
    assert f'api_requests_total{{endpoint="{path}",method="POST",status="499"}} 1.0' in seen.metrics
    assert ask(seen.port, "/store", b"whole").json == {"bytes": 5}


def test_requests_are_counted_and_timed_by_endpoint_method_and_status(seen: Seen) -> None:
    for _ in range(2):
        ask(seen.port, "/store", b"1")
    ask(seen.port, "/memories/1", method="PROPFIND")
    for path in ("/a", "/b", "/memories/1/2"):
        ask(seen.port, path)
    seen.lines(count=6)
    shown = seen.metrics
    assert 'api_requests_total{endpoint="store",method="POST",status="200"} 2.0' in shown
    assert 'api_requests_total{endpoint="memory",method="OTHER",status="200"} 1.0' in shown
    assert 'api_requests_total{endpoint="other",method="GET",status="404"} 3.0' in shown
    assert 'api_request_latency_seconds_count{endpoint="store",method="POST"} 2.0' in shown
    assert "soma_requests_at_work 0.0" in shown


def test_the_latency_is_in_seconds_and_ends_with_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.2)
        await JSONResponse({})(scope, receive, send)
        await asyncio.sleep(0.4)  # as a background task would

    for seen in observed(slow, caplog):
        ask(seen.port, "/recall")
        assert 190 <= seen.lines()[0].fields["ms"] < 550
        (total,) = re.findall(r"latency_seconds_sum\{.*\} (\S+)", seen.metrics)
        assert 0.19 <= float(total) < 0.55


def test_endpoints_have_short_names_and_the_rest_is_other() -> None:
    assert endpoint_of("/") == "root"
    assert endpoint_of("/openapi.json") == "openapi"
    for name in ("store", "store_bulk", "hybrid_recall_with_scores", "memories", "import", "mcp", "healthz"):
        assert endpoint_of(f"/{name}") == name
    assert endpoint_of("/memories/018f") == "memory"
    assert endpoint_of("/.well-known/oauth-protected-resource/mcp") == "well_known"
    for path in ("", "*", "store", "/nothing", "/store/", "/stor", "/memories/", "/memories/a/b", "/STORE", "//store"):
        assert endpoint_of(path) == "other"
    assert len(set(ENDPOINTS.values())) == len(ENDPOINTS)


class Away:
    """A memory whose records are out of reach, or that has something to note."""

    def __init__(self, *notes: str) -> None:
        self._notes = notes
        self.model_ready = True

    async def call(self, *_: object) -> SimpleNamespace:
        if not self._notes:
            raise Unavailable(f"Postgres at {SECRET} is out of reach")
        return SimpleNamespace(health=list(self._notes), model_ready=self.model_ready)


@pytest.mark.parametrize("notes", [(), (f"the index at {SECRET} is away", f"cache: Redis at {SECRET} is not used")])
def test_who_brings_no_token_is_not_told_where_a_server_is(
    notes: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    app = FastAPI()
    app.include_router(health.router)
    app.state.memory, app.state.settings = Away(*notes), SimpleNamespace(namespace="api_ns")
    with serving(app) as port:
        ready, whole = ask(port, "/readyz"), ask(port, "/health")
    assert SECRET not in (ready.body + whole.body).decode()
    if notes:
        assert [part for part, found in whole.json["parts"].items() if found["note"]] == ["index", "cache"]
    else:
        assert (ready.status, ready.json) == (503, {"ready": False, "missing": ["records: unavailable"]})
        assert SECRET in caplog.text


def test_a_model_that_was_there_and_is_away_is_noted_and_the_server_stays_ready() -> None:
    memory = Away("nothing of note")
    app = FastAPI()
    app.include_router(health.router)
    app.state.memory, app.state.settings = memory, SimpleNamespace(namespace="api_ns")
    with serving(app) as port:
        memory.model_ready = False
        assert ask(port, "/readyz").json == {"ready": False, "missing": ["model: is not loaded yet"]}
        memory.model_ready = True
        assert ask(port, "/readyz").status == 200
        memory.model_ready = False
        assert ask(port, "/readyz").status == 200
        assert ask(port, "/health").json["parts"]["model"]["note"] == health.AWAY
