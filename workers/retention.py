"""What has to happen now and then: request ids expire, purged text is erased."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event

from soma_core.domain.errors import SomaError

log = logging.getLogger(__name__)

COMPONENT = "retention"
FIRST_SECONDS = 10.0
EVERY_SECONDS = 600.0


class Retention:
    """Keeps house a little after the start, then every ten minutes."""

    def __init__(
        self,
        keep_house: Callable[[], None],
        stop: Event,
        *,
        done: Callable[[], None] = lambda: None,
        failed: Callable[[], None] = lambda: None,
    ) -> None:
        """`done` and `failed` are told how each run ended."""
        self._keep_house = keep_house
        self._stop = stop
        self._done = done
        self._failed = failed

    def run(self) -> None:
        """Work until told to stop; a failure is logged, and the next run comes."""
        pause = FIRST_SECONDS
        while not self._stop.wait(pause):
            pause = EVERY_SECONDS
            try:
                self._keep_house()
                self._done()
            except SomaError as error:
                self._failed()
                log.warning("retention: %s", error.message)
            except Exception:
                self._failed()
                log.exception("retention failed; it is tried again")
