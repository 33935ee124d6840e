"""Where indexers elsewhere write the index: what the outbox says of it, and what such an indexer does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from soma_core.domain.errors import ModelMissing, Retryable, Unavailable
from soma_core.domain.events import REMOVALS, Event
from soma_core.domain.memory import State
from soma_core.domain.receipts import Indexed
from soma_core.ports.clock import Clock
from soma_core.ports.index import VectorIndex
from soma_core.ports.log import EventLog
from soma_core.ports.outbox import Outbox
from soma_core.ports.records import RecordStore
from soma_core.services.progress import PENDING_LIMIT, Pending, Progress
from soma_core.services.writing import Embedded, IndexWriting

log = logging.getLogger(__name__)

EMBEDDED_AT_ONCE = 64
"""Events whose vectors are made and marked together."""
LONG = timedelta(minutes=1)
"""Who waits longer is a reason to look after the workers."""


class NotEmbedded(Exception):
    """Some of the events are about what cannot be embedded. Their words are in; the others are in altogether."""


class Tracking:
    """One generation of an index that is written by whoever gets the events: what it lacks stands in the outbox.

    There is no position to keep: an event is followed when it has left the outbox. Whether it has, is said for the
    generation that serves; who still has another before it brings in nothing and marks nothing.
    """

    def __init__(
        self,
        records: RecordStore,
        events: EventLog,
        outbox: Outbox,
        index: VectorIndex,
        writing: IndexWriting,
        *,
        generation: int,
        clock: Clock,
        has_room: Callable[[], bool],
    ) -> None:
        self._records = records
        self._events = events
        self._outbox = outbox
        self._index = index
        self._writing = writing
        self._generation = generation
        self._clock = clock
        self._has_room = has_room
        self._written = Progress()
        self._filled: set[str] = set()
        """Namespaces that are known to have points."""

    def apply(self, events: Sequence[Event]) -> None:
        """Bring in what these events, of any namespaces, are about, portion by portion; what they removed goes first.

        While a portion is written, the next one is embedded. What is in already is left alone. When this raises, some
        of it may be in, and the same events are to be given again: `Unavailable` also when another generation serves,
        `ModelMissing` when there is no model, `Interrupted` after a stop, `NotEmbedded` when it is their fault. Where
        the model is to blame, the words of all are in.
        """
        waiting = self._outbox.waiting(events)
        present = [event for event in dict.fromkeys(events) if event in waiting]
        portions = list(_portions(present))
        failed = 0
        with ThreadPoolExecutor(1, "soma-write") as writer:
            removed = [event for event in present if event.kind in REMOVALS and not waiting[event]]
            written = writer.submit(self._bring_words, removed)
            for number, (namespace, portion) in enumerate(portions):
                try:
                    embedded = self._writing.embed(namespace, portion)
                except (ModelMissing, Retryable):
                    self._bring_words([event for _, left in portions[number:] for event in left if not waiting[event]])
                    raise
                failed += written.result()
                written = writer.submit(self._bring_in, namespace, portion, embedded)
            failed += written.result()
        if failed:
            raise NotEmbedded(f"{failed} passages could not be embedded")

    def pending(self, namespace: str) -> Pending:
        listed = self._outbox.newest(namespace, PENDING_LIMIT)
        found = self._outbox.backlog(namespace)
        words = found.words
        if found.generation not in (None, self._generation):  # what came since is in another index
            listed, words = self._events.newest(namespace, 0, PENDING_LIMIT), self._events.lag(namespace, 0)
        ids = list(dict.fromkeys(event.memory_id for event in listed))
        more = max(0, words - len(listed)) if len(listed) == PENDING_LIMIT else 0
        return Pending(ids, more, found.vectors, self.epoch(namespace))

    def epoch(self, namespace: str) -> int:
        return len(self._index.rebuilt())

    def backlog(self, namespace: str) -> tuple[int, int]:
        found = self._outbox.backlog(namespace)
        return found.words, found.vectors

    def oldest(self, namespace: str) -> datetime | None:
        return self._outbox.backlog(namespace).oldest

    def usable(self, namespace: str) -> bool:
        return self._index.is_open(namespace) or self._has_room()

    def level(self, namespace: str) -> Indexed:
        words, vectors = self.backlog(namespace)
        return "none" if words else "lexical" if vectors else "full"

    def notices(self, namespace: str) -> list[str]:
        found = [*self._index.rebuilt(), *self._written.notices()]
        waiting = self._outbox.backlog(namespace)
        if waiting.oldest and (age := self._clock() - waiting.oldest) > LONG:
            minutes = age // timedelta(minutes=1)
            found.append(f"the oldest of what waits for the index waits {minutes} minutes: does a worker index?")
        if not waiting.vectors and self._is_empty(namespace):
            found.append(f"the index of {namespace!r} is empty, and nothing waits for it: run `soma reindex`")
        return found

    def changed(self, namespace: str) -> None:
        """The outbox tells."""

    def words_now(self, namespace: str) -> bool:
        return False

    def namespaces(self) -> list[str]:
        return list(self._events.ends())

    def is_lost(self) -> bool:
        """Whether the index has nothing of the first namespace of which it should have all."""
        for namespace in self._events.ends():
            if not self._outbox.backlog(namespace).vectors and self._records.counts(namespace).states[State.LIVE]:
                return self._is_empty(namespace)
        return False

    def _bring_words(self, events: Sequence[Event]) -> int:
        for namespace, some in _by_namespace(events):
            self._writing.write_words(namespace, some)
        self._marked(self._outbox.mark_words(events, self._generation))
        return 0

    def _bring_in(self, namespace: str, events: Sequence[Event], embedded: Embedded) -> int:
        """How many passages could not be embedded; the events go on waiting then."""
        written = self._writing.bring_in(namespace, embedded)
        if written.failed:
            self._marked(self._outbox.mark_words(events, self._generation))
        else:
            self._written.add(written)
            self._marked(self._outbox.mark_vectors(events, self._generation))
        return written.failed

    def _marked(self, is_marked: bool) -> None:
        if not is_marked:
            raise Unavailable("another generation of the index serves now: these events are to be brought into that")

    def _is_empty(self, namespace: str) -> bool:
        """Whether an index that should have points has none."""
        if namespace in self._filled or not self._records.counts(namespace).states[State.LIVE]:
            return False
        try:
            if next(iter(self._index.points(namespace)), None) is None:
                return True
        except Unavailable:
            return False
        self._filled.add(namespace)
        return False


def take_over(events: EventLog, index: VectorIndex, outbox: Outbox) -> int:
    """Put into the outbox what the index does not have of all that was recorded before; how many events that were."""
    adopted = 0
    for namespace, end in events.ends().items():
        if (after := index.checkpoint(namespace).vectors) < end:
            adopted += outbox.adopt(namespace, after)
    outbox.adopted()
    return adopted


def _portions(events: Iterable[Event]) -> Iterator[tuple[str, list[Event]]]:
    for namespace, some in _by_namespace(events):
        for start in range(0, len(some), EMBEDDED_AT_ONCE):
            yield namespace, some[start : start + EMBEDDED_AT_ONCE]


def _by_namespace(events: Iterable[Event]) -> Iterator[tuple[str, list[Event]]]:
    found: dict[str, list[Event]] = {}
    for event in events:
        found.setdefault(event.namespace, []).append(event)
    yield from found.items()
