"""Rate limits that hold although what counts for all is away."""

from __future__ import annotations

from soma_core.domain.errors import Unavailable
from soma_core.ports.limits import RateLimiter


class DependableLimiter:
    """A `RateLimiter` that asks the shared one, and while that is away one of this process."""

    def __init__(self, shared: RateLimiter, own: RateLimiter) -> None:
        self._shared = shared
        self._own = own

    @property
    def limit(self) -> int:
        """The shared one's."""
        return self._shared.limit

    @property
    def window(self) -> float:
        """The shared one's."""
        return self._shared.window

    async def take(self, name: str) -> float:
        """See `RateLimiter.take`; never raises."""
        try:
            return await self._shared.take(name)
        except Unavailable:
            return await self._own.take(name)

    async def close(self) -> None:
        """Close both."""
        await self._shared.close()
        await self._own.close()
