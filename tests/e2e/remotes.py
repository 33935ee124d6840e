"""Servers for the tests of clients: real `soma serve` processes, a proxy that loses answers, and one with a script."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeAlias

from tests.e2e.clients import ROOT, SECONDS, SOMA, environment, wait_until
from tests.support.ports import free_port

TOKEN = "the-token-of-the-tests"

Answer: TypeAlias = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""


class SomaProcess:
    """`soma serve` on a port of its own, which stays the same when it is started again."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._settings = settings

    def start(self) -> None:
        log = self.home.with_name(f"{self.home.name}.serve.log")
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [*SOMA, "serve", "--port", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                env=environment(self.home, **self._settings),
                cwd=ROOT,
            )
        wait_until(lambda: self._answers(log), what="the start of soma serve")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(SECONDS)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(SECONDS)
        finally:
            self.kill()

    def _answers(self, log: Path) -> bool:
        assert self._process.poll() is None, log.read_text()
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as asking:
                asking.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                return asking.recv(64).startswith(b"HTTP/1.1 200")
        except OSError:
            return False


@contextmanager
def soma_server(home: Path, **settings: str) -> Iterator[SomaProcess]:
    """A server that is up, and gone afterwards."""
    found = SomaProcess(home, **settings)
    found.start()
    try:
        yield found
    finally:
        found.stop()


def hang_up(connection: socket.socket) -> None:
    """End it for both sides, also for a thread that waits for it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def losing_proxy(port: int, on_first_answer: Callable[[], None]) -> Iterator[int]:
    """The port of a proxy to `port` that keeps the first answer to itself, and then hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        kept = threading.Event()
        threads: list[threading.Thread] = []

        def start(target: Callable[..., None], *args: socket.socket) -> None:
            threads.append(threading.Thread(target=target, args=args))
            threads[-1].start()

        def answer(server: socket.socket, client: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := server.recv(1 << 16):
                    if not kept.is_set():
                        kept.set()
                        on_first_answer()
                        break
                    client.sendall(data)
            hang_up(client)

        def pass_on(client: socket.socket) -> None:
            with client, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as server:
                start(answer, server, client)
                while data := client.recv(1 << 16):
                    server.sendall(data)
                hang_up(server)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    start(pass_on, listening.accept()[0])

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield int(listening.getsockname()[1])
        finally:
            hang_up(listening)
            for thread in [accepting, *threads]:
                thread.join(SECONDS)
            assert kept.is_set()


@dataclass
class Script:
    """What a scripted server answers, one after the other (the last for ever), and what it was asked."""

    answers: list[Answer]
    asked: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)
    """Answers wait for it."""
    url: str = ""

    def next(self) -> Answer:
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


@contextmanager
def scripted(*answers: Answer, held: bool = False) -> Iterator[Script]:
    """A real HTTP server that answers by a script."""
    script = Script(list(answers))
    if not held:
        script.hold.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            script.asked.append((self.path, headers, body))
            status, more, answer = script.next()
            script.hold.wait(SECONDS)
            with contextlib.suppress(OSError):
                self.send_response(status)
                for name, value in ({"content-length": str(len(answer))} | more).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)
            self.close_connection = True

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_address[1]}"
        serving = threading.Thread(target=server.serve_forever, args=(0.02,))
        serving.start()
        try:
            yield script
        finally:
            script.hold.set()
            server.shutdown()
            serving.join(SECONDS)
