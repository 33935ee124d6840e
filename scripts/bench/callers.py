"""HTTP servers as processes, and callers of next to no cost: ready-made requests on kept connections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.bench.figures import milliseconds
from scripts.bench.servers import READY_SECONDS, ROOT, environment

END_SECONDS = 15
SAID = "soma: serving"


@dataclass(slots=True)
class Load:
    """What callers found: milliseconds of every call, and how many had another status than 200."""

    taken: list[float] = field(default_factory=list)
    errors: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Calls a second."""
        return len(self.taken) / self.seconds


@contextlib.contextmanager
def serving(home: Path | None, **settings: str) -> Iterator[int]:
    """The port of a Soma server on a data folder, or of the control for None; all its processes are ready to serve."""
    port = _free_port()
    if home is None:
        command, more = [sys.executable, "-m", "scripts.bench.noop_http", str(port)], {}
    else:
        command = [sys.executable, "-m", "soma_mcp.cli", "serve", "--port", str(port)]
        more = environment(home) | {"SOMA_RATE_LIMIT_MAX": "0", "SOMA_LOG_LEVEL": "warning"} | settings
    with tempfile.NamedTemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | more, stderr=log)
        try:
            _wait_for(lambda: home is None or SAID in Path(log.name).read_text(), SAID)
            path = "/openapi.json" if home is None else "/readyz"
            _wait_for(lambda: _answers(port, path), path)
            yield port
        finally:
            process.terminate()
            process.wait(timeout=END_SECONDS)
            sys.stderr.write(Path(log.name).read_text())


def drive(
    port: int, path: str, clients: int, body: Callable[[], object], *, seconds: float = 0, calls: int = 0
) -> Load:
    """Let each client call again as soon as it is answered: for so long, or until so many calls are made in all."""
    return asyncio.run(_drive(port, path, clients, body, seconds, calls))


async def _drive(port: int, path: str, clients: int, body: Callable[[], object], seconds: float, calls: int) -> Load:
    load = Load()
    began = time.perf_counter()
    left = iter(range(calls)) if calls else None

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (next(left, None) is not None) if left else time.perf_counter() - began < seconds:
            request = _request(path, body())
            start = time.perf_counter()
            writer.write(request)
            status = await _answer(reader)
            load.taken.append(milliseconds(start))
            load.errors += status != 200
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    load.seconds = time.perf_counter() - began
    return load


def _request(path: str, body: object) -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(data)}"
    return head.encode() + b"\r\n\r\n" + data


async def _answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.partition(b":")[2]))
    return int(head.split(b" ", 2)[1])


def fetch(port: int, path: str) -> bytes:
    """The body of a GET."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        found: bytes = answer.read()
        return found


def post(port: int, path: str, body: object) -> Any:
    """The answer to a POST, parsed."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode())
    request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read())


def _answers(port: int, path: str) -> bool:
    with contextlib.suppress(OSError):
        fetch(port, path)
        return True
    return False


def _wait_for(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(f"no {what} after {READY_SECONDS} s")
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def cycle(wanted: Sequence[object]) -> Callable[[], object]:
    """Give one after the other, for ever."""
    at = -1

    def following() -> object:
        nonlocal at
        at = (at + 1) % len(wanted)
        return wanted[at]

    return following
