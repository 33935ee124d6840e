"""A soak of the real server: mixed load for minutes, in which its memory must stay flat: ``python -m scripts.soak``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import psutil
from mcp import Client

from scripts.bench.servers import READY_SECONDS, ROOT, environment
from scripts.bench.texts import questions, texts

SAMPLE_SECONDS = 10.0
THINK_SECONDS = 0.05
"""A client's pause between calls: the server must keep up with embedding, or what waits is what grows."""
CLIENTS = 4
"""Of HTTP; there is one of MCP beside them."""
STORE_EACH = 10
"""Turns of which one stores: memory grows by some 7 KB with each memory stored, forgotten or not."""
LIVE = 20
"""Memories that a client keeps; it forgets its oldest above that."""
PAST = 1_000
"""Memories that are there before."""
GROWTH = 0.10
FILES_MORE = 20


class Tally:
    """Milliseconds of the calls since the last sample, by kind, and all that went wrong."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: dict[str, list[float]] = {}
        self.errors: list[str] = []
        self.calls = 0

    @contextlib.contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        with self._lock:
            self._taken.setdefault(kind, []).append((time.perf_counter() - began) * 1e3)
            self.calls += 1

    def latencies(self) -> dict[str, dict[str, float]]:
        """Of each kind how many calls, and their median and 95th percentile; they are counted anew then."""
        with self._lock:
            taken, self._taken = self._taken, {}
        return {kind: _spread(sorted(values)) for kind, values in sorted(taken.items())}


def _spread(values: list[float]) -> dict[str, float]:
    p95 = values[int(len(values) * 0.95)]
    return {"calls": len(values), "p50_ms": round(median(values), 1), "p95_ms": round(p95, 1)}


def http_client(port: int, number: int, tally: Tally, stop: threading.Event) -> None:
    """Store, recall and forget over one kept connection until told to stop."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)

    def call(kind: str, method: str, path: str, body: object = None) -> Any:
        with tally.timed(f"http {kind}"):
            sent = json.dumps(body) if body is not None else None
            connection.request(method, path, sent, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            found = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {found[:200]!r}")
        return json.loads(found)

    kept: deque[str] = deque()
    for text, question in _words(number):
        if stop.is_set():
            return
        if text:
            kept.append(call("store", "POST", "/store", {"text": text, "thread": f"client {number}"})["id"])
        call("recall", "POST", "/recall", {"query": question})
        call("browse", "GET", "/memories?limit=20")
        if len(kept) > LIVE:
            call("forget", "DELETE", f"/memories/{kept.popleft()}?purge={'true' if number % 2 else 'false'}")
        time.sleep(THINK_SECONDS)


async def _mcp_client(port: int, number: int, tally: Tally, stop: threading.Event) -> None:
    async with Client(f"http://127.0.0.1:{port}/mcp") as client:

        async def call(tool: str, **arguments: Any) -> Any:
            with tally.timed(f"mcp {tool}"):
                result = await client.call_tool(tool, arguments)
            if result.is_error:
                raise RuntimeError(f"{tool}: {result.content}")
            return result.structured_content

        kept: deque[str] = deque()
        for text, question in _words(number):
            if stop.is_set():
                return
            if text:
                kept.append((await call("store", text=text, thread=f"client {number}"))["id"])
            await call("recall", query=question)
            if len(kept) > LIVE:
                await call("forget", ids=[kept.popleft()])
            await asyncio.sleep(THINK_SECONDS)


def mcp_client(port: int, number: int, tally: Tally, stop: threading.Event) -> None:
    """The same over MCP."""
    asyncio.run(_mcp_client(port, number, tally, stop))


def _words(number: int) -> Iterator[tuple[str | None, str]]:
    """What to store in each turn, if anything, and what to ask."""
    stored, asked, chance = texts(1_000, 100 + number), questions(1_000, 200 + number), Random(number)
    for turn in count(1):
        text = f"{chance.choice(stored)} Turn {turn} of client {number}." if turn % STORE_EACH == 0 else None
        yield text, chance.choice(asked)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[psutil.Process, int]]:
    """A server that is ready, and its port; ended by SIGTERM."""
    log = folder / "serve.log"
    settings = {"SOMA_RATE_LIMIT_MAX": "0", "SOMA_LOG_LEVEL": "warning"}
    command = [sys.executable, "-m", "soma_mcp.cli", "serve", "--port", "0"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environment(folder / "home") | settings, stderr=out
        )
    try:
        yield psutil.Process(process.pid), _port(log, process)
        process.terminate()
        if process.wait(30) != 0 or "Traceback" in log.read_text():
            raise RuntimeError(f"the server ended with {process.returncode}: {log.read_text()[-2_000:]}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _port(log: Path, process: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        said = log.read_text().partition("serving http://127.0.0.1:")[2]
        with contextlib.suppress(OSError):
            if said and urllib.request.urlopen(f"http://127.0.0.1:{said.split()[0]}/readyz"):
                return int(said.split()[0])
        time.sleep(0.1)
    raise RuntimeError(f"the server is not ready: {log.read_text()[-2_000:]}")


def sample(server: psutil.Process, began: float, tally: Tally) -> dict[str, Any]:
    """What the server holds now, and how it answered since the last sample; MB of a million bytes."""
    return {
        "second": round(time.monotonic() - began),
        "rss_mb": round(server.memory_info().rss / 1e6, 1),
        "files": server.num_fds(),
        "threads": server.num_threads(),
        "latency": tally.latencies(),
    }


def soak(minutes: float) -> dict[str, Any]:
    """Run it, and judge: samples of the first third, two minutes at most, are the warm-up."""
    tally, stop = Tally(), threading.Event()

    def guarded(work: Callable[[int, int, Tally, threading.Event], None], port: int, number: int) -> None:
        try:
            work(port, number, tally, stop)
        except Exception as error:
            tally.errors.append(repr(error))

    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as (server, port):
        jobs = [http_client] * CLIENTS + [mcp_client]
        threads = [threading.Thread(target=guarded, args=(job, port, at)) for at, job in enumerate(jobs)]
        _fill(port)
        began = time.monotonic()
        for thread in threads:
            thread.start()
        samples = []
        try:
            while time.monotonic() - began < minutes * 60 and not tally.errors:
                time.sleep(SAMPLE_SECONDS)
                samples.append(sample(server, began, tally))
                print(samples[-1], file=sys.stderr)
        finally:
            stop.set()
            for thread in threads:
                thread.join(60)
    steady = [each for each in samples if each["second"] >= min(120, minutes * 20)]
    return _judged(steady, tally) | {"samples": samples}


def _fill(port: int) -> None:
    body = json.dumps({"items": [{"text": text} for text in texts(PAST)]}).encode()
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/store_bulk", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        answer.read()


def _judged(steady: list[dict[str, Any]], tally: Tally) -> dict[str, Any]:
    edge = max(1, min(3, len(steady) // 2))

    def ends(name: str) -> tuple[float, float]:
        return median(each[name] for each in steady[:edge]), median(each[name] for each in steady[-edge:])

    (first, last), (files, files_after) = (ends("rss_mb"), ends("files")) if steady else ((0.0, 0.0), (0.0, 0.0))
    growth = (last - first) / first if first else 1.0
    return {
        "calls": tally.calls,
        "errors": tally.errors,
        "rss_mb": [first, last],
        "growth": round(growth, 4),
        "files": [files, files_after],
        "holds": growth <= GROWTH and files_after <= files + FILES_MORE and not tally.errors,
    }


def main() -> int:
    """Print one JSON document; 0 when memory and files stayed flat and no call failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    found = soak(parser.parse_args().minutes)
    print(json.dumps(found, indent=1))
    return 0 if found["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
