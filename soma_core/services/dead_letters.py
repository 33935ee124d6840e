"""Messages that were given up: kept with the reason, to be looked at, sent again or dropped."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from soma_core.domain.errors import NotFound, SomaError
from soma_core.domain.messages import (
    BadEvent,
    DeadLetter,
    Reason,
    decode_letter,
    encode_kept,
    encode_letter,
    salvage,
)
from soma_core.domain.validation import invalid
from soma_core.ports.clock import Clock, system_clock
from soma_core.ports.stream import EventStream, Message, Topic

log = logging.getLogger(__name__)


class DeadLetters:
    """The topic `memory.dead_letters`: the last word under a letter's id counts, and none drops it."""

    def __init__(self, stream: EventStream, clock: Clock = system_clock) -> None:
        self._stream = stream
        self._clock = clock

    def letter(
        self, place: str, value: bytes | None, component: str, reason: Reason, error: Exception, attempts: int
    ) -> DeadLetter:
        """What is kept of a message that cannot be handled; `place` is where it stood.

        Of the error only its kind is kept, as what it says may hold text of a memory; the log has all of it.
        """
        kind = error.code if isinstance(error, SomaError) else type(error).__name__
        told = str(error) if isinstance(error, BadEvent) else kind
        return DeadLetter(place, component, reason, told, attempts, self._clock(), salvage(value))

    def keep(self, letters: Sequence[DeadLetter]) -> None:
        """Keep them; for good when this returns. Raises `Unavailable`."""
        messages = [Message(letter.id, encode_letter(letter)) for letter in letters]
        self._stream.publish(Topic.DEAD_LETTERS, messages)

    def list(self) -> Sequence[DeadLetter]:
        """Every one that was neither sent again nor dropped, the oldest first. Raises `Unavailable`."""
        found: dict[str, DeadLetter] = {}
        for message in self._stream.read(Topic.DEAD_LETTERS):
            found.pop(message.key, None)
            if message.value is not None:
                try:
                    found[message.key] = decode_letter(message.value)
                except BadEvent as error:
                    log.warning("the dead letter %r is passed over: it %s", message.key, error)
        return sorted(found.values(), key=lambda letter: letter.time)

    def replay(self, ids: Iterable[str]) -> Sequence[DeadLetter]:
        """Send their events again, then drop them. Raises `NotFound`, `InvalidInput` for one that holds no event."""
        letters = self.named(ids)
        for letter in letters:
            if letter.event is None:
                raise invalid("ids", f"{letter.id} holds no event that could be sent again: drop it")
        events = [
            Message(str(each.event.get("id", each.id)), encode_kept(each.event)) for each in letters if each.event
        ]
        self._stream.publish(Topic.EVENTS, events)
        self._forget(letters)
        return letters

    def drop(self, ids: Iterable[str]) -> Sequence[DeadLetter]:
        """Forget them. Raises `NotFound`."""
        letters = self.named(ids)
        self._forget(letters)
        return letters

    def named(self, ids: Iterable[str]) -> Sequence[DeadLetter]:
        """Those with these ids. Raises `NotFound`."""
        there = {letter.id: letter for letter in self.list()}
        wanted = list(dict.fromkeys(ids))
        if unknown := [id for id in wanted if id not in there]:
            raise NotFound(f"ids: there is no dead letter {', '.join(unknown)}", fields=("ids",))
        return [there[id] for id in wanted]

    def _forget(self, letters: Iterable[DeadLetter]) -> None:
        self._stream.publish(Topic.DEAD_LETTERS, [Message(letter.id, None) for letter in letters])
