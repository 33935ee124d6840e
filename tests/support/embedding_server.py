"""A test-only endpoint that speaks the OpenAI protocol for embeddings, over real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from soma_core.ports.embedder import Vector

MODEL = "a-model"
Embed = Callable[[Sequence[str]], Sequence[Vector]]


@dataclass(frozen=True)
class Reply:
    """An answer other than the right one."""

    status: int
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)


class EmbeddingServer(ThreadingHTTPServer):
    """Answers with the vectors of `embed`, unless `instead` has another reply to a request's texts.

    `wait` holds every answer back while it is set to an event that is not. `most` is how many texts it takes at once,
    `window` how many characters of one, `shortest` the shortest vectors it gives when asked for less.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, embed: Embed, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Asked)
        self.embed = embed
        self.key: str | None = None
        self.most, self.window, self.shortest = 2_048, 1 << 30, 1 << 30
        self.instead: Callable[[Sequence[str]], Reply | None] = lambda texts: None
        self.requests: list[dict[str, Any]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def reply(self, path: str, authorization: str | None, body: bytes) -> Reply:
        """What is answered to a request."""
        if path != "/v1/embeddings":
            return _error(404, "no such path")
        if self.key and authorization != f"Bearer {self.key}":
            return _error(401, f"Incorrect API key provided: {authorization}")
        asked = json.loads(body)
        self.requests.append(asked)
        texts = asked["input"]
        if asked["model"] != MODEL:
            return _error(404, f"The model {asked['model']!r} does not exist")
        assert asked["encoding_format"] == "float"
        if found := self.instead(texts):
            return found
        if len(texts) > self.most:
            return _error(422, f"batch size {len(texts)} > maximum allowed batch size {self.most}")
        if any(not text or len(text) > self.window for text in texts):
            return _error(400, "This model's maximum context length is exceeded")
        return self._answer(texts, asked.get("dimensions"))

    def _answer(self, texts: Sequence[str], dimensions: int | None) -> Reply:
        if dimensions and dimensions < self.shortest:
            return _error(400, "This model does not support specifying dimensions")
        return answer([list(vector)[:dimensions] for vector in self.embed(texts)])

    def handle_error(self, request: object, client_address: object) -> None:
        """Callers that hang up are no news."""


class _Asked(BaseHTTPRequestHandler):
    server: EmbeddingServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        found = self.server.reply(self.path, self.headers["Authorization"], body)
        self.send_response(found.status)
        for name, value in {"Content-Length": str(len(found.body)), **found.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(found.body)

    def log_message(self, *_: object) -> None:
        pass


def answer(vectors: Sequence[Any]) -> Reply:
    """The protocol's answer, in an order that only `index` tells."""
    data = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)]
    return Reply(200, json.dumps({"object": "list", "model": MODEL, "data": data[::-1]}).encode())


def _error(status: int, message: str) -> Reply:
    return Reply(status, json.dumps({"error": {"message": message, "type": "invalid_request_error"}}).encode())


@contextmanager
def embedding_server(embed: Embed, port: int = 0) -> Iterator[EmbeddingServer]:
    """A running server; one that was closed can be followed by another on the same port."""
    with EmbeddingServer(embed, port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
