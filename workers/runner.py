"""Runs a handler behind a topic: poll, handle, commit; retry, and give up what cannot be handled."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event as Flag
from typing import TypeAlias, TypeVar

from soma_core.domain.errors import ModelMismatch, ModelMissing, Retryable, SomaError, StoreCorrupt
from soma_core.domain.events import Event
from soma_core.domain.messages import BadEvent, Reason, decode_event
from soma_core.ports.stream import Consumer, EventStream, Received, Topic, group_of
from soma_core.services.dead_letters import DeadLetters
from workers.metrics import WorkerMetrics

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
LAG_SECONDS = 2.0
UNASKED = 3
"""A place in the group that so often could not be asked for its lag is given up for a new one."""
WIDESPREAD = (Retryable, ModelMissing, ModelMismatch, StoreCorrupt)
"""What no event is to blame for: it is waited for, as long as it takes."""

Handler: TypeAlias = Callable[[Sequence[Event]], None]
"""Handles a batch; must not mind events that come again. Raises one of `WIDESPREAD` when it could handle none."""
Item: TypeAlias = tuple[Received, Event]
T = TypeVar("T")


class Stopped(Exception):
    """Told to stop while a batch cannot be handled: it is not committed, and comes again."""


class Wedged(Exception):
    """The connection to the log is there and of no use: after a broker was killed, a driver may never read on."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long something is tried, in seconds."""

    batch: int = 512
    """Events handed over at once."""
    attempts: int = 5
    """How often one event is tried before it is given up."""
    first: float = 0.1
    longest: float = 10.0

    def pause(self, attempt: int) -> float:
        """How long to wait after so many failures."""
        return float(min(self.longest, self.first * 2 ** min(attempt - 1, 30)))


class Runner:
    """A member of a group, from `run` until `stop` is set; then the batch at work is finished and committed.

    An event that fails is found by halving its batch, tried again, and given up with the reason; the others go on. A
    failure that no event is to blame for is waited for.
    """

    def __init__(
        self,
        component: str,
        stream: EventStream,
        handle: Handler,
        metrics: WorkerMetrics,
        stop: Flag,
        patience: Patience | None = None,
    ) -> None:
        self._component = component
        self._stream = stream
        self._handle = handle
        self._letters = DeadLetters(stream)
        self._metrics = metrics
        self._stop = stop
        self._patience = patience or Patience()
        self._lag_due = 0.0
        self._unasked = 0

    def run(self) -> None:
        """Work until told to stop."""
        while not self._stop.is_set():
            try:
                with self._stream.consume(Topic.EVENTS, group_of(self._component)) as consumer:
                    self._follow(consumer)
            except Stopped:
                return
            except Exception as error:
                self._complain(error)
                self._stop.wait(self._patience.longest)

    def _follow(self, consumer: Consumer) -> None:
        while not self._stop.is_set():
            received = self._persist(consumer, lambda: consumer.poll(self._patience.batch, POLL_SECONDS))
            if received:
                self._work_off(consumer, received)
            self._measure(consumer)

    def _work_off(self, consumer: Consumer, received: Sequence[Received]) -> None:
        began = time.monotonic()
        self._metrics.consumed(received[0].topic, len(received))
        self._handle_all(consumer, self._decoded(consumer, received))
        self._persist(consumer, consumer.commit)
        self._metrics.took(self._component, time.monotonic() - began)

    def _decoded(self, consumer: Consumer, received: Sequence[Received]) -> list[Item]:
        """The events among the messages; what is none is given up."""
        found: list[Item] = []
        for message in received:
            try:
                found.append((message, decode_event(message.value)))
            except BadEvent as error:
                self._metrics.failed(self._component)
                self._give_up(consumer, message, error.reason, error, 1)
        return found

    def _handle_all(self, consumer: Consumer, items: Sequence[Item]) -> None:
        """Handle them together, else the halves of them, down to the one that fails."""
        if not items:
            return
        if len(items) == 1:
            self._handle_one(consumer, *items[0])
        elif self._tried(consumer, items) is not None:
            middle = len(items) // 2
            self._handle_all(consumer, items[:middle])
            self._handle_all(consumer, items[middle:])

    def _handle_one(self, consumer: Consumer, message: Received, event: Event) -> None:
        for attempt in range(1, self._patience.attempts + 1):
            error = self._tried(consumer, [(message, event)])
            if error is None:
                return
            if attempt < self._patience.attempts:
                self._rest(consumer, attempt)
        self._give_up(consumer, message, "failed", error or RuntimeError(), self._patience.attempts)

    def _tried(self, consumer: Consumer, items: Sequence[Item]) -> Exception | None:
        """Handle them; what went wrong, if these events may be to blame for it."""
        try:
            self._persist(consumer, lambda: self._handle([event for _, event in items]))
        except Stopped:
            raise
        except Exception as error:
            self._metrics.failed(self._component)
            log.warning("%s: %d events failed: %s", self._component, len(items), _kind(error), exc_info=error)
            return error
        self._metrics.succeeded(self._component, len(items))
        return None

    def _give_up(self, consumer: Consumer, message: Received, reason: Reason, error: Exception, attempts: int) -> None:
        place = f"{message.topic}-{message.partition}-{message.position}"
        letter = self._letters.letter(place, message.value, self._component, reason, error, attempts)
        self._persist(consumer, lambda: self._letters.keep([letter]))
        self._metrics.gave_up(self._component, reason)
        log.error("%s gave up %s after %d attempts: %s", self._component, place, attempts, _kind(error))

    def _persist(self, consumer: Consumer, work: Callable[[], T]) -> T:
        """Do it, again and again while the whole system is to blame. Raises `Stopped`."""
        attempt = 0
        while True:
            try:
                return work()
            except WIDESPREAD as error:
                attempt += 1
                self._complain(error)
            self._rest(consumer, attempt)

    def _rest(self, consumer: Consumer, attempt: int) -> None:
        """Wait as long as so many failures ask for. Raises `Stopped`."""
        until = time.monotonic() + self._patience.pause(attempt)
        while (left := until - time.monotonic()) > 0:
            if self._stop.is_set():
                raise Stopped
            try:
                consumer.rest(min(left, POLL_SECONDS))
            except Retryable:
                self._stop.wait(min(left, POLL_SECONDS))

    def _measure(self, consumer: Consumer) -> None:
        """Look at the lag now and then; a broker that does not say is asked again later. Raises `Wedged`."""
        if time.monotonic() < self._lag_due:
            return
        self._lag_due = time.monotonic() + LAG_SECONDS
        try:
            self._metrics.set_lag(Topic.EVENTS, consumer.lag())
            self._unasked = 0
        except Retryable as error:
            log.warning("%s: %s", self._component, error.message)
            self._unasked += 1
            if self._unasked >= UNASKED:
                raise Wedged from error

    def _complain(self, error: Exception) -> None:
        self._metrics.failed(self._component)
        expected = isinstance(error, SomaError)
        log.warning("%s: %s", self._component, _kind(error), exc_info=None if expected else error)


def _kind(error: Exception) -> str:
    return str(error) if isinstance(error, SomaError | BadEvent) else type(error).__name__
