"""What every `RateLimiter` does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from soma_core.ports.limits import RateLimiter

T = TypeVar("T")
Make = Callable[[int, float], RateLimiter]
NAMES = ("write caller ada", "recall caller ada", "write address ada", "", "\N{FOX FACE} %s '\"", "x" * 10_000)


class RateLimiterContract:
    """Give the fixture `make`: a limiter of so many in so many seconds, the same buckets each time it is called."""

    def run(self, make: Make, limit: int, window: float, work: Callable[[RateLimiter], Awaitable[T]]) -> T:
        async def with_limiter() -> T:
            limiter = make(limit, window)
            try:
                return await work(limiter)
            finally:
                await limiter.close()

        return asyncio.run(with_limiter())

    def test_it_says_what_it_limits(self, make: Make) -> None:
        async def told(limiter: RateLimiter) -> tuple[int, float]:
            return limiter.limit, limiter.window

        assert self.run(make, 3, 60, told) == (3, 60)

    def test_a_name_gets_its_limit_and_then_the_seconds_to_wait(self, make: Make) -> None:
        async def waits(limiter: RateLimiter) -> list[float]:
            return [await limiter.take("ada") for _ in range(5)]

        *free, fourth, fifth = self.run(make, 3, 60, waits)
        assert free == [0, 0, 0]
        assert 15 < fifth <= fourth <= 20

    def test_who_waited_as_told_is_let_in(self, make: Make) -> None:
        async def waited(limiter: RateLimiter) -> list[float]:
            while not (wait := await limiter.take("ada")):
                pass
            await asyncio.sleep(wait)
            return [wait, await limiter.take("ada")]

        wait, then = self.run(make, 20, 0.5, waited)
        assert 0 < wait <= 0.025
        assert then == 0

    def test_names_have_buckets_of_their_own(self, make: Make) -> None:
        async def waits(limiter: RateLimiter) -> list[bool]:
            return [await limiter.take(name) > 0 for name in (*NAMES, *NAMES)]

        assert self.run(make, 1, 60, waits) == [False] * len(NAMES) + [True] * len(NAMES)

    def test_no_more_than_the_limit_get_in_at_once(self, make: Make) -> None:
        async def crowd(limiter: RateLimiter) -> int:
            waits = await asyncio.gather(*(limiter.take("ada") for _ in range(40)))
            return sum(not wait for wait in waits)

        assert self.run(make, 10, 3_600, crowd) == 10
