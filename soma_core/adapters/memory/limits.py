"""Token buckets in this process."""

from __future__ import annotations

import time
from collections.abc import Callable

MOST_BUCKETS = 65_536
"""Names of which the rate is known at once; the one that was away longest is dropped above that."""


class MemoryRateLimiter:
    """`RateLimiter` for one process: every process counts for itself."""

    def __init__(self, limit: int, window: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self.window = window
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}
        """Tokens and when they were counted; the one that was away longest is first."""

    async def take(self, name: str) -> float:
        now = self._clock()
        rate = self.limit / self.window
        tokens, since = self._buckets.pop(name, (float(self.limit), now))
        tokens = min(float(self.limit), tokens + (now - since) * rate)
        taken = tokens >= 1 - 1e-9  # who waited as told is let in, whatever the rounding
        self._buckets[name] = (tokens - taken, now)
        self._drop_full(now)
        return 0.0 if taken else (1 - tokens) / rate

    async def close(self) -> None:
        self._buckets.clear()

    def _drop_full(self, now: float) -> None:
        """A bucket that was left alone for a window is full: the same as none."""
        while len(self._buckets) > 1:
            first = next(iter(self._buckets))
            if self._buckets[first][1] + self.window > now and len(self._buckets) <= MOST_BUCKETS:
                return
            del self._buckets[first]
