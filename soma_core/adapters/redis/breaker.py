"""Leaving a server alone that failed."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

REST_SECONDS = 5.0


class Breaker:
    """Says whether to ask a server: after a failure not for some seconds, then one caller tries. Safe for threads."""

    def __init__(self, name: str, rest: float = REST_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._rest = rest
        self._clock = clock
        self._lock = threading.Lock()
        self._until = 0.0
        self._problem: str | None = None

    @property
    def problem(self) -> str | None:
        """What went wrong last, while nothing went well since."""
        return self._problem

    def admits(self) -> bool:
        """Whether to try; who tries after a rest keeps the others away meanwhile."""
        if self._problem is None:
            return True
        with self._lock:
            if self._clock() < self._until:
                return False
            self._until = self._clock() + self._rest
            return True

    def failed(self, reason: str) -> None:
        """It did not answer as it should."""
        with self._lock:
            first, self._problem = self._problem is None, reason
            self._until = self._clock() + self._rest
        if first:
            log.warning("%s: %s; it is done without", self._name, reason)

    def worked(self) -> None:
        """It answered."""
        if self._problem is not None:
            with self._lock:
                self._problem = None
            log.info("%s answers again", self._name)
