"""A distributed Soma as it runs: the server, the workers and the commands, each a process of its own."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.support.serving import ROOT, SECONDS, Serving, environment, soma_serve, until

READY = re.compile(r": (\w+) is ready \(pid (\d+)(?:, metrics at (\S+)\))?")
SAMPLE = re.compile(r"^(\w+)(?:{(.*)})? (\S+)$", re.MULTILINE)


class WorkerProcess:
    """A `soma worker` that runs; what it says on standard error is kept in a file."""

    def __init__(self, home: Path, name: str, settings: dict[str, str]) -> None:
        self._log = home.with_name(f"{home.name}.{name}.{time.monotonic_ns()}.log")
        command = [sys.executable, "-m", "soma_mcp.cli", "worker", name, "--metrics-port", "0"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(home, settings), cwd=ROOT
            )
        self.metrics_url = ""

    @property
    def log(self) -> str:
        """What it wrote."""
        return self._log.read_text(errors="replace")

    def ready(self) -> WorkerProcess:
        """Wait until it has said that it is."""

        def said() -> re.Match[str] | None:
            assert self.process.poll() is None, self.log
            return READY.search(self.log)

        self.metrics_url = until(said, "the line that it is ready")[3]
        return self

    def metrics(self, name: str, **labels: str) -> list[float]:
        """The values of a metric whose labels are, or include, these."""
        with urlopen(self.metrics_url, timeout=5) as answer:
            shown = answer.read().decode()
        wanted = {f'{label}="{value}"' for label, value in labels.items()}
        found = SAMPLE.findall(shown)
        return [float(value) for metric, given, value in found if metric == name and wanted <= set(given.split(","))]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(SECONDS)


class Distributed:
    """The processes of one installation, which end with its `close`."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.folder = folder
        self.settings = settings
        self._open = ExitStack()

    def api(self) -> Serving:
        return self._open.enter_context(soma_serve(self.folder / "api", files=None, **self.settings))

    def start(self, name: str) -> WorkerProcess:
        """A worker that may not be ready yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        worker = WorkerProcess(self.folder / "workers", name, self.settings)
        self._open.callback(worker.end, signal.SIGKILL)
        return worker

    def soma(self, *arguments: str) -> Any:
        """What a command of `soma` says as JSON."""
        home = self.folder / "api"
        done = subprocess.run(
            [sys.executable, "-m", "soma_mcp.cli", *arguments, "--json"],
            capture_output=True,
            text=True,
            env=environment(home, self.settings),
            cwd=ROOT,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads(done.stdout)

    def close(self) -> None:
        self._open.close()


def said(api: Serving, path: str, body: object = None, status: int = 200) -> Any:
    """What the server answers to JSON."""
    answer = api.ask(path, None if body is None else json.dumps(body), content_type="application/json")
    assert answer.status == status, answer.body
    return answer.json


def texts(api: Serving, query: str, limit: int = 10) -> Iterator[str]:
    """The texts that a recall gives."""
    for hit in said(api, "/recall", {"query": query, "top_k": limit})["matches"]:
        yield hit["text"]
