"""Sends what is recorded to those who follow it elsewhere: from the outbox to the stream."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event as Flag

from soma_core.domain.errors import SomaError
from soma_core.domain.events import Event
from soma_core.domain.messages import BadEvent, DeadLetter, check_event, encode_event
from soma_core.ports.outbox import Outbox
from soma_core.ports.stream import EventStream, Message, Topic
from soma_core.services.dead_letters import DeadLetters
from workers.metrics import WorkerMetrics

log = logging.getLogger(__name__)

COMPONENT = "outbox_relay"
BATCH = 20_000
PORTION = 5_000
"""Events sent together. They are marked while the next are sent: each takes as long as the other."""
IDLE_SECONDS = 0.025
"""Between two looks at an empty outbox: part of how long a memory waits for its vector."""
STANDBY_SECONDS = 1.0
"""Until a relay that is not the one looks again whether it is."""
RETRY_SECONDS = 2.0


class OutboxRelay:
    """The one relay of a store, or one that stands by.

    The events of a memory are sent in the order of their versions. One may be sent again, also after later ones: a
    relay that lost its place still sends what it has in hand. Nothing minds, as no indexer goes by what an event says.
    """

    def __init__(
        self, outbox: Outbox, stream: EventStream, metrics: WorkerMetrics, stop: Flag, *, check: bool = True
    ) -> None:
        """With `check` no event is sent that its schema does not allow; it is given up."""
        self._outbox = outbox
        self._stream = stream
        self._letters = DeadLetters(stream)
        self._metrics = metrics
        self._stop = stop
        self._check = check

    def run(self) -> None:
        """Work until told to stop; a failure is logged and tried again."""
        while not self._stop.is_set():
            try:
                with self._outbox.relaying() as mine:
                    while mine and not self._stop.is_set():
                        if not self.step():
                            self._stop.wait(IDLE_SECONDS)
                self._stop.wait(STANDBY_SECONDS)
            except SomaError as error:
                self._complain(error.message)
            except Exception:
                log.exception("the relay failed; it is tried again")
                self._complain("it failed")

    def step(self) -> int:
        """Send what is next; how many events that were."""
        events = self._outbox.unsent(BATCH)
        began = time.monotonic()
        with ThreadPoolExecutor(1, "soma-mark") as marking:
            marks = []
            for start in range(0, len(events), PORTION):
                portion = events[start : start + PORTION]
                self._send(portion)
                marks.append(marking.submit(self._mark, portion))
        for mark in marks:
            mark.result()
        if events:
            self._metrics.took(COMPONENT, time.monotonic() - began)
        return len(events)

    def _mark(self, events: Sequence[Event]) -> None:
        self._outbox.mark_sent(events)
        self._metrics.sent(len(events))

    def _send(self, events: Sequence[Event]) -> None:
        refused = self._refused(events) if self._check else {}
        if refused:
            self._letters.keep(list(refused.values()))
            for letter in refused.values():
                self._metrics.gave_up(COMPONENT, letter.reason)
                log.error("the relay gave up %s: %s", letter.id, letter.error)
        wanted = (event for event in events if event not in refused) if refused else events
        self._stream.publish(Topic.EVENTS, (Message(str(event.memory_id), encode_event(event)) for event in wanted))

    def _refused(self, events: Sequence[Event]) -> dict[Event, DeadLetter]:
        """Those that are not as their schema has them."""
        found: dict[Event, DeadLetter] = {}
        for event in events:
            try:
                check_event(event)
            except BadEvent as error:
                place = f"outbox-{event.memory_id}-{event.offset}"
                found[event] = self._letters.letter(place, encode_event(event), COMPONENT, error.reason, error, 1)
        return found

    def _complain(self, message: str) -> None:
        self._metrics.failed(COMPONENT)
        log.warning("%s: %s", COMPONENT, message)
        self._stop.wait(RETRY_SECONDS)
