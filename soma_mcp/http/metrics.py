"""What is counted for Prometheus, and how it is shown. Every name is in `MetricName`; the docs are made from `METRICS`.

With several worker processes PROMETHEUS_MULTIPROC_DIR must name an empty folder before this module is imported: each
process then writes its numbers there, and any of them shows the sum of all.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.values import MutexValue, ValueClass

from soma_core.domain.metrics import Metric
from soma_core.engine import Status

MetricName = Literal[
    "api_requests_total",
    "api_request_latency_seconds",
    "soma_requests_at_work",
    "soma_recalls_at_work",
    "soma_recalls_refused_total",
    "soma_rate_limited_total",
    "soma_memories",
    "soma_pending",
    "soma_model_ready",
    "soma_cache_hits_total",
    "soma_cache_misses_total",
    "soma_event_loop_lag_seconds",
    "soma_event_loop_longest_lag_seconds",
    "soma_build_info",
]

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.08, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the latency histogram, in seconds."""


METRICS: Mapping[MetricName, Metric] = {
    "api_requests_total": Metric(
        "counter",
        ("endpoint", "method", "status"),
        "Requests answered. The status is 499 when the client hung up before it was answered.",
    ),
    "api_request_latency_seconds": Metric(
        "histogram", ("endpoint", "method"), "Seconds from the head of a request to the end of its answer."
    ),
    "soma_requests_at_work": Metric("gauge", (), "Requests that are being answered now."),
    "soma_recalls_at_work": Metric("gauge", (), "Recalls that are at work now, at most SOMA_MAX_RECALLS a process."),
    "soma_recalls_refused_total": Metric("counter", (), "Recalls refused with `overloaded`."),
    "soma_rate_limited_total": Metric(
        "counter", ("class",), "Requests refused with `rate_limited`, by class: read, write, recall."
    ),
    "soma_memories": Metric(
        "gauge", ("state",), "Memories in the server's namespace, by state: live, forgotten, purged."
    ),
    "soma_pending": Metric(
        "gauge", ("kind",), "Events of the server's namespace that the index lacks, by kind: words, vectors."
    ),
    "soma_model_ready": Metric("gauge", (), "1 when the embedding model is loaded, else 0."),
    "soma_cache_hits_total": Metric(
        "counter", ("what",), "What a cache had, by what it is: query_vectors, bodies (of memories)."
    ),
    "soma_cache_misses_total": Metric("counter", ("what",), "What a cache was asked for and did not have."),
    "soma_event_loop_lag_seconds": Metric(
        "histogram", (), "How late the event loop came to something that was due, looked at 50 times a second."
    ),
    "soma_event_loop_longest_lag_seconds": Metric("gauge", (), "The latest it has come since the process began."),
    "soma_build_info": Metric("gauge", ("version",), "Always 1; the label says which version of Soma this is."),
}


class Metrics:
    """The metrics of this process in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._requests = self._counter("api_requests_total")
        self._latency = self._histogram("api_request_latency_seconds")
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._at_work = self._gauge("soma_requests_at_work", "livesum")
        self._recalls = self._gauge("soma_recalls_at_work", "livesum")
        self._recalls_refused = self._counter("soma_recalls_refused_total")
        self._rate_limited = self._counter("soma_rate_limited_total")
        self._memories = self._gauge("soma_memories", "mostrecent")
        self._pending = self._gauge("soma_pending", "mostrecent")
        self._cache_hits = self._counter("soma_cache_hits_total")
        self._cache_misses = self._counter("soma_cache_misses_total")
        self._model_ready = self._gauge("soma_model_ready", "mostrecent")
        self._lag = self._histogram("soma_event_loop_lag_seconds")
        self._longest_lag = self._gauge("soma_event_loop_longest_lag_seconds", "livemax")
        self._longest = 0.0
        self._build = self._gauge("soma_build_info", "mostrecent")

    def began(self) -> None:
        """A request came in."""
        self._at_work.inc()

    def ended(self, endpoint: str, method: str, status: int, seconds: float) -> None:
        """A request that had begun was answered."""
        self._at_work.dec()
        asked = endpoint, method, status
        if (series := self._series.get(asked)) is None:
            counter = self._requests.labels(endpoint, method, str(status))
            series = self._series[asked] = counter, self._latency.labels(endpoint, method)
        series[0].inc()
        series[1].observe(seconds)

    def rate_limited(self, kind: str) -> None:
        """A request of a class was refused."""
        self._rate_limited.labels(kind).inc()

    def recalls_at_work(self, count: int) -> None:
        """So many recalls are at work in this process."""
        self._recalls.set(count)

    def recall_refused(self) -> None:
        """A recall was refused because too many were at work."""
        self._recalls_refused.inc()

    def cache_asked(self, what: str, hits: int, misses: int) -> None:
        """See `soma_core.ports.telemetry.Telemetry`."""
        self._cache_hits.labels(what).inc(hits)
        self._cache_misses.labels(what).inc(misses)

    def loop_lag(self, seconds: float) -> None:
        """The event loop was so late."""
        self._lag.observe(seconds)
        if seconds > self._longest:
            self._longest = seconds
            self._longest_lag.set(seconds)

    def set_status(self, status: Status) -> None:
        """Take over what the engine says of itself; for the namespace of the server, just before `render`."""
        for state in ("live", "forgotten", "purged"):
            self._memories.labels(state).set(getattr(status, state))
        self._pending.labels("words").set(status.pending_words)
        self._pending.labels("vectors").set(status.pending_vectors)
        self._model_ready.set(status.model_ready)
        self._build.labels(status.version).set(1)

    def render(self) -> tuple[bytes, str]:
        """The metrics of all worker processes in Prometheus' text format, and its content type. Reads files."""
        registry = self._registry
        if ValueClass is not MutexValue:
            registry = CollectorRegistry()
            files = MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            _forget_the_dead(Path(files._path))
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def _counter(self, name: MetricName) -> Counter:
        return Counter(name, METRICS[name].doc, METRICS[name].labels, registry=self._registry)

    def _histogram(self, name: MetricName) -> Histogram:
        return Histogram(name, METRICS[name].doc, METRICS[name].labels, registry=self._registry, buckets=BUCKETS)

    def _gauge(self, name: MetricName, mode: Literal["livesum", "livemax", "mostrecent"]) -> Gauge:
        """`mode` says how the numbers of several processes make one."""
        metric = METRICS[name]
        return Gauge(name, metric.doc, metric.labels, registry=self._registry, multiprocess_mode=mode)


def _forget_the_dead(folder: Path) -> None:
    """Drop what workers that were killed had at work; what they had counted stays."""
    for path in folder.glob("gauge_live*_*.db"):
        try:
            os.kill(int(path.stem.rpartition("_")[2]), 0)
        except ProcessLookupError:
            path.unlink(missing_ok=True)
        except PermissionError:
            continue
