"""Token buckets that all processes share."""

from __future__ import annotations

import hashlib
from typing import cast

import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from soma_core.adapters.redis.address import CALL_SECONDS, PREFIX, Address
from soma_core.adapters.redis.breaker import Breaker
from soma_core.domain.errors import Unavailable

TAKE = """
local limit, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local held = redis.call('HMGET', KEYS[1], 'tokens', 'since')
local gone = math.max(0, now - (tonumber(held[2]) or now))
local tokens = math.min(limit, (tonumber(held[1]) or limit) + gone * limit / window)
local wait = 0
if tokens >= 1 - 1e-9 then tokens = tokens - 1 else wait = (1 - tokens) * window / limit end
redis.call('HSET', KEYS[1], 'tokens', string.format('%.9f', tokens), 'since', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(window * 1000))
return string.format('%.6f', wait)
"""


class RedisRateLimiter:
    """`RateLimiter` in Redis, on the server's clock. Raises `Unavailable` at once for five seconds after a failure."""

    def __init__(self, address: Address, store_id: str, limit: int, window: float) -> None:
        self.limit = limit
        self.window = window
        self._address = address
        self._prefix = f"{PREFIX}{store_id}:limit:"
        retry = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
        options = address.options(CALL_SECONDS)
        self._client = redis.asyncio.Redis.from_url(address.url, retry=retry, **options)
        self._take = self._client.register_script(TAKE)
        self._breaker = Breaker(f"{address.setting}: Redis at {address.shown}, for rate limits")

    async def take(self, name: str) -> float:
        if not self._breaker.admits():
            raise Unavailable(f"Redis at {self._address.shown} is not used: {self._breaker.problem}")
        try:
            wait = cast("bytes", await self._take(self._key(name), [self.limit, self.window]))
        except (redis.RedisError, OSError) as error:
            said = self._address.said(error)
            self._breaker.failed(said)
            raise Unavailable(f"Redis at {self._address.shown} does not answer: {said}") from error
        self._breaker.worked()
        return float(wait)

    async def close(self) -> None:
        await self._client.aclose()

    def _key(self, name: str) -> list[str]:
        """Of fixed length; another limit or window makes another bucket."""
        told = f"{self.limit}\0{self.window}\0{name}".encode("utf-8", "surrogatepass")
        return [self._prefix + hashlib.sha256(told).hexdigest()[:32]]
