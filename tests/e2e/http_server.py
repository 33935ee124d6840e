"""The real `soma serve` as a process, and its callers over a socket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.clients import SECONDS, wait_until
from tests.support.serving import Serving, soma_serve


class Caller:
    """Someone who calls a server over HTTP, with a token or without one."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url
        self.token = token
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx2.Client(base_url=url, headers=self.headers, timeout=SECONDS, trust_env=False)

    def ask(self, method: str, path: str, body: Any = None, **options: Any) -> httpx2.Response:
        """What the server answers; a body of bytes is sent as it is, any other as JSON."""
        if isinstance(body, bytes):
            options = {"content": body, "headers": {"Content-Type": "application/json"}} | options
        elif body is not None:
            options["json"] = body
        answer = self._client.request(method, path, **options)
        assert answer.headers["x-request-id"]
        return answer

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        """The JSON that answers a POST which is taken."""
        return answered(self.ask("POST", path, body, **options))

    def get(self, path: str, **params: Any) -> Any:
        return answered(self.ask("GET", path, params=params))

    def delete(self, path: str, **params: Any) -> Any:
        return answered(self.ask("DELETE", path, params=params))

    def refused(self, status: int, method: str, path: str, body: Any = None, **options: Any) -> dict[str, Any]:
        """The error of a call that must be refused with this status."""
        answer = self.ask(method, path, body, **options)
        assert answer.status_code == status, (method, path, answer.status_code, answer.text)
        return error_of(answer)

    def store(self, text: str, **fields: Any) -> str:
        """The id of a memory that is stored."""
        return str(self.post("/store", {"text": text, **fields})["id"])

    def export(self) -> str:
        """Every memory of the namespace, as JSON lines."""
        answer = self.ask("GET", "/export")
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        return answer.text

    def until_embedded(self) -> None:
        """Return when meaning is searched too."""
        wait_until(self._is_embedded, what="embedding all memories")

    def _is_embedded(self) -> bool:
        found = self.get("/stats")
        return found["model"]["ready"] and not any(found["pending"].values())

    def close(self) -> None:
        self._client.close()


def answered(answer: httpx2.Response) -> Any:
    """The JSON of an answer that is no error."""
    assert answer.status_code == 200, (answer.request.url, answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def error_of(answer: httpx2.Response) -> dict[str, Any]:
    """The error of an answer in the one shape of errors."""
    assert answer.headers["content-type"] == "application/json", answer.text
    body = answer.json()
    assert list(body) == ["error"], body
    error: dict[str, Any] = body["error"]
    assert sorted(error) == ["code", "fields", "message", "request_id"]
    assert isinstance(error["code"], str)
    assert isinstance(error["message"], str)
    assert error["message"].strip()
    assert all(isinstance(name, str) for name in error["fields"])
    assert error["request_id"] == answer.headers["x-request-id"]
    return error


class HttpServer:
    """A running `soma serve` on a data folder, and who calls it."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._callers: list[Caller] = []
        self.process = serving.process
        self.home = serving.home
        self.url = serving.url

    def caller(self, token: str | None = None) -> Caller:
        """A caller, closed with the server."""
        self._callers.append(Caller(self.url, token))
        return self._callers[-1]

    @property
    def log(self) -> str:
        """What the server wrote to standard error."""
        return self._serving.log

    def end(self) -> None:
        for caller in self._callers:
            caller.close()
        assert self._serving.end() == 0, self.log


@contextmanager
def http_server(home: Path, **settings: str) -> Iterator[HttpServer]:
    """A server on a free port that ends, with status 0, with the block; its standard error goes to a file."""
    with soma_serve(home, files=None, **settings) as serving:
        server = HttpServer(serving)
        answers = server.caller()
        wait_until(lambda: _lives(answers), what="/healthz")
        yield server
        server.end()


def _lives(caller: Caller) -> bool:
    try:
        return caller.ask("GET", "/healthz").status_code == 200
    except httpx2.TransportError:
        return False
