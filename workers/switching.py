"""Noticing that another process let another generation of the index serve."""

from __future__ import annotations

import logging
from threading import Event

from soma_core.domain.errors import SomaError
from soma_core.engine import Soma

log = logging.getLogger(__name__)

EVERY_SECONDS = 5.0


class Switching:
    """Looks into the records every few seconds."""

    def __init__(self, soma: Soma, stop: Event) -> None:
        self._soma = soma
        self._stop = stop

    def run(self) -> None:
        """Work until told to stop; a failure is logged and tried again."""
        while not self._stop.wait(EVERY_SECONDS):
            try:
                self._soma.follow_switch()
            except SomaError as error:
                log.warning("looking for another generation of the index: %s", error.message)
            except Exception:
                log.exception("looking for another generation of the index failed; it is tried again")
