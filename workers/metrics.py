"""What workers count for Prometheus. Every name is in `WorkerMetricName`; the docs are made from `WORKER_METRICS`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    start_http_server,
)

from soma_core.domain.errors import InvalidInput
from soma_core.domain.messages import Reason
from soma_core.domain.metrics import Metric
from soma_core.ports.stream import Topic

WorkerMetricName = Literal[
    "consumer_messages_consumed_total",
    "consumer_process_success_total",
    "consumer_process_failure_total",
    "consumer_processing_latency_seconds",
    "consumer_lag",
    "soma_dead_letters_total",
    "soma_events_sent_total",
]

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0)
"""Upper bounds of the latency histogram, in seconds."""

WORKER_METRICS: Mapping[WorkerMetricName, Metric] = {
    "consumer_messages_consumed_total": Metric(
        "counter", ("topic",), "Messages taken from a topic; one that came again counts again."
    ),
    "consumer_process_success_total": Metric("counter", ("component",), "Messages handled, or runs that were done."),
    "consumer_process_failure_total": Metric(
        "counter",
        ("component",),
        "Attempts that failed, at a batch or at one message: each is made again, or ends among the dead letters.",
    ),
    "consumer_processing_latency_seconds": Metric(
        "histogram", ("component",), "Seconds from taking a batch of messages until it was handled and committed."
    ),
    "consumer_lag": Metric(
        "gauge",
        ("topic", "partition"),
        "Messages that wait in a partition that this process has, those at work included; looked at every 2 seconds.",
    ),
    "soma_dead_letters_total": Metric(
        "counter", ("component", "reason"), "Messages given up, by reason: malformed, unknown_schema, failed."
    ),
    "soma_events_sent_total": Metric("counter", (), "Events that the relay sent, and that the brokers have for good."),
}


class WorkerMetrics:
    """The metrics of one process, in a registry of their own. Safe to call from many threads."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._consumed = self._counter("consumer_messages_consumed_total")
        self._succeeded = self._counter("consumer_process_success_total")
        self._failed = self._counter("consumer_process_failure_total")
        name: WorkerMetricName = "consumer_processing_latency_seconds"
        metric = WORKER_METRICS[name]
        self._latency = Histogram(name, metric.doc, metric.labels, registry=self._registry, buckets=BUCKETS)
        metric = WORKER_METRICS["consumer_lag"]
        self._lag = Gauge("consumer_lag", metric.doc, metric.labels, registry=self._registry)
        self._dead = self._counter("soma_dead_letters_total")
        self._sent = self._counter("soma_events_sent_total")

    def consumed(self, topic: Topic, number: int) -> None:
        """So many messages were taken."""
        self._consumed.labels(topic.value).inc(number)

    def succeeded(self, component: str, number: int = 1) -> None:
        """So many messages were handled."""
        self._succeeded.labels(component).inc(number)

    def failed(self, component: str) -> None:
        """An attempt failed."""
        self._failed.labels(component).inc()

    def took(self, component: str, seconds: float) -> None:
        """A batch was handled and committed."""
        self._latency.labels(component).observe(seconds)

    def set_lag(self, topic: Topic, lag: Mapping[int, int]) -> None:
        """How far behind each partition is that this process has now."""
        self._lag.clear()
        for partition, waiting in lag.items():
            self._lag.labels(topic.value, str(partition)).set(waiting)

    def gave_up(self, component: str, reason: Reason) -> None:
        """A message went to the dead letters."""
        self._dead.labels(component, reason).inc()

    def sent(self, number: int) -> None:
        """The relay sent so many events."""
        self._sent.inc(number)

    def render(self) -> str:
        """The metrics in Prometheus' text format."""
        return generate_latest(self._registry).decode()

    def serve(self, host: str, port: int) -> int:
        """Show them at `/metrics` from a thread; the port, which is a free one for 0. Raises `InvalidInput`."""
        try:
            server, _ = start_http_server(port, addr=host, registry=self._registry)
        except OSError as error:
            message = f"--metrics-port: {host}:{port} cannot be listened on: {error.strerror or error}"
            raise InvalidInput(message, fields=("metrics_port",)) from error
        return int(server.server_port)

    def _counter(self, name: WorkerMetricName) -> Counter:
        return Counter(name, WORKER_METRICS[name].doc, WORKER_METRICS[name].labels, registry=self._registry)
