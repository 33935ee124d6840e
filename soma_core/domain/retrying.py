"""When a server that could not answer is asked again."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

FIRST_PAUSE = 0.25
"""Seconds before the second attempt; each later pause is twice as long."""
MAX_PAUSE = 30.0
JITTER = 0.5
"""The share of a pause that is left to chance, so that callers do not come back together."""


def pauses() -> Iterator[float]:
    """Seconds before each further attempt, for ever."""
    pause = FIRST_PAUSE
    while True:
        yield pause * (1 - JITTER * random.random())
        pause = min(2 * pause, MAX_PAUSE)


def retry_after(value: str | None) -> float | None:
    """The seconds that a `Retry-After` header asks for, by a number or a date; None for none or nonsense."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
