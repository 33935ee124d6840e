"""A cache in this process."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence

DROPPED_SECONDS = 600.0


class MemoryCache:
    """`Cache` for one process: at most `most` entries; the one that was not used for longest goes first."""

    def __init__(self, most: int = 1_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[float, bytes | None]] = OrderedDict()
        """Until when, and what; None for what was dropped."""

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        with self._lock:
            return [self._found(key) for key in keys]

    def put(self, entries: Mapping[str, bytes], seconds: float) -> None:
        with self._lock:
            for key, body in entries.items():
                until, held = self._kept.get(key, (0.0, None))
                if held is not None or until <= self._clock():
                    self._keep(key, seconds, body)

    def drop(self, keys: Sequence[str]) -> bool:
        with self._lock:
            for key in keys:
                self._keep(key, DROPPED_SECONDS, None)
        return True

    def entries(self, beginning: str) -> Iterator[tuple[str, bytes]]:
        with self._lock:
            keys = [key for key in self._kept if key.startswith(beginning)]
        for key, body in zip(keys, self.get(keys), strict=True):
            if body is not None:
                yield key, body

    def problem(self) -> str | None:
        return None

    def close(self) -> None:
        with self._lock:
            self._kept.clear()

    def _found(self, key: str) -> bytes | None:
        until, body = self._kept.get(key, (0.0, None))
        if body is None:
            return None
        if until <= self._clock():
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return body

    def _keep(self, key: str, seconds: float, body: bytes | None) -> None:
        self._kept[key] = self._clock() + seconds, body
        self._kept.move_to_end(key)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
