"""The real `soma serve` as a process, on a free loopback port."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.deployments import settings_of
from tests.support.server import Answer, ask

ROOT = Path(__file__).parents[2]
SERVE = (sys.executable, "-m", "soma_mcp.cli", "serve")
SECONDS = 30.0
_SERVING = re.compile(r"serving http://\S+?:(\d+) ")


def environment(home: Path, settings: dict[str, str]) -> dict[str, str]:
    """What a server on the data folder is told; nothing of the tester's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SOMA_", "UVICORN_"))}
    own = {"SOMA_HOME": str(home), "SOMA_DISK_RESERVE": "0", "SOMA_RATE_LIMIT_MAX": "0", "PYTHONPATH": str(ROOT)}
    return kept | own | settings_of(home) | settings


def until(true: Callable[[], Any], what: str, seconds: float = SECONDS, *, pause: float = 0.01) -> Any:
    """Wait until `true` gives something true, looking again after a pause, and return that."""
    deadline = time.monotonic() + seconds
    while True:
        if found := true():
            return found
        assert time.monotonic() < deadline, f"waited {seconds} s for: {what}"
        time.sleep(pause)


class Serving:
    """A `soma serve` that runs. What it says on standard error is kept in a file."""

    def __init__(
        self, home: Path, arguments: Sequence[str], settings: dict[str, str], files: int | None = None
    ) -> None:
        home.parent.mkdir(parents=True, exist_ok=True)
        self.home = home
        self._log = home.with_name(f"{home.name}.serve.{time.monotonic_ns()}.log")
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*(_limited(files) if files else ()), *SERVE, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(home, settings),
                cwd=ROOT,
            )
        self.port = 0

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it wrote."""
        return self._log.read_text(errors="replace")

    def started(self) -> Serving:
        """Wait until it has said its port."""

        def said() -> str | None:
            assert self.process.poll() is None, self.log
            found = _SERVING.search(self.log)
            return found[1] if found else None

        self.port = int(until(said, "the line that names the port"))
        return self

    def ask(self, path: str, body: Any = None, method: str | None = None, **headers: str) -> Answer:
        """One request; a header's name is written with `_` for `-`."""
        return ask(self.port, path, body, method, {name.replace("_", "-"): text for name, text in headers.items()})

    def until_embedded(self, **headers: str) -> None:
        """Wait until the model is there and all is in the index."""

        def settled() -> bool:
            found = self.ask("/stats", **headers).json
            return bool(found["model"]["ready"] and not any(found["pending"].values()))

        until(settled, "all memories in the index")

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal; its exit status."""
        if self.process.poll() is None:
            self.send(number)
        return self.process.wait(SECONDS)

    def kill(self) -> None:
        """Kill -9 what is still there."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(SECONDS)


@contextmanager
def soma_serve(home: Path, *arguments: str, files: int | None = None, **settings: str) -> Iterator[Serving]:
    """A server that answers, and is gone afterwards; `files` is how many it may have open."""
    serving = Serving(home, ("--port", "0", *arguments), settings, files)
    try:
        yield serving.started()
    finally:
        serving.kill()


def _limited(files: int) -> tuple[str, ...]:
    return ("sh", "-c", f'ulimit -n {files}; exec "$@"', "sh")
