"""The metrics of the workers: their names, their labels, and where they are shown."""

from __future__ import annotations

import re
import threading
from types import SimpleNamespace
from typing import cast, get_args
from urllib.request import urlopen

import pytest

from soma_core.domain.errors import InvalidInput, Unavailable
from soma_core.engine import Soma
from soma_core.ports.stream import Topic
from workers import retention, switching
from workers.metrics import WORKER_METRICS, WorkerMetricName, WorkerMetrics
from workers.retention import Retention
from workers.switching import Switching


def used() -> WorkerMetrics:
    metrics = WorkerMetrics()
    metrics.consumed(Topic.EVENTS, 3)
    metrics.succeeded("indexer", 2)
    metrics.failed("indexer")
    metrics.took("indexer", 0.1)
    metrics.set_lag(Topic.EVENTS, {0: 7})
    metrics.gave_up("indexer", "failed")
    metrics.sent(5)
    return metrics


def test_one_list_names_all_metrics_of_the_workers_and_nothing_else_is_shown() -> None:
    shown = used().render()
    found = dict(re.findall(r"^# TYPE (\S+) (\S+)$", shown, re.MULTILINE))
    assert found == {name: metric.kind for name, metric in WORKER_METRICS.items()}
    assert tuple(WORKER_METRICS) == get_args(WorkerMetricName)
    for name, metric in WORKER_METRICS.items():
        labels = re.search(rf"^{name}(?:_count)?(?:{{(.*?)}})? ", shown, re.MULTILINE)
        assert labels
        assert set(re.findall(r'(\w+)="', labels[1] or "")) == set(metric.labels)


def test_a_partition_that_went_to_another_process_is_shown_no_longer() -> None:
    metrics = used()
    metrics.set_lag(Topic.EVENTS, {4: 0})
    assert re.findall(r"^consumer_lag.*$", metrics.render(), re.MULTILINE) == [
        'consumer_lag{partition="4",topic="memory.events"} 0.0'
    ]


def test_they_are_shown_over_http_and_a_port_that_is_taken_is_named() -> None:
    metrics = used()
    port = metrics.serve("127.0.0.1", 0)
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert b"soma_events_sent_total 5.0" in answer.read()
    with pytest.raises(InvalidInput, match=f"--metrics-port: 127.0.0.1:{port} cannot be listened on"):
        used().serve("127.0.0.1", port)


def test_retention_goes_on_after_a_failure_and_tells_how_each_run_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "FIRST_SECONDS", 0.001)
    monkeypatch.setattr(retention, "EVERY_SECONDS", 0.001)
    stop, told, failures = threading.Event(), list[str](), [Unavailable("away"), KeyError("unforeseen")]

    def keep_house() -> None:
        if failures:
            raise failures.pop()
        stop.set()

    Retention(keep_house, stop, done=lambda: told.append("done"), failed=lambda: told.append("failed")).run()
    assert told == ["failed", "failed", "done"]


def test_another_generation_is_looked_for_again_after_any_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switching, "EVERY_SECONDS", 0.001)
    stop, failures = threading.Event(), [Unavailable("away"), KeyError("unforeseen")]

    def follow_switch() -> None:
        if failures:
            raise failures.pop()
        stop.set()

    Switching(cast(Soma, SimpleNamespace(follow_switch=follow_switch)), stop).run()
    assert stop.is_set()
