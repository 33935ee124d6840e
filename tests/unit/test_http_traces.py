"""Trace spans of requests, seen by the SDK's own exporters."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, get_current_span
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from soma_core.domain.errors import InvalidInput
from soma_core.settings import load_settings
from soma_mcp.http.metrics import Metrics
from soma_mcp.http.observe import Observed, endpoint_of
from soma_mcp.http.traces import configure
from tests.support.server import ask, serving

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def has_exporter() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http.trace_exporter") is not None
    except ModuleNotFoundError:
        return False


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"] == "/recall":
        raise RuntimeError("secret text")
    span = format(get_current_span().get_span_context().span_id, "016x")
    await JSONResponse({"span": span})(scope, receive, send)


def spans_of(path: str, headers: dict[str, str] | None = None) -> tuple[Any, dict[str, Any]]:
    """The one span of a request, and what was answered."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with serving(Observed(app, Metrics(), endpoint_of, provider.get_tracer("test"))) as port:
        answer = ask(port, path, headers=headers)
    (span,) = exporter.get_finished_spans()
    return span, answer.json


def test_a_request_is_a_server_span_that_the_application_runs_in() -> None:
    span, answer = spans_of("/memories/secret?query=secret")
    assert (span.name, span.kind, span.parent) == ("GET memory", SpanKind.SERVER, None)
    assert span.attributes == {
        "http.request.method": "GET", "http.route": "memory", "http.response.status_code": 200
    }  # fmt: skip
    assert answer["span"] == format(span.context.span_id, "016x")
    assert span.status.status_code is StatusCode.UNSET
    assert "secret" not in span.to_json()


def test_the_span_belongs_to_the_trace_that_the_caller_names() -> None:
    span, _ = spans_of("/stats", {"traceparent": f"00-{TRACE}-{PARENT}-01"})
    assert format(span.context.trace_id, "032x") == TRACE
    assert format(span.parent.span_id, "016x") == PARENT


def test_a_bad_traceparent_is_ignored() -> None:
    span, _ = spans_of("/stats", {"traceparent": f"00-{TRACE}"})
    assert span.parent is None


def test_a_failure_marks_the_span_but_its_message_stays_here() -> None:
    span, _ = spans_of("/recall")
    assert span.attributes["http.response.status_code"] == 500
    assert span.status.status_code is StatusCode.ERROR
    assert "secret" not in span.to_json()


def test_without_the_setting_nothing_is_set_up(tmp_path: Path) -> None:
    configure(load_settings({}, home=tmp_path))()


@pytest.mark.skipif(has_exporter(), reason="the extra otel is installed")
def test_without_the_extra_the_setting_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"SOMA_TRACES.*otel") as refused:
        configure(load_settings({"SOMA_TRACES": "true"}, home=tmp_path))
    assert refused.value.fields == ("SOMA_TRACES",)


SENDS_ONE = """
from opentelemetry import trace
from soma_core.settings import load_settings
from soma_mcp.http.traces import configure
end = configure(load_settings())
with trace.get_tracer("soma").start_as_current_span("GET stats"):
    pass
end()
"""


@pytest.mark.skipif(not has_exporter(), reason="the extra otel is not installed")
def test_spans_reach_a_collector_before_the_process_ends(tmp_path: Path) -> None:
    got: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        host, port = "127.0.0.1", server.server_port
        environment = {
            "SOMA_TRACES": "true",
            "SOMA_HOME": str(tmp_path),
            "PYTHONPATH": ":".join(sys.path),
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{host}:{port}",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
        }
        subprocess.run([sys.executable, "-c", SENDS_ONE], env=environment, timeout=60, check=True)
        server.shutdown()
        thread.join()
    ((path, body),) = got
    assert path == "/v1/traces"
    assert b"GET stats" in body
    assert b"soma" in body
