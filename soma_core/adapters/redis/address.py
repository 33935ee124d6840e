"""Where Redis is, whether it can be used, and what its failures mean. No message holds a password."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.retry import Retry

from soma_core.domain.errors import InvalidInput, SomaError, Unavailable

OLDEST = (6, 0)
PREFIX = "soma:1:"
"""Of every key; the number is that of the layout."""
START_SECONDS = 3.0
CALL_SECONDS = 0.25
"""A caller waits no longer than this for what it can do without."""
MOST_CONNECTIONS = 64
EXPECTED = "must be an address such as redis://user:password@host:6379/0, or rediss:// for TLS; %-escape signs"

REFUSED = {
    "certificate": "check rediss:// and the options ssl_ca_certs, ssl_certfile and ssl_keyfile",
    "ssl": "is TLS spoken there? rediss:// is with it, redis:// without",
    "moved": "a cluster of Redis servers is not supported: name a single server",
    "db index": "name a database that the server has",
    "protocol error": "what answers there is no Redis server; is TLS spoken there (rediss://)?",
    "unknown command": "what answers there is no Redis server that Soma can use",
}
"""What the server, or the driver, says to a connection that will never come about as things are set."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is; shown without its password. `setting` is what the operator set it with."""

    url: str = field(repr=False)
    setting: str
    shown: str
    password: str = field(repr=False)

    @classmethod
    def parse(cls, url: str, setting: str = "REDIS_URL") -> Address:
        """Take an address apart. Raises `InvalidInput`, which does not repeat it: it may hold a password."""
        try:
            parts: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]
            split = urlsplit(url)
            database = split.path.strip("/")
            if split.scheme != "unix" and not (database.isdecimal() or not database):
                raise ValueError("the database is no number")
            redis.ConnectionPool.from_url(url).make_connection()  # which does not connect, and knows its options
        except (ValueError, TypeError):
            raise InvalidInput(f"{setting}: {EXPECTED}", fields=(setting,)) from None
        place = parts.get("path") or f"{parts.get('host', 'localhost')}:{parts.get('port', 6379)}"
        user = f" as {parts['username']}" if parts.get("username") else ""
        return cls(url, setting, f"{place}/{parts.get('db', 0)}{user}", parts.get("password") or "")

    def options(self, seconds: float) -> dict[str, Any]:
        """For a client, blocking or not: one more try at a connection that broke, and no patience."""
        return {
            "socket_timeout": seconds,
            "socket_connect_timeout": seconds,
            "max_connections": MOST_CONNECTIONS,
            "client_name": "soma",
            "protocol": 2,
        }

    def client(self, seconds: float = CALL_SECONDS) -> redis.Redis:
        """A client with a pool of its own; it connects when it is used, and is the caller's to close."""
        retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
        return redis.Redis.from_url(self.url, retry=retry, **self.options(seconds))

    def check(self) -> str:
        """The server's version. Raises `InvalidInput` or `Unavailable`, which name the setting and the host."""
        with closing(self.client(START_SECONDS)) as client:
            try:
                client.set(f"{PREFIX}probe", b"", px=1_000)
                version = str(client.info("server").get("redis_version", ""))
            except redis.RedisError as error:
                raise self._starting(error) from error
        found = re.match(r"(\d+)\.(\d+)", version)
        if found is None or (int(found[1]), int(found[2])) < OLDEST:
            raise InvalidInput(
                f"{self.setting}: the Redis server at {self.shown} has the version {version or 'unknown'}, and Soma "
                f"needs {OLDEST[0]}.{OLDEST[1]} or newer",
                fields=(self.setting,),
            )
        return version

    def said(self, error: Exception) -> str:
        """What the driver said, on one line and without the password."""
        text = " ".join(str(error).split()) or type(error).__name__
        for secret in {self.password, quote(self.password, safe="")} - {""}:
            text = text.replace(secret, "***")
        return text

    def _starting(self, error: redis.RedisError) -> SomaError:
        """Why it cannot be used, and what to do."""
        said = self.said(error)
        message = f"{self.setting}: Redis at {self.shown} cannot be used: {said}"
        if isinstance(error, redis.AuthenticationError):
            return InvalidInput(f"{message}: check user and password", fields=(self.setting,))
        if isinstance(error, redis.exceptions.NoPermissionError):
            todo = f"let the user read and write keys that begin with {PREFIX}, and run INFO and EVAL"
            return InvalidInput(f"{message}: {todo}", fields=(self.setting,))
        if isinstance(error, redis.ReadOnlyError):
            return InvalidInput(f"{message}: name the primary, not a replica", fields=(self.setting,))
        for word, todo in REFUSED.items():
            if word in said.lower():
                return InvalidInput(f"{message}: {todo}", fields=(self.setting,))
        with_tls = " with TLS" if self.url.startswith("rediss") else ""
        todo = f"is Redis running there{with_tls}, and reachable from here?"
        return Unavailable(f"{message}: {todo}", fields=(self.setting,), retry_after=2)
