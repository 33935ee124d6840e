"""Metrics: their names, their page, and their sums over several processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from scripts import metrics_doc
from soma_core.engine import Status
from soma_mcp.http.metrics import METRICS, MetricName, Metrics

STATUS = Status(
    namespace="a", live=7, forgotten=2, purged=1, types={}, pending_words=3, pending_vectors=4, pending_oldest=None,
    model="m", model_ready=True, health=[], version="1.2.3",
)  # fmt: skip

WORKER = """
import sys
from soma_mcp.http.metrics import Metrics
metrics = Metrics()
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


class Worker:
    """A process that has metrics and does to them what it is told."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
        self.process: Any = subprocess.Popen(
            [sys.executable, "-c", WORKER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def do(self, code: str) -> None:
        self.process.stdin.write(code + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def shown(self, folder: Path) -> str:
        """What this worker renders."""
        self.do(f"open({str(folder / 'shown')!r}, 'wb').write(metrics.render()[0])")
        return (folder / "shown").read_text()

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(how)
        self.process.communicate(timeout=20)


def use_all(metrics: Metrics) -> None:
    metrics.began()
    metrics.ended("store", "POST", 200, 0.02)
    metrics.rate_limited("write")
    metrics.recalls_at_work(2)
    metrics.recall_refused()
    metrics.cache_asked("bodies", 3, 1)
    metrics.loop_lag(0.01)
    metrics.set_status(STATUS)


def test_one_list_names_all_metrics_and_nothing_else_is_shown() -> None:
    metrics = Metrics()
    use_all(metrics)
    shown, content_type = metrics.render()
    found = dict(re.findall(r"^# TYPE (\S+) (\S+)$", shown.decode(), re.MULTILINE))
    assert found == {name: metric.kind for name, metric in METRICS.items()}
    assert tuple(METRICS) == get_args(MetricName)
    assert content_type.startswith("text/plain")
    for name, metric in METRICS.items():
        labels = re.search(rf"^{name}(?:_count)?(?:{{(.*?)}})? ", shown.decode(), re.MULTILINE)
        assert labels
        assert tuple(re.findall(r'(\w+)="', labels[1] or "")) == metric.labels


def test_what_the_engine_says_is_shown() -> None:
    metrics = Metrics()
    metrics.set_status(STATUS)
    shown = metrics.render()[0].decode()
    for line in (
        'soma_memories{state="live"} 7.0', 'soma_memories{state="forgotten"} 2.0', 'soma_memories{state="purged"} 1.0',
        'soma_pending{kind="words"} 3.0', 'soma_pending{kind="vectors"} 4.0', "soma_model_ready 1.0",
        'soma_build_info{version="1.2.3"} 1.0',
    ):  # fmt: skip
        assert line in shown.splitlines()


def test_requests_at_work_go_up_and_down() -> None:
    metrics = Metrics()
    metrics.began()
    metrics.began()
    metrics.ended("store", "POST", 200, 0.02)
    shown = metrics.render()[0].decode()
    assert "soma_requests_at_work 1.0" in shown
    assert 'api_request_latency_seconds_bucket{endpoint="store",le="0.025",method="POST"} 1.0' in shown
    assert 'api_request_latency_seconds_bucket{endpoint="store",le="0.01",method="POST"} 0.0' in shown


def test_two_applications_in_one_process_do_not_share_numbers() -> None:
    one, two = Metrics(), Metrics()
    one.rate_limited("read")
    assert b'class="read"' not in two.render()[0]


def test_any_worker_shows_the_sum_of_all_also_of_those_that_ended(tmp_path: Path) -> None:
    folder = tmp_path / "numbers"
    folder.mkdir()
    a, b = Worker(folder), Worker(folder)
    try:
        for worker, times in ((a, 2), (b, 3)):
            for _ in range(times):
                worker.do("metrics.began(); metrics.ended('store', 'POST', 200, 0.02)")
            worker.do("metrics.began(); metrics.recalls_at_work(4)")
        for live in (5, 6):
            (a if live == 5 else b).do(
                f"from soma_core.engine import Status; metrics.set_status(Status('n', {live}, 0, 0, {{}}, 0, 0, "
                "None, 'm', True, [], '1'))"
            )
        shown = a.shown(tmp_path)
        assert shown == b.shown(tmp_path)
        assert 'api_requests_total{endpoint="store",method="POST",status="200"} 5.0' in shown
        assert 'api_request_latency_seconds_count{endpoint="store",method="POST"} 5.0' in shown
        assert "soma_requests_at_work 2.0" in shown
        assert "soma_recalls_at_work 8.0" in shown
        assert 'soma_memories{state="live"} 6.0' in shown
        b.end()
        shown = a.shown(tmp_path)
        assert 'api_requests_total{endpoint="store",method="POST",status="200"} 5.0' in shown
        assert "soma_requests_at_work 1.0" in shown
        assert "soma_recalls_at_work 4.0" in shown
    finally:
        for worker in (a, b):
            if worker.process.poll() is None:
                worker.end()


def test_the_page_is_up_to_date_and_the_check_sees_when_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert metrics_doc.main(["--check"]) == 0
    monkeypatch.setattr(metrics_doc, "PATH", tmp_path / "metrics.md")
    assert metrics_doc.main(["--check"]) == 1
    assert "scripts.metrics_doc" in capsys.readouterr().err
    assert metrics_doc.main([]) == 0
    assert metrics_doc.main(["--check"]) == 0
    assert all(f"| `{name}` |" in metrics_doc.metrics_doc() for name in METRICS)
