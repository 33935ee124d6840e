"""Real processes for the chaos tests: stdio servers spoken to by hand, commands, workers; and looks into a folder."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soma_core.domain.memory import Scope
from soma_core.engine import Soma
from soma_mcp.sharing import SharedSoma
from soma_mcp.sharing.follower import Follower
from soma_mcp.sharing.wire import ConnectionLost

ROOT = Path(__file__).parents[2]
SCOPE = Scope("api_ns", "chaos")
PATIENCE = 20.0


class Refused(Exception):
    """A tool answered with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code: str = error["code"]


class Gone(Exception):
    """The process ended before it answered."""


def wait_until(check: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Wait until `check` gives something true, and return that."""
    deadline = time.monotonic() + seconds
    while True:
        if found := check():
            return found
        assert time.monotonic() < deadline, f"waited {seconds} s for: {what}"
        time.sleep(0.01)


def environment(home: Path, more: dict[str, str]) -> dict[str, str]:
    """What a process on the data folder is told."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SOMA_")}
    own = {"SOMA_HOME": str(home), "SOMA_DISK_RESERVE": "0", "PYTHONPATH": str(ROOT)}
    return kept | own | more


class Process:
    """A Python process with its own standard streams; what it says on standard error is kept."""

    def __init__(self, home: Path, arguments: list[str], more: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(home, more),
            cwd=ROOT,
        )
        self.said: list[str] = []
        self.lines: list[str] = []
        self.ended = threading.Event()
        self._readers = [
            threading.Thread(target=self._read_lines, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stderr(self) -> str:
        return "".join(self.said)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """Kill -9, and wait until it is dead and all it wrote is read."""
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)
        self.join()

    def leave(self) -> int:
        """Close its standard input; its exit status."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        return self.join()

    def join(self, seconds: float = PATIENCE) -> int:
        status = self._process.wait(seconds)
        for reader in self._readers:
            reader.join(seconds)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        return status

    def on_line(self, line: str) -> None:
        self.lines.append(line)

    def on_end(self) -> None: ...

    def write(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def _read_lines(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            if line.endswith(b"\n"):
                self.on_line(line.decode().rstrip("\n"))
        self.ended.set()
        self.on_end()

    def _read_errors(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            self.said.append(line.decode(errors="replace"))


class Server(Process):
    """A stdio MCP server and its client in one."""

    def __init__(self, home: Path, **more: str) -> None:
        self._waiting: dict[int, Future[dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._last = 0
        super().__init__(home, ["-m", "soma_mcp.cli", "mcp"], more)
        client = {"name": "chaos", "version": "1"}
        self._greeted = self.request(
            "initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
        )
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def ready(self) -> Server:
        """Wait until it has answered the handshake."""
        self._greeted.result(PATIENCE)
        return self

    def request(self, method: str, params: dict[str, Any]) -> Future[dict[str, Any]]:
        future: Future[dict[str, Any]] = Future()
        with self._lock:
            self._last += 1
            number = self._last
            self._waiting[number] = future
        if self.ended.is_set():
            self.on_end()
        self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        return future

    def begin(self, tool: str, **arguments: Any) -> Future[dict[str, Any]]:
        """Call a tool and do not wait."""
        return self.request("tools/call", {"name": tool, "arguments": arguments})

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structured answer of a tool. Raises `Refused`, `Gone`."""
        return answer_of(self.begin(tool, **arguments))

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self.write(json.dumps(message))
        except (BrokenPipeError, ValueError):
            self.ended.wait(PATIENCE)
            self.on_end()

    def on_line(self, line: str) -> None:
        message = json.loads(line)
        with self._lock:
            future = self._waiting.pop(message.get("id"), None)
        if future and "result" in message:
            future.set_result(message["result"])
        elif future:
            future.set_exception(AssertionError(f"protocol error: {message}"))

    def on_end(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            future.set_exception(Gone(f"process {self.pid} ended: {self.stderr[-500:]}"))


def answer_of(future: Future[dict[str, Any]], seconds: float = PATIENCE) -> dict[str, Any]:
    """The structured answer of a call that was begun."""
    result = future.result(seconds)
    structured: dict[str, Any] = result.get("structuredContent") or {}
    if result.get("isError"):
        raise Refused(structured.get("error") or {"code": "none", "message": str(result)})
    return structured


def run_soma(home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `soma` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "soma_mcp.cli", *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=environment(home, more),
        cwd=ROOT,
        timeout=60,
        check=False,
    )


def owner_pid(home: Path) -> int | None:
    """Who says that it owns the folder."""
    try:
        follower = Follower(home)
    except ConnectionLost:
        return None
    follower.close()
    return int(follower.hello["pid"])


def texts(answer: dict[str, Any]) -> list[str]:
    """The texts of the hits of a recall."""
    return [hit["text"] for hit in answer["hits"]]


def settled(server: Server) -> bool:
    """Whether all that was stored is in the index, and flushed."""
    return not any(server.call("status")["pending"].values())


def checkpoint_of(home: Path) -> dict[str, Any]:
    """The stamp of the only namespace of the folder's only index; empty when there is none."""
    index = home / "index"
    for file in [*index.glob("*/checkpoint.json"), *index.glob("g*/*/checkpoint.json")]:
        try:
            return dict(json.loads(file.read_text()))
        except ValueError:
            return {}
    return {}


def last_event(home: Path) -> int:
    with sqlite3.connect(home / "records.db") as db:
        found = db.execute('SELECT max("offset") FROM events').fetchone()[0] or 0
    db.close()
    return int(found)


def flushed(home: Path) -> bool:
    """Whether the index's durable position is the end of the events."""
    stamp, end = checkpoint_of(home), last_event(home)
    return stamp.get("words") == stamp.get("vectors") == end


def half_things(home: Path) -> list[str]:
    """Whatever is in the records only in part."""
    queries = {
        "a memory without its current version": "SELECT count(*) FROM memories m WHERE state != 'purged' "
        "AND NOT EXISTS (SELECT 1 FROM versions v WHERE v.id = m.id AND v.version = m.version)",
        "a live memory without text": "SELECT count(*) FROM memories m JOIN versions v ON v.id = m.id AND "
        "v.version = m.version WHERE m.state = 'live' AND v.text IS NULL",
        "a version without its memory": "SELECT count(*) FROM versions v WHERE NOT EXISTS "
        "(SELECT 1 FROM memories m WHERE m.id = v.id AND m.version >= v.version)",
        "a version without its event": "SELECT count(*) FROM versions v WHERE NOT EXISTS "
        "(SELECT 1 FROM events e WHERE e.id = v.id AND e.version = v.version)",
        "an event without its memory": "SELECT count(*) FROM events e WHERE NOT EXISTS "
        "(SELECT 1 FROM memories m WHERE m.id = e.id AND m.version >= e.version)",
        "a memory whose last event is not its version": "SELECT count(*) FROM memories m WHERE m.version != "
        "(SELECT max(version) FROM events e WHERE e.id = m.id)",
        "two events of one version": "SELECT count(*) FROM "
        "(SELECT 1 FROM events GROUP BY id, version HAVING count(*) > 1)",
        "a memory that no request made": "SELECT (SELECT count(*) FROM memories) > 0 AND "
        "(SELECT count(*) FROM requests) = 0",
        "a wrong count": "SELECT count(*) FROM counts c WHERE n != (SELECT count(*) FROM memories m WHERE "
        "m.namespace = c.namespace AND m.state = c.state AND coalesce(m.type, '') = c.type)",
    }
    db = sqlite3.connect(home / "records.db")
    try:
        return [what for what, query in queries.items() if db.execute(query).fetchone()[0]]
    finally:
        db.close()


def plain_vectors(soma: Soma) -> None:
    """Give an engine in this process vectors that cost nothing; its model is not loaded."""
    dimensions = soma.embedder.dimensions
    soma.embedder.embed_passages = lambda given: [[1.0] + [0.0] * (dimensions - 1) for _ in given]  # type: ignore[method-assign]


@dataclass(frozen=True)
class Found:
    """What an inspection of a folder in this process came to."""

    clean: bool
    detail: str


def inspected(memory: SharedSoma | Soma) -> Found:
    """Index what waits, then compare the index with the records."""
    memory.index(SCOPE)
    drift = memory.inspect(SCOPE)
    return Found(drift.is_clean and not drift.pending and not memory.problems(SCOPE), str(drift))
