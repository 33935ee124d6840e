"""Caps on size, time, rate and recalls at once; over real sockets where they matter."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from soma_core.adapters.memory import limits as buckets
from soma_core.adapters.memory.limits import MemoryRateLimiter
from soma_core.domain.errors import InvalidInput, Overloaded
from soma_core.domain.lines import MAX_LINE_BYTES
from soma_core.domain.memory import NewMemory
from soma_mcp.http import limits
from soma_mcp.http.limits import BodyLimit, RateLimited, RecallGate, Timeout, class_of
from soma_mcp.http.metrics import Metrics
from soma_mcp.http.observe import ENDPOINTS, Observed
from soma_mcp.http.routes.transfer import LISTED_PROBLEMS
from soma_mcp.http.routes.transfer import _check as check_lines
from soma_mcp.http.routes.transfer import _parsed as parsed_lines
from tests.support.server import ask, serving

CAP = 100_000
took: list[int] = []
cancelled = threading.Event()


async def read_body(request: Request) -> JSONResponse:
    mine = len(took)
    took.append(0)
    async for part in request.stream():
        took[mine] += len(part)
    return JSONResponse({"bytes": took[mine]})


async def answer_unread(_: Request) -> JSONResponse:
    return JSONResponse({"unread": True})


async def slow(request: Request) -> JSONResponse:
    try:
        await asyncio.sleep(float(request.query_params["s"]))
    except asyncio.CancelledError:
        cancelled.set()
        raise
    return JSONResponse({"done": True})


async def slow_stream(_: Request) -> StreamingResponse:
    async def parts() -> Any:
        yield b"first"
        await asyncio.sleep(20)

    return StreamingResponse(parts())


async def own_timeout(_: Request) -> JSONResponse:
    raise TimeoutError("of the application")


app = Starlette(
    routes=[
        Route("/store", read_body, methods=["POST"]),
        Route("/import", read_body, methods=["POST"]),
        Route("/forget", answer_unread, methods=["POST"]),
        Route("/recall", slow),
        Route("/export", slow),
        Route("/range", slow_stream),
        Route("/stats", own_timeout),
    ]
)


@pytest.fixture(scope="module")
def capped() -> Iterator[int]:
    with serving(Observed(BodyLimit(app, CAP, ("/import",)), Metrics())) as port:
        yield port


def chunks(total: int, size: int = 10_000) -> Iterator[bytes]:
    for start in range(0, total, size):
        yield b"x" * min(size, total - start)


def exchange(port: int, data: bytes, then: Iterable[bytes] = ()) -> bytes:
    """Everything that comes back for `data` and what follows, until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(data)
        with contextlib.suppress(ConnectionError):
            for part in then:
                client.sendall(part)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while part := client.recv(65_536):
                answer += part
        return answer


def test_a_body_of_just_the_cap_is_taken_and_one_byte_more_is_not(capped: int) -> None:
    assert ask(capped, "/store", b"x" * CAP).json == {"bytes": CAP}
    answer = ask(capped, "/store", b"x" * (CAP + 1))
    assert (answer.status, answer.json["error"]["code"]) == (413, "too_large")
    assert answer.json["error"]["request_id"] == answer.headers["x-request-id"]


def test_a_length_over_the_cap_is_refused_before_any_of_it_is_sent(capped: int) -> None:
    took.clear()
    head = b"POST /store HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n"
    began = time.monotonic()
    answer = exchange(capped, head)
    assert time.monotonic() - began < limits.LINGER_SECONDS
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in answer
    assert took == []


def test_chunks_are_taken_up_to_the_cap(capped: int) -> None:
    assert ask(capped, "/store", chunks(CAP)).json == {"bytes": CAP}


def test_chunks_over_the_cap_are_refused_and_the_connection_is_closed(capped: int) -> None:
    def paused() -> Iterator[bytes]:
        for part in chunks(2 * CAP):
            yield part
            time.sleep(0.01)

    took.clear()
    answer = ask(capped, "/store", paused())
    assert (answer.status, answer.json["error"]["code"]) == (413, "too_large")
    assert answer.headers["connection"] == "close"
    assert took[-1] <= CAP


def test_a_client_that_sends_all_before_it_reads_still_sees_the_answer(capped: int) -> None:
    assert ask(capped, "/store", b"x" * 30_000_000).status == 413
    assert ask(capped, "/store", chunks(30_000_000, 1_000_000)).status == 413


def test_a_sender_without_end_gets_its_answer_and_is_cut_off(capped: int) -> None:
    def without_end() -> Iterator[bytes]:
        while True:
            yield b"2710\r\n" + b"x" * 10_000 + b"\r\n"

    cut = threading.Event()

    def send_all() -> None:
        with socket.create_connection(("127.0.0.1", capped), timeout=10) as client:
            client.sendall(b"POST /store HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            try:
                for part in without_end():
                    client.sendall(part)
            except ConnectionError:
                cut.set()

    took.clear()
    thread = threading.Thread(target=send_all)
    thread.start()
    assert ask(capped, "/store", b"another").json == {"bytes": 7}
    thread.join(10)
    assert cut.is_set()


def test_a_body_that_the_route_does_not_read_does_no_harm(capped: int) -> None:
    assert ask(capped, "/forget", chunks(CAP // 2)).json == {"unread": True}


def test_an_import_may_be_larger(capped: int) -> None:
    assert ask(capped, "/import", chunks(5 * CAP)).json == {"bytes": 5 * CAP}
    assert ask(capped, "/import", b"x" * (5 * CAP)).json == {"bytes": 5 * CAP}


def test_what_arrives_after_a_refusal_is_not_the_next_request(capped: int) -> None:
    head = b"POST /store HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n"
    answer = exchange(capped, head, [b"x" * 200_000, b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"])
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert b" 404 " not in answer


@pytest.fixture(scope="module")
def timed() -> Iterator[int]:
    with serving(Observed(Timeout(app, 0.5, ("/export",)), Metrics())) as port:
        yield port


def test_a_request_that_takes_too_long_is_unavailable_and_its_work_is_cancelled(timed: int) -> None:
    cancelled.clear()
    answer = ask(timed, "/recall?s=20")
    assert (answer.status, answer.json["error"]["code"], answer.headers["retry-after"]) == (503, "unavailable", "1")
    assert "Idempotency-Key" in answer.json["error"]["message"]
    assert cancelled.is_set()


def test_in_time_or_exempt_is_answered(timed: int) -> None:
    assert ask(timed, "/recall?s=0.1").json == {"done": True}
    assert ask(timed, "/export?s=0.8").json == {"done": True}


def test_a_slow_sender_is_answered_and_cut_off(timed: int) -> None:
    began = time.monotonic()
    answer = exchange(timed, b"POST /store HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nslow")
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert 0.4 < time.monotonic() - began < 5


def test_an_answer_that_has_begun_is_cut_off(timed: int, caplog: pytest.LogCaptureFixture) -> None:
    answer = exchange(timed, b"GET /range HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"first" in answer
    assert b"503" not in answer
    assert not [record for record in caplog.records if record.name.startswith("soma")]


def test_a_timeout_of_the_application_itself_is_a_failure(timed: int, caplog: pytest.LogCaptureFixture) -> None:
    assert ask(timed, "/stats").status == 500
    deadline = time.monotonic() + 10
    while "TimeoutError: of the application" not in caplog.text:  # logged after it was answered
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


async def fine(scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse({})(scope, receive, send)


def call(limited: Any, endpoint: str = "store", caller: str | None = "ada", method: str = "POST", host: str = "h"):
    """Make a request as the layers above hand it down; its status, headers and body."""
    state: dict[str, Any] = {"endpoint": endpoint, "request_id": "r"}
    if caller:
        state["principal"] = SimpleNamespace(caller=caller)
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": "/", "headers": [], "client": (host, 1), "state": state}
    asyncio.run(limited(scope, None, send))
    return sent[0]["status"], {k.decode(): v.decode() for k, v in sent[0]["headers"]}, json.loads(sent[1]["body"])


def statuses(limited: Any, times: int, **how: Any) -> list[int]:
    return [call(limited, **how)[0] for _ in range(times)]


def test_a_caller_gets_its_limit_then_429_with_the_seconds_to_wait() -> None:
    clock = Clock()
    limited = RateLimited(fine, MemoryRateLimiter(3, 60, clock))
    assert statuses(limited, 3) == [200, 200, 200]
    status, headers, body = call(limited)
    assert (status, body["error"]["code"], body["error"]["request_id"]) == (429, "rate_limited", "r")
    assert headers["retry-after"] == "20"
    clock.now += 13
    assert call(limited)[1]["retry-after"] == "7"
    clock.now += 7
    assert statuses(limited, 2) == [200, 429]


def test_tokens_come_back_up_to_the_limit_and_no_further() -> None:
    clock = Clock()
    limited = RateLimited(fine, MemoryRateLimiter(3, 60, clock))
    assert statuses(limited, 4)[-1] == 429
    clock.now += 6_000
    assert statuses(limited, 4) == [200, 200, 200, 429]


def test_being_refused_costs_nothing() -> None:
    clock = Clock()
    limited = RateLimited(fine, MemoryRateLimiter(1, 60, clock))
    call(limited)
    for _ in range(100):
        clock.now += 0.5
        assert call(limited)[0] == 429
    clock.now += 10
    assert call(limited)[0] == 200


def test_classes_callers_and_addresses_have_buckets_of_their_own() -> None:
    metrics = Metrics()
    limited = RateLimited(fine, MemoryRateLimiter(1, 60, Clock()), metrics)
    for how in (
        {"endpoint": "store"}, {"endpoint": "recall"}, {"endpoint": "stats"}, {"endpoint": "store", "caller": "bob"},
        {"endpoint": "store", "caller": None}, {"endpoint": "store", "caller": None, "host": "other"},
    ):  # fmt: skip
        assert statuses(limited, 2, **how) == [200, 429], how
    assert statuses(limited, 1, endpoint="store_bulk") == [429]
    assert statuses(limited, 1, endpoint="recall_batch") == [429]
    assert statuses(limited, 1, host="another address of ada") == [429]
    shown = metrics.render()[0].decode()
    assert 'soma_rate_limited_total{class="write"} 6.0' in shown
    assert 'soma_rate_limited_total{class="recall"} 2.0' in shown
    assert 'soma_rate_limited_total{class="read"} 1.0' in shown


def test_a_caller_cannot_take_the_name_of_an_address() -> None:
    limited = RateLimited(fine, MemoryRateLimiter(1, 60, Clock()))
    assert statuses(limited, 1, caller=None, host="ada") + statuses(limited, 1, caller="ada") == [200, 200]


def test_every_endpoint_has_a_class_or_is_free() -> None:
    free = {"root", "openapi", "docs", "healthz", "readyz", "health", "metrics"}
    assert {name for name in ENDPOINTS.values() if class_of(name, "POST") is None} == free
    assert class_of("well_known", "GET") is None
    assert (class_of("memory", "GET"), class_of("memory", "DELETE"), class_of("other", "GET")) == (
        "read", "write", "read",
    )  # fmt: skip
    limited = RateLimited(fine, MemoryRateLimiter(1, 60, Clock()))
    assert statuses(limited, 5, endpoint="healthz") == [200] * 5


def test_a_limit_of_zero_is_none() -> None:
    limiter = MemoryRateLimiter(0, 60, Clock())
    limited = RateLimited(fine, limiter)
    assert statuses(limited, 50) == [200] * 50
    assert len(limiter._buckets) == 0


def test_idle_callers_are_forgotten_and_those_at_work_are_not() -> None:
    clock = Clock()
    limiter = MemoryRateLimiter(1, 60, clock)
    limited = RateLimited(fine, limiter)
    for i in range(100):
        clock.now += 1
        call(limited, caller=f"caller {i}")
    assert 59 <= len(limiter._buckets) <= 61
    assert statuses(limited, 1, caller="caller 60") == [429]


def test_callers_are_bounded_even_in_one_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "MOST_BUCKETS", 10)
    limiter = MemoryRateLimiter(1, 60, Clock())
    limited = RateLimited(fine, limiter)
    for i in range(50):
        call(limited, caller=f"caller {i}")
    assert len(limiter._buckets) == 10


async def recall(gate: RecallGate, seconds: float, log: list[str], name: str = "") -> None:
    async def work() -> None:
        log.append(f"in {name}")
        await asyncio.sleep(seconds)

    try:
        await gate.run(work)
    except Overloaded as error:
        assert error.retry_after > 0
        log.append(f"refused {name}")


def run_recalls(n: int, patience: float, plan: list[float], metrics: Metrics | None = None) -> list[str]:
    """Start recalls of so many seconds one after the other; what happened."""

    async def main() -> list[str]:
        gate = RecallGate(n, patience, metrics)
        log: list[str] = []
        tasks = [asyncio.create_task(recall(gate, seconds, log, str(i))) for i, seconds in enumerate(plan)]
        await asyncio.gather(*tasks)
        await asyncio.wait_for(recall(gate, 0, log, "last"), 1)
        return log

    return asyncio.run(main())


def test_recalls_over_the_number_wait_their_turn() -> None:
    began = time.monotonic()
    assert run_recalls(2, 5, [0.1] * 6) == [f"in {i}" for i in (*range(6), "last")]
    assert 0.29 <= time.monotonic() - began < 2


def test_who_waits_too_long_is_refused() -> None:
    log = run_recalls(1, 0.1, [0.5, 0, 0])
    assert log == ["in 0", "refused 1", "refused 2", "in last"]


def test_at_most_four_times_the_number_wait() -> None:
    log = run_recalls(1, 5, [0.05] * 7)
    assert log == ["refused 5", "refused 6", "in 0", "in 1", "in 2", "in 3", "in 4", "in last"]


def test_there_is_room_to_wait_again_after_others_waited() -> None:
    async def main() -> list[str]:
        gate = RecallGate(1, 5)
        log: list[str] = []
        for _ in range(3):
            await asyncio.gather(*(recall(gate, 0.01, log) for _ in range(5)))
        return log

    assert asyncio.run(main()) == ["in "] * 15


def test_a_recall_that_fails_gives_its_place_back() -> None:
    metrics = Metrics()

    async def fail() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        gate = RecallGate(1, 5, metrics)
        with pytest.raises(ZeroDivisionError):
            await gate.run(fail)
        log: list[str] = []
        first = asyncio.create_task(recall(gate, 0.1, log, "first"))
        second = asyncio.create_task(recall(gate, 5, log, "second"))
        await asyncio.sleep(0.01)
        assert "soma_recalls_at_work 1.0" in metrics.render()[0].decode()
        second.cancel()
        await asyncio.wait([first, second])
        await asyncio.wait_for(recall(gate, 0, log, "third"), 1)
        assert log == ["in first", "in third"]

    asyncio.run(main())
    assert "soma_recalls_at_work 0.0" in metrics.render()[0].decode()


def test_a_recall_that_nobody_waits_for_any_more_keeps_its_place_until_its_thread_has_ended() -> None:
    async def main() -> None:
        gate, log, may_end = RecallGate(1, 0.1), list[str](), threading.Event()
        given_up = asyncio.create_task(gate.run(lambda: asyncio.to_thread(may_end.wait, 5)))
        await asyncio.sleep(0.01)
        given_up.cancel()
        await asyncio.wait([given_up])
        await recall(gate, 0, log, "while it works")
        may_end.set()
        await asyncio.sleep(0.05)
        await recall(gate, 0, log, "after")
        assert log == ["refused while it works", "in after"]

    asyncio.run(main())


def test_refused_recalls_are_counted() -> None:
    metrics = Metrics()
    run_recalls(1, 5, [0.05] * 7, metrics)
    assert "soma_recalls_refused_total 2.0" in metrics.render()[0].decode()


@pytest.mark.parametrize("body", [b"1\n" * 20_000, b"[" * (30 << 20)], ids=["wrong lines", "one long line"])
def test_an_import_of_nonsense_takes_little_memory(body: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(body)
        tracemalloc.start()
        try:
            with pytest.raises(InvalidInput) as refused:
                check_lines(file)
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()
    lines = body.count(b"\n") or 1
    assert refused.value.message.startswith(f"body: {lines} lines are wrong")
    assert len(refused.value.fields) == min(lines, LISTED_PROBLEMS)


def test_the_line_after_one_that_is_too_long_is_read_whole() -> None:
    long = b"x" * MAX_LINE_BYTES
    found = list(parsed_lines(io.BytesIO(long + b"xx\n" + long + b"x\n" + long + b'\n{"text": "short"}\n' + long * 3)))
    problems = [each["message"] for each in found if isinstance(each, dict)]
    assert [each["line"] for each in found if isinstance(each, dict)] == [1, 2, 3, 5]
    assert ["1 MB" in problem for problem in problems] == [True, True, True, True]
    assert found[3] == NewMemory.parse("short")
