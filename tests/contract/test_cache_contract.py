"""The contracts of cache and rate limits, run by every adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from soma_core.adapters.memory.cache import MemoryCache
from soma_core.adapters.memory.limits import MemoryRateLimiter
from soma_core.adapters.redis.address import Address
from soma_core.adapters.redis.cache import RedisCache
from soma_core.adapters.redis.limits import RedisRateLimiter
from soma_core.ports.cache import Cache
from tests.contract.cache import CacheContract
from tests.contract.limits import Make, RateLimiterContract
from tests.support.redis_server import RedisServer


class _Made:
    @pytest.fixture
    def cache(self, make: Callable[[], Cache]) -> Iterator[Cache]:
        cache = make()
        yield cache
        cache.close()

    @pytest.fixture
    def another(self, make: Callable[[], Cache]) -> Iterator[Cache]:
        cache = make()
        yield cache
        cache.close()


class TestMemoryCache(_Made, CacheContract):
    @pytest.fixture
    def make(self) -> Callable[[], Cache]:
        return MemoryCache


class TestRedisCache(_Made, CacheContract):
    @pytest.fixture
    def make(self, redis_server: RedisServer) -> Callable[[], Cache]:
        return lambda: RedisCache(Address.parse(redis_server.url), uuid4().hex)


class TestMemoryRateLimiter(RateLimiterContract):
    @pytest.fixture
    def make(self) -> Make:
        return MemoryRateLimiter


class TestRedisRateLimiter(RateLimiterContract):
    @pytest.fixture
    def make(self, redis_server: RedisServer) -> Make:
        store = uuid4().hex
        return lambda limit, window: RedisRateLimiter(Address.parse(redis_server.url), store, limit, window)

    def test_processes_share_their_buckets_and_stores_do_not(self, make: Make, redis_server: RedisServer) -> None:
        async def spent(limiter: object) -> bool:
            other = RedisRateLimiter(Address.parse(redis_server.url), uuid4().hex, 1, 60)
            twin = make(1, 60)
            waits = [await each.take("ada") for each in (twin, twin, other)]
            await twin.close()
            await other.close()
            return [wait > 0 for wait in waits] == [False, True, False]

        assert self.run(make, 1, 60, spent)
        assert self.run(make, 1, 60, lambda limiter: limiter.take("ada")) > 0


def test_a_cache_in_this_process_lets_go_of_what_was_not_used_for_longest() -> None:
    cache = MemoryCache(most=3)
    for name in "abcad":
        cache.put({name: name.encode()}, 60)
    assert cache.get(["a", "b", "c", "d"]) == [b"a", None, b"c", b"d"]


def test_what_was_dropped_is_taken_again_after_ten_minutes() -> None:
    now = [0.0]
    cache = MemoryCache(clock=lambda: now[0])
    cache.drop(["a"])
    now[0] = 599
    cache.put({"a": b"late"}, 60)
    assert cache.get(["a"]) == [None]
    now[0] = 601
    cache.put({"a": b"new"}, 60)
    assert cache.get(["a"]) == [b"new"]


def test_in_redis_every_key_is_of_soma_and_has_an_end(redis_server: RedisServer) -> None:
    cache = RedisCache(Address.parse(redis_server.url), store := uuid4().hex)
    cache.put({"a": b"1"}, 60)
    cache.drop(["b"])
    client = redis_server.client()
    names = {name: client.pttl(name) for name in client.keys(f"*{store}*")}
    client.close()
    cache.close()
    assert set(names) == {f"soma:1:{store}:a".encode(), f"soma:1:{store}:b".encode()}
    assert 0 < names[f"soma:1:{store}:a".encode()] <= 60_000
    assert 0 < names[f"soma:1:{store}:b".encode()] <= 600_000
