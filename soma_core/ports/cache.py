"""What may be remembered for a while, and may be lost at any moment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol


class Cache(Protocol):
    """Bytes by key, for a time. Safe to call from many threads. It raises nothing.

    What is not there, what cannot be reached and what was lost look alike: None. So nothing may depend on it, and
    what decides, such as whether a memory is live, is never asked of it. Keys are of the caller's making; those of two
    stores do not meet.
    """

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """What is kept under each key."""
        ...

    def put(self, entries: Mapping[str, bytes], seconds: float) -> None:
        """Keep these for so long, in place of what is there; less long where room is short.

        A key that was dropped within the last ten minutes does not take anything: who puts late what it had read
        before the drop brings nothing back.
        """
        ...

    def drop(self, keys: Sequence[str]) -> bool:
        """Remove what is kept under these keys; True when it is gone, False when it may stay until its time is up."""
        ...

    def entries(self, beginning: str) -> Iterator[tuple[str, bytes]]:
        """What is kept under keys that begin so: for a comparison, as it looks at every key there is.

        It ends early when the cache goes away; then `problem` says so.
        """
        ...

    def problem(self) -> str | None:
        """What an operator should know; None when all is well."""
        ...

    def close(self) -> None:
        """Let go of all connections."""
        ...
