"""Servers over real sockets for tests: an ASGI application, and an issuer's keys."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import uvicorn
from starlette.types import ASGIApp


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """The address of an application that runs on a free loopback port."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        threading.Event().wait(0.005)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


class KeyServer(ThreadingHTTPServer):
    """Publishes a key set; `status` and `body` can be changed, `fetches` counts."""

    daemon_threads = True

    def __init__(self, keys: list[Mapping[str, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), _Keys)
        self.status, self.fetches = 200, 0
        self.body = json.dumps({"keys": keys}).encode()
        self.url = f"http://127.0.0.1:{self.server_port}/jwks.json"


class _Keys(BaseHTTPRequestHandler):
    server: KeyServer

    def do_GET(self) -> None:
        self.server.fetches += 1
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def key_server(keys: list[Mapping[str, Any]]) -> Iterator[KeyServer]:
    """A running `KeyServer`."""
    with KeyServer(keys) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
