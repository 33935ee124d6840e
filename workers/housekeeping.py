"""What has to happen now and then: request ids expire, purged text is erased."""

from __future__ import annotations

import logging
from threading import Event

from soma_core.domain.errors import SomaError
from soma_core.engine import Soma

log = logging.getLogger(__name__)

FIRST_SECONDS = 10.0
EVERY_SECONDS = 600.0


class Housekeeping:
    """Keeps house a little after the start, then every ten minutes."""

    def __init__(self, soma: Soma, stop: Event) -> None:
        self._soma = soma
        self._stop = stop

    def run(self) -> None:
        pause = FIRST_SECONDS
        while not self._stop.wait(pause):
            pause = EVERY_SECONDS
            try:
                self._soma.housekeep()
            except SomaError as error:
                log.warning("housekeeping: %s", error.message)
