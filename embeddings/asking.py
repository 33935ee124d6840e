"""Asking an OpenAI-compatible endpoint for vectors: its requests, its retries, and what its failures mean."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from typing import Any

import httpx2

from embeddings.endpoint import KEY, URL, Endpoint
from soma_core.domain.errors import Unavailable
from soma_core.domain.hosts import is_loopback
from soma_core.domain.retrying import pauses, retry_after

CONNECT_SECONDS = 3.0
LONGEST_WAIT = 5.0
"""A pause between two attempts; who is told by `Retry-After` to wait longer gets the error."""
LONGEST_REST = 60.0
"""Nothing is asked for longer than this, whatever `Retry-After` says."""
REST_SECONDS = 2.0
MOST_BYTES = 256 << 20
"""Of an answer; 2,048 vectors of 4,096 numbers take about 180 MB."""
SHOWN = 200
NOT_ALLOWED = (401, 403)
REFUSED = (400, 413, 422, 500)
"""What endpoints say to a text that is too long, and to more texts than they take; some say 500."""
AWAY = (408, 425, 429, 502, 503, 504)

Numbers = list[float]


class EndpointFailed(Unavailable):
    """The endpoint does not do its work now; `final` when only another setting would help. Names the setting."""

    def __init__(self, message: str, setting: str, *, final: bool = False, after: float | None = None) -> None:
        rest = min(REST_SECONDS if after is None else after, LONGEST_REST)
        super().__init__(message, fields=(setting,), retry_after=rest)
        self.final = final


class Refused(Exception):
    """The endpoint does not take these texts: one is too long or odd, or they are too many."""


class Asking:
    """Requests to one endpoint. Safe to call from many threads; close it when done."""

    def __init__(self, endpoint: Endpoint) -> None:
        url = httpx2.URL(endpoint.url.rstrip("/") + "/")
        self._endpoint = endpoint
        self._closing = threading.Event()
        self._http = httpx2.Client(
            base_url=url,
            headers={"authorization": f"Bearer {endpoint.key}"} if endpoint.key else {},
            trust_env=not is_loopback(url.host),  # no proxy leads to this machine
            verify=url.scheme == "https",
        )

    def close(self) -> None:
        """End the pause of a request at work, and let go of the connections."""
        self._closing.set()
        self._http.close()

    def ask(self, texts: Sequence[str], seconds: float, retries: int, dimensions: int | None = None) -> list[Numbers]:
        """The vectors as the endpoint gives them; `dimensions` asks for shorter ones than it gives by itself.

        Each attempt takes at most `seconds`. Raises `Refused`, `EndpointFailed`.
        """
        body: dict[str, object] = {"model": self._endpoint.model, "input": list(texts), "encoding_format": "float"}
        body |= {"dimensions": dimensions} if dimensions else {}
        for left, pause in zip(range(retries, -1, -1), pauses(), strict=False):
            try:
                status, after, answer = self._post(body, seconds)
            except httpx2.HTTPError as error:
                problem = self._unreached(error, seconds)
                after, timed_out = None, isinstance(error, httpx2.ReadTimeout | httpx2.WriteTimeout)
                if timed_out or not left or self._closing.wait(pause):
                    raise problem from error
            else:
                if status == 200:
                    return self._vectors(answer, len(texts))
                problem = self._problem(status, after, answer)
                wait = pause + (after or 0)
                if problem.final or not left or wait > LONGEST_WAIT or self._closing.wait(wait):
                    raise problem
        raise AssertionError("the last attempt raises or returns")

    def _post(self, body: object, seconds: float) -> tuple[int, float | None, bytes]:
        """Status, seconds of `Retry-After`, and the body. An answer that drips for too long is a `ReadTimeout`."""
        deadline = time.monotonic() + seconds
        timeout = httpx2.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))
        with self._http.stream("POST", "embeddings", json=body, timeout=timeout) as response:
            taken = bytearray()
            for piece in response.iter_bytes():
                taken += piece
                if time.monotonic() > deadline or len(taken) > MOST_BYTES:
                    raise httpx2.ReadTimeout("the answer does not end", request=response.request)
            return response.status_code, retry_after(response.headers.get("retry-after")), bytes(taken)

    def _unreached(self, error: httpx2.HTTPError, seconds: float) -> EndpointFailed:
        if isinstance(error, httpx2.ReadTimeout | httpx2.WriteTimeout):
            return self.failed(f"did not answer within {seconds:g} s", URL)
        if isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError | httpx2.WriteError):
            return self.failed("broke off its answer", URL)
        why = "no answer in time" if isinstance(error, httpx2.TimeoutException) else str(error) or type(error).__name__
        return self.failed(f"cannot be reached: {why[:SHOWN]}", URL)

    def _problem(self, status: int, after: float | None, answer: bytes) -> EndpointFailed:
        """What an answer other than 200 means. Raises `Refused`."""
        if status in NOT_ALLOWED:
            todo = "refuses the key" if self._endpoint.key else "wants a key"
            return self.failed(f"{todo} (status {status})", KEY, final=True)
        reason = f"status {status}{self._said(answer)}"
        if status in REFUSED:
            raise Refused(reason)
        if status in AWAY or status >= 500:
            what = "takes no more for now" if status == 429 else "is not available"
            return self.failed(f"{what} ({reason})", URL, after=after)
        return self.failed(f"does not take POST {self._http.base_url.path}embeddings ({reason})", URL, final=True)

    def _said(self, answer: bytes) -> str:
        """The error's own message, cut, without the key."""
        try:
            found = json.loads(answer)
            error = found.get("error", found)
            said = error.get("message") if isinstance(error, dict) else error
        except (ValueError, AttributeError, RecursionError):
            return ""
        return f": {self._without_key(said)[:SHOWN]!a}" if isinstance(said, str) else ""

    def _without_key(self, text: str) -> str:
        return text.replace(self._endpoint.key, "***") if self._endpoint.key else text

    def _vectors(self, answer: bytes, wanted: int) -> list[Numbers]:
        try:
            data: list[Any] = json.loads(answer)["data"]
            found = {each.get("index", at): each["embedding"] for at, each in enumerate(data)}
            vectors = [found[at] for at in range(wanted)]
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise self.failed("does not answer as the OpenAI API for embeddings does", URL) from error
        if len(data) != wanted or not all(isinstance(vector, list) for vector in vectors):
            raise self.failed(f"does not give a list of numbers for each of {wanted} texts", URL)
        return vectors

    def failed(self, what: str, setting: str, *, final: bool = False, after: float | None = None) -> EndpointFailed:
        """The error for something that the endpoint does or does not."""
        return EndpointFailed(
            f"the embedding endpoint at {self._endpoint.host} {what}", setting, final=final, after=after
        )
