"""What is counted while the engine works."""

from __future__ import annotations

from typing import Protocol


class Telemetry(Protocol):
    """Takes numbers; safe to call from many threads, quick, raises nothing."""

    def cache_asked(self, what: str, hits: int, misses: int) -> None:
        """A cache of `what` (`bodies`, `query_vectors`) was asked for so many and had, or lacked, so many."""
        ...


class NoTelemetry:
    """For an engine that nobody watches."""

    def cache_asked(self, what: str, hits: int, misses: int) -> None:
        """Nothing is counted."""
