"""OpenTelemetry: a server span for every request, sent by OTLP when the extra `otel` is installed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Scope

from soma_core.domain.errors import InvalidInput
from soma_core.settings import Settings

_EXPORTER = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_PARENT = TraceContextTextMapPropagator()


def configure(settings: Settings) -> Callable[[], None]:
    """Send the spans of this process to OTEL_EXPORTER_OTLP_ENDPOINT; call what this returns before the process ends.

    Does nothing unless SOMA_TRACES is set. Raises `InvalidInput` when the extra is not installed.
    """
    if not settings.traces:
        return lambda: None
    try:
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = import_module(_EXPORTER).OTLPSpanExporter()
    except ImportError:
        raise InvalidInput(
            "SOMA_TRACES: needs the extra `otel`: pip install 'soma-fractal-memory[otel]'", fields=("SOMA_TRACES",)
        ) from None
    named = Resource({"service.name": "soma"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=named)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def server_span(tracer: Tracer, scope: Scope, method: str, endpoint: str) -> AbstractContextManager[Span]:
    """The span of a request, below the one that its `traceparent` names. It holds no message of any exception.

    Where this process traces nothing, none is begun.
    """
    if isinstance(tracer, trace.ProxyTracer) and isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return nullcontext(trace.INVALID_SPAN)
    carrier = {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in (b"traceparent", b"tracestate")
    }
    return tracer.start_as_current_span(
        f"{method} {endpoint}",
        context=_PARENT.extract(carrier),
        kind=SpanKind.SERVER,
        attributes={"http.request.method": method, "http.route": endpoint},
        record_exception=False,
        set_status_on_exception=False,
    )


def end_span(span: Span, status: int) -> None:
    """Note how the request was answered."""
    if span.is_recording():
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
