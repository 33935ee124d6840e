"""One call's attempts: what is tried again and when, and what an answer that is no result means."""

from __future__ import annotations

import json
from typing import TypeVar

import httpx2

from soma_core.domain.errors import (
    Forbidden,
    RateLimited,
    Retryable,
    SomaError,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from soma_core.domain.retrying import pauses, retry_after
from soma_mcp.client.calls import Call
from soma_mcp.client.shapes import error_from

T = TypeVar("T")

LONGEST_WAIT = 30.0
"""Who is told to wait longer than this by `Retry-After` gets the error instead."""
SHOWN = 80
UNREACHED = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)
"""What comes before anything was sent."""
TRIED_AGAIN = (429, 502, 503, 504)

BARE = {401: Unauthenticated, 403: Forbidden, 413: TooLarge, 429: RateLimited}
"""What a status means when something other than Soma, such as a proxy, answered."""


class Attempts:
    """Decides after each attempt of a call. Every call may be repeated: those that change anything carry a key."""

    def __init__(self, address: str, retries: int) -> None:
        self._address = address
        self._left = retries
        self._pauses = pauses()

    def failed(self, error: httpx2.HTTPError) -> float:
        """Seconds to wait after an attempt without an answer. Raises `Unavailable` when it was the last.

        An answer that took too long is not waited for again, nor one of which a part was taken.
        """
        what = str(error) or type(error).__name__
        reached = not isinstance(error, UNREACHED)
        doing = "broke off its answer" if reached else "cannot be reached"
        problem = Unavailable(f"{self._address} {doing}: {what}", fields=("url",))
        if isinstance(error, httpx2.ReadTimeout | httpx2.WriteTimeout):
            problem = Unavailable(f"{self._address} did not answer in time", fields=("url",))
            self._left = 0
        return self._next(problem, None, error)

    def answered(self, response: httpx2.Response) -> float | None:
        """None for a result, else seconds to wait. Raises the error when there is no use in waiting."""
        if response.is_success:
            self._left = 0
            return None
        after = retry_after(response.headers.get("retry-after"))
        problem = self._problem(response, after)
        if response.status_code not in TRIED_AGAIN:
            raise problem
        return self._next(problem, after, None)

    def result(self, call: Call[T], text: str | bytes) -> T:
        """What a successful answer says. Raises `Unavailable` when that is no answer of Soma."""
        try:
            return call.read(json.loads(text))
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise self._nonsense(text, "") from error

    def _next(self, problem: SomaError, after: float | None, cause: Exception | None) -> float:
        if self._left <= 0 or not isinstance(problem, Retryable) or (after or 0) > LONGEST_WAIT:
            raise problem from cause
        self._left -= 1
        return (after or 0) + next(self._pauses)

    def _problem(self, response: httpx2.Response, after: float | None) -> SomaError:
        try:
            found = response.json()["error"]
            error = error_from(found, after or 1.0)
            if request_id := found.get("request_id"):
                error.add_note(f"request {request_id}")
            return error
        except (ValueError, TypeError, LookupError, AttributeError):
            pass
        status = f"status {response.status_code}"
        if kind := BARE.get(response.status_code):
            return kind(f"{self._address} refused the call with {status}")
        if response.status_code in TRIED_AGAIN:
            return Unavailable(f"{self._address} is not available ({status})", fields=("url",))
        return self._nonsense(response.content, f"{status}, ")

    def _nonsense(self, text: str | bytes, status: str) -> SomaError:
        shown = ascii(text[:SHOWN].decode(errors="replace") if isinstance(text, bytes) else text[:SHOWN])
        return Unavailable(f"{self._address} does not answer as a Soma server does: {status}{shown}", fields=("url",))
