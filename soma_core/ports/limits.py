"""How often a caller may ask."""

from __future__ import annotations

from typing import Protocol


class RateLimiter(Protocol):
    """A bucket of tokens for each name: `limit` at once, and `limit` more in every `window` seconds.

    Used from one event loop. A bucket that was left alone for a window is full, the same as none.
    """

    @property
    def limit(self) -> int:
        """How many tokens a bucket holds."""
        ...

    @property
    def window(self) -> float:
        """Seconds in which an empty bucket fills up."""
        ...

    async def take(self, name: str) -> float:
        """Take a token: 0, or the seconds until there is one. Raises `Unavailable` when that cannot be told."""
        ...

    async def close(self) -> None:
        """Let go of all connections."""
        ...
