"""The cache that all processes share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import redis

from soma_core.adapters.redis.address import PREFIX, Address
from soma_core.adapters.redis.breaker import Breaker

T = TypeVar("T")

DROPPED_SECONDS = 600
SCANNED = 1_000
"""Keys looked at in one step, whoever they belong to."""
DROPPED = b"-"
KEPT = b"+"
PUT = """
for i, key in ipairs(KEYS) do
  if redis.call('GETRANGE', key, 0, 0) ~= '-' then redis.call('SET', key, ARGV[i + 1], 'PX', ARGV[1]) end
end
"""


class RedisCache:
    """`Cache` in Redis, under keys that begin with ``soma:1:`` and the id of the store.

    A server that fails or hangs is left alone for five seconds; what was to be had from it is missing then.
    """

    def __init__(self, address: Address, store_id: str) -> None:
        self._address = address
        self._prefix = f"{PREFIX}{store_id}:"
        self._client = address.client()
        self._put = self._client.register_script(PUT)
        self._breaker = Breaker(f"{address.setting}: Redis at {address.shown}")

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        found: list[Any] = self._tried(lambda: self._client.mget(self._names(keys)), []) if keys else []
        return [_kept(value) for value in found] or [None] * len(keys)

    def put(self, entries: Mapping[str, bytes], seconds: float) -> None:
        if entries:
            values: list[int | bytes] = [math.ceil(seconds * 1_000), *(KEPT + body for body in entries.values())]
            self._tried(lambda: self._put(self._names(list(entries)), values), None)

    def drop(self, keys: Sequence[str]) -> bool:
        def run() -> bool:
            with self._client.pipeline(transaction=False) as pipe:
                for name in self._names(keys):
                    pipe.set(name, DROPPED, ex=DROPPED_SECONDS)
                pipe.execute()
            return True

        return not keys or self._tried(run, False)

    def entries(self, beginning: str) -> Iterator[tuple[str, bytes]]:
        pattern = re.sub(r"([\\*?\[\]])", r"\\\1", self._prefix + beginning) + "*"
        place = 0
        while True:
            answer = self._scanned(place, pattern)
            if answer is None:
                return
            place, names = answer
            keys = [name.decode().removeprefix(self._prefix) for name in names]
            for key, body in zip(keys, self.get(keys), strict=True):
                if body is not None:
                    yield key, body
            if place == 0:
                return

    def problem(self) -> str | None:
        reason = self._breaker.problem
        return f"cache: Redis at {self._address.shown} is not used: {reason}" if reason else None

    def close(self) -> None:
        self._client.close()

    def _names(self, keys: Sequence[str]) -> list[str]:
        return [self._prefix + key for key in keys]

    def _scanned(self, place: int, pattern: str) -> tuple[int, list[bytes]] | None:
        """Where to go on, and some keys; None when the server did not answer."""

        def scan() -> tuple[int, list[bytes]] | None:
            answer: Any = self._client.scan(place, match=pattern, count=SCANNED)
            return int(answer[0]), list(answer[1])

        return self._tried(scan, None)

    def _tried(self, ask: Callable[[], T], otherwise: T) -> T:
        if not self._breaker.admits():
            return otherwise
        try:
            answer = ask()
        except (redis.RedisError, OSError) as error:
            self._breaker.failed(self._address.said(error))
            return otherwise
        self._breaker.worked()
        return answer


def _kept(value: bytes | None) -> bytes | None:
    return value[1:] if value and value[:1] == KEPT else None
