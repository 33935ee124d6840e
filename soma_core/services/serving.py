"""A generation of the index with all that stands on it, and which of them serves."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from soma_core.domain.errors import InvalidInput, SomaError
from soma_core.domain.events import Event
from soma_core.ports.builds import Built
from soma_core.ports.clock import Clock
from soma_core.ports.log import EventLog
from soma_core.ports.outbox import Outbox
from soma_core.ports.records import RecordStore
from soma_core.ports.reranker import Reranker
from soma_core.ports.turn import Turn
from soma_core.services.caching import Bodies
from soma_core.services.forget import Forgetting
from soma_core.services.indexing import Indexing
from soma_core.services.languages import Languages
from soma_core.services.learned import Learned
from soma_core.services.progress import IndexState, Report
from soma_core.services.recall import Recalling
from soma_core.services.store import Storing
from soma_core.services.tracking import Tracking
from soma_core.services.writing import IndexWriting, Interrupted

T = TypeVar("T")


class Serving:
    """A generation: its index, its models, and the use cases that read and write them."""

    def __init__(
        self,
        records: RecordStore,
        events: EventLog,
        built: Built,
        clock: Clock,
        has_room: Callable[[], bool],
        bodies: Bodies,
        turn: Turn | None,
        reranker: Reranker | None,
        outbox: Outbox | None,
        *,
        is_shared: bool,
        is_new: bool,
    ) -> None:
        """`is_new`: it is being built, so that what it lacks was not lost. With an outbox workers elsewhere index."""
        index, embedder, learned = built.index, built.trained.embedder, Learned(built.trained.sparse)
        writing = IndexWriting(records, index, embedder, learned=learned, has_room=has_room)
        self.built = built
        self.indexing = Indexing(
            records,
            events,
            index,
            writing,
            has_room=has_room,
            turn=turn,
            is_shared=is_shared,
            is_new=is_new,
            by_itself=not outbox,
        )
        self.tracking: Tracking | None = None
        if outbox:
            number = built.generation.number
            self.tracking = Tracking(
                records, events, outbox, index, writing, generation=number, clock=clock, has_room=has_room
            )
        self.state: IndexState = self.tracking or self.indexing
        self.recalling = Recalling(records, index, embedder, self.state, clock, learned, bodies, reranker)
        self.storing = Storing(records, self.state, self.recalling)
        self.forgetting = Forgetting(records, self.state, bodies)
        knows, stems = built.trained.languages, built.generation.language
        self.languages = Languages(records, events, model=embedder.model_id, knows=knows, stems=stems)

    def follow(self, namespace: str, report: Report | None) -> int:
        """Bring in all that was recorded, unless workers elsewhere do; see `Indexing.follow`."""
        return 0 if self.tracking else self.indexing.follow(namespace, report)

    def apply(self, events: Sequence[Event]) -> None:
        """See `Tracking.apply`. Raises `InvalidInput` where this process follows the records by itself."""
        if self.tracking is None:
            raise InvalidInput("this process follows the records by itself: workers get no events without Kafka")
        self.tracking.apply(events)

    def close(self) -> None:
        """Flush the index as far as it was written and let go of it."""
        for name in self.indexing.behind():
            try:
                self.indexing.flush(name, idle=True)
            except SomaError:
                continue  # the position stays behind, the next start replays
        self.built.index.close()


class Current:
    """The generation that serves. A call uses one from its beginning to its end."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._users = 0
        self._changed = threading.Condition()
        self._leaving: dict[Serving, int] = {}
        """Generations that were switched from, and how many calls use them still."""

    @property
    def serving(self) -> Serving:
        return self._serving

    @contextmanager
    def using(self) -> Iterator[Serving]:
        """Hold the generation that serves now; a switch closes it only afterwards."""
        with self._changed:
            serving = self._serving
            self._users += 1
        try:
            yield serving
        finally:
            with self._changed:
                if serving is self._serving:
                    self._users -= 1
                else:
                    self._leaving[serving] -= 1
                    self._changed.notify_all()

    def through(self, work: Callable[[Serving], T]) -> T:
        """Do long work on the generation that serves; again when another one does meanwhile."""
        while True:
            try:
                with self.using() as serving:
                    return work(serving)
            except Interrupted:
                if serving is self.serving:
                    raise

    def switch(self, new: Serving) -> None:
        """Let `new` serve from now on; wait until nobody uses the old one, and close that."""
        new.indexing.begin_serving()
        with self._changed:
            old, self._serving = self._serving, new
            self._leaving[old], self._users = self._users, 0
        old.indexing.stop()
        with self._changed:
            self._changed.wait_for(lambda: not self._leaving[old])
            del self._leaving[old]
        for name in new.indexing.namespaces():
            new.state.changed(name)  # the calls that used the old one told only that
        old.close()
