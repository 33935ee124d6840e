"""The command `worker`: what runs behind the API when there is Kafka."""

from __future__ import annotations

import os
import signal
import threading

import click

from soma_core.bootstrap import soma_version
from soma_mcp.cli.common import Terminal, command
from soma_mcp.http.logs import configure as configure_logs
from workers.metrics import WorkerMetrics
from workers.processes import WORKERS, WorkerProcess

ALL = "all"


@click.command()
@click.argument("name", type=click.Choice([*WORKERS, ALL]))
@click.option(
    "--metrics-port", type=click.IntRange(0, 65_535), help="Show metrics there, at /metrics; 0 is a free port."
)
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="The address to show them on.")
@command
def worker(terminal: Terminal, name: str, metrics_port: int | None, metrics_host: str) -> None:
    """Do the work behind `soma serve`, in a process of its own.

    outbox_relay sends what was recorded from Postgres to Kafka; any number may run, one works. vector_indexer brings it
    into the index; several share the work. retention expires and erases. all does everything in one process.

    It needs KAFKA_BOOTSTRAP_SERVERS, POSTGRES_URL and a Qdrant server. SIGTERM ends it after the batch at work.
    """
    terminal.need_folder()
    configure_logs(terminal.settings)
    metrics, stop = WorkerMetrics(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with WorkerProcess(terminal.settings, metrics, stop) as process:
        shown = ""
        if metrics_port is not None:
            shown = f", metrics at http://{metrics_host}:{metrics.serve(metrics_host, metrics_port)}/metrics"

        def ready() -> None:
            click.echo(f"soma {soma_version()}: {name} is ready (pid {os.getpid()}{shown})", err=True)

        process.run(list(WORKERS) if name == ALL else [name], ready)
        if not stop.is_set():
            raise SystemExit(1)
