"""The Qdrant server of the tests as a process of its own, which can be killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tests.support.ports import free_ports

ROOT = Path(__file__).parents[2]
PATIENCE = 30


class QdrantProcess:
    """A server on two loopback ports, REST and gRPC, with its data in a folder."""

    def __init__(self, folder: Path, **options: str) -> None:
        self._folder = folder
        self.port, self.grpc_port = free_ports(2)
        options["grpc_port"] = str(self.grpc_port)
        self._options = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tests.support.qdrant_http", "--folder", str(self._folder)]
        self._process = subprocess.Popen(
            [*command, "--port", str(self.port), *self._options], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        until = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._process.poll() is None, "the server ended"
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Take it away as `kill -9` does."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """Let it hang, with its connections open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.url}/", timeout=1):
                return True
        except (URLError, OSError):
            return False
