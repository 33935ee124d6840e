"""Where a server is and how it is asked: checked once, the same for both clients."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import httpx2

from soma_core.domain.hosts import is_loopback
from soma_core.domain.validation import check_integer, check_number, check_string, invalid
from soma_mcp.client.attempts import Attempts
from soma_mcp.client.calls import Call

log = logging.getLogger(__name__)

RETRIES = 4
TIMEOUT_SECONDS = 30.0
IMPORT_SECONDS = 3_600.0
"""A server answers an import when it has stored all of it."""
MAX_RETRIES = 100


@dataclass(frozen=True, slots=True)
class Connection:
    """The address, the token and the patience of a client."""

    url: str
    token: str | None = None
    timeout: float = TIMEOUT_SECONDS
    retries: int = RETRIES

    def __post_init__(self) -> None:
        """Raises `InvalidInput`. Says once that a token goes unprotected over a network."""
        host = _host(self.url)
        check_number("timeout", self.timeout, 0.001, 86_400)
        check_integer("retries", self.retries, 0, MAX_RETRIES)
        if self.token is None:
            return
        if not check_string("token", self.token, max_chars=4096).isascii() or not self.token.isprintable():
            raise invalid("token", "must be printable ASCII")
        if self.url.startswith("http:") and not is_loopback(host):
            log.warning("the token for %s is sent in the clear: use https", self.url)

    def options(self) -> dict[str, Any]:
        """Arguments of an HTTP client. Encryption is set up where it is used only: that takes 40 ms."""
        url = httpx2.URL(self.url)
        return {
            "base_url": url,
            "headers": {"authorization": f"Bearer {self.token}"} if self.token else {},
            "timeout": self.timeout,
            "trust_env": not is_loopback(url.host),  # no proxy leads to this machine
            "verify": url.scheme == "https",
        }

    def request(self, call: Call[Any]) -> dict[str, Any]:
        """Arguments of a request, except for a body of lines."""
        found: dict[str, Any] = {
            "method": call.method,
            "url": call.path.removeprefix("/"),
            "params": call.params or None,
            "headers": call.headers,
        }
        if call.body is not None:
            found["json"] = call.body
        if call.lines is not None:
            found["timeout"] = httpx2.Timeout(self.timeout, read=max(self.timeout, IMPORT_SECONDS))
        return found

    def attempts(self) -> Attempts:
        return Attempts(self.url, self.retries)


def _host(url: object) -> str:
    text = check_string("url", url, max_chars=4096)
    try:
        found = httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise invalid("url", f"is {url!r}: {error}") from None
    odd = found.query or found.fragment or any(letter.isspace() for letter in text)
    if found.scheme not in ("http", "https") or not found.host or odd:
        raise invalid("url", f"is {url!r}, must be an address such as https://soma.example.com")
    if found.userinfo:
        raise invalid("url", "must not hold a name or password; give a token")
    return found.host
