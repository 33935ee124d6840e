"""Building the index anew beside the one that serves, and going over to it when it is complete."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from soma_core.domain.errors import Conflict, Unavailable
from soma_core.domain.generations import Generation, Generations
from soma_core.ports.builds import Built, IndexBuilds, Models, Trained
from soma_core.ports.index import VectorIndex
from soma_core.ports.log import EventLog
from soma_core.ports.outbox import Outbox
from soma_core.ports.records import RecordStore
from soma_core.services.indexing import EMBED_BATCH, Indexing
from soma_core.services.progress import Report
from soma_core.services.serving import Current, Serving
from soma_core.services.tracking import take_over
from soma_core.services.writing import Interrupted

log = logging.getLogger(__name__)

NEAR = 128
"""With so few events left to follow, a build serves: what waits for its vectors is found by its words."""

BUSY_BATCH = 8
QUIET_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Reindexed:
    """A build that serves now."""

    events: int
    """Changes that it was made from."""
    generation: int
    model: str
    kept: list[int]
    """Earlier builds that other processes may still use."""


class Reindexing:
    """Makes generations. One at a time in a process; of several processes the first to switch has done it."""

    def __init__(
        self,
        records: RecordStore,
        events: EventLog,
        builds: IndexBuilds,
        models: Models,
        current: Current,
        opened: Callable[[Built, bool], Serving],
        last_call: Callable[[], float],
        outbox: Outbox | None = None,
    ) -> None:
        """`opened` makes what stands on a generation; `last_call`: when a caller last came, on the monotonic clock."""
        self._records = records
        self._events = events
        self._builds = builds
        self._models = models
        self._current = current
        self._opened = opened
        self._last_call = last_call
        self._outbox = outbox
        self._turn = threading.Lock()
        self._building: Serving | None = None
        self._stopping = False
        self._losses: tuple[VectorIndex | None, int] = (None, 0)
        """The index that was looked at last, and how often it had started empty by then."""
        self.notice: str | None = None
        """What an operator should know: another process serves from another generation."""

    def run(self, model: str | None, language: str | None, progress: Report) -> Reindexed:
        """Build a generation, or go on with one that is half done, and let it serve.

        None: the model and the language of this process. Raises `ModelMissing`, `Unavailable`, and `Conflict` when
        another process is at it.
        """
        with self._alone():
            building = self._plan(self._models.plan(model, language))
            self._sweep()
            new = self._open(building)
            try:
                events = self._fill(new.indexing, progress)
                if self._outbox:
                    self._outbox.begin(anew=True)
                self._change(lambda found: found.switched() if found.building == building else None)
            except Interrupted:
                new.close()
                raise Unavailable("this process is leaving: the next `soma reindex` goes on") from None
            except BaseException:
                new.close()
                raise
            finally:
                self._building = None
            try:
                if self._outbox:  # what others brought into the old one since it was followed waits for the new one
                    take_over(self._events, new.built.index, self._outbox)
            finally:
                self._current.switch(new)
            if not self._builds.shared:
                self._sweep()
            return Reindexed(events, building.number, building.model_id, list(self._found().retired))

    def follow(self) -> None:
        """Go over to the generation that serves, when another process has switched and the models are the same.

        Behind an outbox, what the index lost goes to those who index, and what a switch that was cut off left to do.
        """
        if not self._builds.shared or not self._turn.acquire(blocking=False):
            return
        try:
            found, mine = self._found(), self._current.serving.built
            serving = found.serving
            if serving.number == mine.generation.number:
                self.notice = None
                self._hand_out_lost(self._current.serving, is_rebuilt=found.building is not None)
            elif _models_of(serving) == _models_of(mine.generation):
                self._current.switch(self._opened(Built(serving, self._builds.open(serving), mine.trained), False))
                log.warning("generation %d of the index serves now", serving.number)
            else:
                self._current.serving.indexing.overtaken()
                self._say(serving, mine.generation)
        finally:
            self._turn.release()

    def _hand_out_lost(self, serving: Serving, *, is_rebuilt: bool) -> None:
        """What a rebuild leaves to do is its own to hand out while it `is_rebuilt`: it belongs to the new index."""
        if not self._outbox or not serving.tracking:
            return
        index = serving.built.index
        looked_at, before = self._losses
        losses, is_first = len(index.rebuilt()), looked_at is not index
        lost = losses > (0 if is_first else before) or (is_first and serving.tracking.is_lost())
        if (lost or not is_rebuilt) and self._outbox.begin(anew=lost):
            adopted = take_over(self._events, index, self._outbox)
            log.warning("%d changes go to those that index again", adopted)
        self._losses = index, losses  # not before: a failure on the way is tried again

    def sweep(self) -> None:
        """Delete what serves no more, unless other processes may use it."""
        if not self._builds.shared and self._turn.acquire(blocking=False):
            try:
                self._sweep()
            finally:
                self._turn.release()

    def drop(self) -> list[int]:
        """Delete every generation that does not serve, a half done one too; their numbers."""
        with self._alone():
            found = self._change(lambda found: found.given_up())
            self._sweep()
            return list(found.retired)

    def stop(self) -> None:
        """End a build at work; the next goes on with it."""
        self._stopping = True
        if building := self._building:
            building.indexing.stop()
        with self._turn:
            pass

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if self._stopping or not self._turn.acquire(blocking=False):
            raise Conflict("an index is being built already: wait until `soma reindex` is done")
        try:
            yield
        finally:
            self._turn.release()

    def _plan(self, wanted: Generation) -> Generation:
        found = self._found()
        if found.building and found.building.is_like(wanted):
            return found.building
        planned = found.planning(wanted)
        if planned.building is None or not self._records.change_generations(found, planned):
            raise Conflict("another process builds the index anew: wait until that is done")
        self._builds.delete(planned.building.number)  # what a restored copy of the records knows nothing of
        return planned.building

    def _open(self, building: Generation) -> Serving:
        """The build, with its model loaded: that of the serving one, if it is the same."""
        trained = self._trained(building)
        trained.embedder.load()
        if trained.sparse:
            trained.sparse.load()
        new = self._opened(Built(building, self._builds.open(building), trained), True)
        self._building = new
        if self._stopping:
            new.indexing.stop()
        return new

    def _trained(self, building: Generation) -> Trained:
        mine = self._current.serving.built
        if _models_of(building) == _models_of(mine.generation):
            return mine.trained
        found = self._models.trained(building)
        if found is None:
            raise AssertionError("a model that was planned with is known")
        if mine.trained.embedder.ready:
            log.warning(
                "until the new index serves, two models are loaded: %s, and beside it %s, about %d MB more",
                mine.generation.model_id,
                building.model_id,
                found.megabytes,
            )
        return found

    def _fill(self, indexing: Indexing, progress: Report) -> int:
        """Follow all events until next to none is left; how many there are."""
        while True:
            ends = self._events.ends()
            left = {name: max(indexing.backlog(name)) for name in ends}
            followed = sum(self._follow(indexing, name, left, progress) for name in ends)
            came = {name: self._events.lag(name, end) for name, end in ends.items()}
            left = {name: max(indexing.backlog(name)) for name in ends}
            if all(left[name] <= came[name] for name in ends):
                if sum(left.values()) <= NEAR:
                    return self._length()
            elif not followed:
                raise Unavailable("the new index cannot be written; the old one still serves: see `soma stats`")

    def _follow(self, indexing: Indexing, name: str, left: dict[str, int], progress: Report) -> int:
        """Bring in all events of a namespace; how many that were."""
        length = self._length()

        def report(done: int, total: int) -> None:
            left[name] = total - done
            progress(max(0, length - sum(left.values())), length)

        return indexing.follow(name, report, self._batch)

    def _batch(self) -> int:
        """How many events to embed at a time: few while callers are served."""
        return EMBED_BATCH if time.monotonic() - self._last_call() > QUIET_SECONDS else BUSY_BATCH

    def _length(self) -> int:
        return sum(self._events.lag(name, 0) for name in self._events.ends())

    def _found(self) -> Generations:
        found = self._records.generations()
        return found or Generations(self._current.serving.built.generation)

    def _change(self, change: Callable[[Generations], Generations | None]) -> Generations:
        """Change where the generations stand, whoever else does; `change` gives None where it cannot be done."""
        while True:
            found = self._found()
            wanted = change(found)
            if wanted is None:
                raise Conflict("another process built the index anew, or began to; this build is given up")
            if wanted == found or self._records.change_generations(found, wanted):
                return wanted

    def _sweep(self) -> None:
        for number in self._found().retired:
            self._builds.delete(number)
            self._change(partial(Generations.without, number=number))

    def _say(self, serving: Generation, mine: Generation) -> None:
        notice = (
            f"the index was built anew with the model {_named(serving)} (generation {serving.number}); this process "
            f"answers from generation {mine.number} with {_named(mine)} until it is started again with "
            "SOMA_EMBEDDING_MODEL and SOMA_SPARSE_MODEL set to the new ones"
        )
        if notice != self.notice:
            log.warning("%s", notice)
        self.notice = notice


def _models_of(generation: Generation) -> tuple[str, str | None]:
    return generation.model_id, generation.sparse_model_id


def _named(generation: Generation) -> str:
    """The models of a generation, for a message."""
    return " and ".join(filter(None, _models_of(generation)))
