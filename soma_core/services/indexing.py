"""Bringing what was recorded into the index: words first, meaning after."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime

from soma_core.domain.errors import SomaError, Unavailable
from soma_core.domain.receipts import Indexed
from soma_core.ports.index import Checkpoint, VectorIndex
from soma_core.ports.log import EventLog
from soma_core.ports.records import RecordStore
from soma_core.ports.turn import SoleTurn, Turn
from soma_core.services.progress import PENDING_LIMIT, Pending, Progress, Report
from soma_core.services.writing import IndexWriting, Interrupted

log = logging.getLogger(__name__)

FLUSH_POINTS = 3_000
"""A flush stops every thread for some 20 ms, so under load it must be rare; a power cut costs the replay of these."""
EMBED_BATCH = 128
"""Events embedded between two looks at what else there is to do."""
WORDS_BATCH = 500
INLINE_BATCH = 50
FOLLOW_SECONDS = 0.5
"""Where another process writes the index, what it has brought in is known here so much later at most."""


class Indexing:
    """Follows the events of every namespace and writes the present state of each memory into the index.

    Its position is kept in the index itself and only moves after a flush, so a start replays what a power cut may have
    taken.
    """

    def __init__(
        self,
        records: RecordStore,
        events: EventLog,
        index: VectorIndex,
        writing: IndexWriting,
        *,
        has_room: Callable[[], bool] = lambda: True,
        turn: Turn | None = None,
        is_shared: bool = False,
        is_new: bool = False,
        by_itself: bool = True,
    ) -> None:
        """`turn`: whether this process writes the index, where several could; by default it is the only one.

        `is_shared`: other processes read the index, and store what this one may have to bring in.
        `is_new`: the index is being built, so that what it lacks was not lost, and nobody else is at it.
        Not `by_itself`: only by `follow`.
        """
        self._records = records
        self._events = events
        self._index = index
        self._writing = writing
        self._has_room = has_room
        self._turn = turn or SoleTurn()
        self.is_shared = is_shared
        self._led = turn is None or is_new
        self._is_new = is_new
        self._progress: dict[str, Progress] = {}
        self._table_lock = threading.Lock()
        self._vectors_lock = threading.RLock()
        self._losses = 0
        self._by_itself = by_itself
        self._behind = set(events.ends()) if by_itself else set[str]()
        self._news = threading.Event()
        self._notices: dict[str, str] = {}
        self._stopped = False

    # What recall asks.

    def pending(self, namespace: str) -> Pending:
        """The memories whose words may not be in the index yet, the newest thousand listed."""
        progress = self._reached(namespace)
        epoch, done = progress.epoch, progress.words
        newest = self._events.newest(namespace, done, PENDING_LIMIT)
        more = self._events.lag(namespace, done) - len(newest) if len(newest) == PENDING_LIMIT else 0
        behind = 0 if not newest and progress.vectors >= done else self._events.lag(namespace, progress.vectors)
        return Pending(list(dict.fromkeys(event.memory_id for event in newest)), more, behind, epoch)

    def epoch(self, namespace: str) -> int:
        """Which of its indexes the namespace has now."""
        return self._reached(namespace).epoch

    def backlog(self, namespace: str) -> tuple[int, int]:
        """How many events wait for their words, and for their vectors."""
        progress = self._reached(namespace)
        words = self._events.lag(namespace, progress.words)
        return words, self._events.lag(namespace, progress.vectors)

    def oldest(self, namespace: str) -> datetime | None:
        """The time of the oldest event whose vectors are not in the index."""
        first = self._events.read(namespace, self._reached(namespace).vectors, 1)
        return first[0].time if first else None

    def usable(self, namespace: str) -> bool:
        """Whether the index can be used without writing to a disk that is below its reserve: opening writes."""
        return self._index.is_open(namespace) or self._has_room()

    def level(self, namespace: str) -> Indexed:
        """What the index has of everything that was recorded in the namespace."""
        words, vectors = self.backlog(namespace)
        return "none" if words else "lexical" if vectors else "full"

    def notices(self, namespace: str) -> list[str]:
        """What an operator should know: indexes begun anew, passages that could not be embedded, a full disk."""
        found = list(self._index.rebuilt())
        if (notice := self._notices.get(namespace)) and any(self.backlog(namespace)):
            found.append(notice)
        if not self._entry(namespace).known:
            found.append(f"the index of {namespace!r} is not open")
        found += self._entry(namespace).notices()
        if not self._has_room():
            found.append("the disk is below its reserve: stores are refused and indexing pauses until there is room")
        return found

    # What moves it on.

    def leads(self) -> bool:
        """Whether it is this process that writes the index; what another wrote before is asked for anew."""
        mine = self._is_new or self._turn.is_mine()
        if mine and not self._led:
            self._ask_anew()
        self._led = mine
        return mine

    def begin_serving(self) -> None:
        """The index is built: from now on it is written by whoever has the turn."""
        self._is_new = False

    def overtaken(self) -> None:
        """Another generation serves: the turn is for those who write that one, and who still uses this writes it."""
        turn, self._turn = self._turn, SoleTurn()
        turn.let_go()

    def look_around(self) -> None:
        """Notice what other processes stored."""
        for namespace, end in self._events.ends().items():
            if self._entry(namespace).flushed.vectors < end:
                self._behind.add(namespace)

    def namespaces(self) -> list[str]:
        """Every namespace that has events."""
        return list(self._events.ends())

    def changed(self, namespace: str) -> None:
        """Tell whoever follows the events that a namespace has new ones."""
        if self._by_itself:
            self._behind.add(namespace)
            self._news.set()

    def stop(self) -> None:
        """End a `wait` now, and the embedding at work after its present portion."""
        self._stopped = True
        self._writing.stop()
        self._news.set()

    def wait(self, seconds: float) -> bool:
        """Wait until something changed; False when nothing did for so long."""
        news = self._news.wait(seconds)
        self._news.clear()
        return news

    def behind(self) -> list[str]:
        """The namespaces that may have events to follow or writes to flush."""
        return list(self._behind)

    def settle(self, namespace: str) -> bool:
        """When idle: flush, and take a namespace with nothing left to follow off the list; whether that was so."""
        self._behind.discard(namespace)
        settled = False
        try:
            self.flush(namespace, idle=True)
            settled = self._entry(namespace).flushed.vectors >= self._events.end(namespace)
        finally:
            if not settled:
                self._behind.add(namespace)
        return settled

    def words_now(self, namespace: str) -> bool:
        """Bring new words in from the thread that stored them, if that is quick; whether all are in.

        Does nothing while the index is not open yet, or another thread or process is at it.
        """
        progress = self._entry(namespace)
        if not self._index.is_open(namespace) or not self._has_room() or not self.leads():
            return False
        if not progress.lock.acquire(blocking=False):
            return False
        try:
            return self._advance_words(namespace, self._of(namespace), INLINE_BATCH) < INLINE_BATCH
        except SomaError as error:
            log.warning("indexing words of %r: %s", namespace, error)
            return False
        finally:
            progress.lock.release()

    def words_step(self, namespace: str) -> int:
        """Bring in the words of the next events; how many events that were."""
        if not self._has_room() or not self.leads():
            return 0
        with self._entry(namespace).lock:
            return self._advance_words(namespace, self._of(namespace), WORDS_BATCH)

    def vectors_step(self, namespace: str, limit: int) -> int:
        """Embed the next `limit` events whose words are in, and bring the vectors in; how many events that were.

        Raises `ModelMissing` when there is no model, `Unavailable` when it is away: nothing counts as failed then.
        """
        if not self._has_room() or not self.leads():
            return 0
        with self._vectors_lock:
            progress = self._of(namespace)
            epoch, words = progress.epoch, progress.words
            events = self._events.read(namespace, progress.vectors, limit)
            events = [event for event in events if event.offset <= words]
            if events:
                progress.add(self._writing.write_vectors(namespace, events))
                with progress.lock:
                    if progress.epoch == epoch:
                        progress.vectors = events[-1].offset
            return len(events)

    def flush(self, namespace: str, *, idle: bool) -> None:
        """Make what was written survive a power cut and move the position on: when idle, or for 3,000 points.

        Others who read the index learn from that position what is in it, so for them it moves with every pass.
        """
        if not self._has_room() or not self.leads():
            return
        with self._vectors_lock:
            progress = self._of(namespace)
            epoch, checkpoint, waiting = progress.epoch, progress.checkpoint(), progress.unflushed
            if checkpoint == progress.flushed or not (idle or self.is_shared or waiting >= FLUSH_POINTS):
                return
            self._index.flush(namespace, checkpoint)
            if progress.flushed == Checkpoint():
                self._records.mark_indexed(namespace)
            with progress.lock:
                if progress.epoch == epoch:
                    progress.flushed = checkpoint
                    progress.unflushed -= waiting
                else:  # it began anew meanwhile: the position was of what is gone
                    self._index.flush(namespace, progress.flushed)

    def follow(
        self, namespace: str, report: Report | None = None, batch: Callable[[], int] = lambda: EMBED_BATCH
    ) -> int:
        """Bring in all that was recorded, `batch` events at a time; how many events that were.

        Raises `ModelMissing`; the words are in then. `Interrupted` after `stop`.
        """
        followed, total = 0, max(self.backlog(namespace))
        while not self._stopped and self.words_step(namespace):
            pass
        while step := self.vectors_step(namespace, batch()):
            followed += step
            self.flush(namespace, idle=False)
            if report:
                report(max(0, total - max(self.backlog(namespace))), total)
        if self._stopped:
            raise Interrupted
        self.flush(namespace, idle=True)
        return followed

    def begin_anew(self, namespace: str) -> None:
        """Empty the namespace's index; its events are followed from the beginning."""
        progress = self._entry(namespace)
        with self._vectors_lock, progress.lock:
            self._index.reset(namespace)
            progress.stand_at(Checkpoint())
            self._notices[namespace] = f"the index of {namespace!r} is being rebuilt from the records"
        self.changed(namespace)

    def _entry(self, namespace: str) -> Progress:
        with self._table_lock:
            return self._progress.setdefault(namespace, Progress())

    def _of(self, namespace: str) -> Progress:
        """The progress of a namespace; the first time, and after a loss, the index is asked. Raises `Unavailable`."""
        self._notice_losses()
        progress = self._entry(namespace)
        if progress.known and not self._led and self.is_shared:
            self._follow(namespace, progress)
        if not progress.known:
            with progress.lock:
                self._writing.check_room(namespace)
                found = self._index.checkpoint(namespace)
                if not progress.known:
                    progress.stand_at(self._believable(namespace, found))
                    self._say_lost(namespace, found)
        return progress

    def _believable(self, namespace: str, found: Checkpoint) -> Checkpoint:
        """Where the index stands; one that is ahead of the records is emptied.

        They were put back to an earlier state, and the index would pass over events that are yet to come.
        """
        if found.words <= self._events.end(namespace):
            return found
        self._index.reset(namespace)
        self._notices[namespace] = f"the index of {namespace!r} is ahead of the records (a backup?): it is rebuilt"
        log.warning("%s", self._notices[namespace])
        return Checkpoint()

    def _follow(self, namespace: str, progress: Progress) -> None:
        """Learn now and then how far the process has come that writes the index."""
        if time.monotonic() - progress.asked >= FOLLOW_SECONDS:
            progress.asked = time.monotonic()
            found = self._index.checkpoint(namespace)
            with progress.lock:
                progress.move_to(found)

    def _reached(self, namespace: str) -> Progress:
        """The progress for a reader; an index that cannot be opened has nothing, and everything is pending."""
        try:
            return self._of(namespace)
        except Unavailable:
            return self._entry(namespace)

    def _say_lost(self, namespace: str, found: Checkpoint) -> None:
        is_lost = found == Checkpoint() and not self._is_new and self._records.was_indexed(namespace)
        if is_lost and namespace not in self._notices:
            self._notices[namespace] = f"the index of {namespace!r} is gone: it is rebuilt from the records"
            log.warning("%s", self._notices[namespace])

    def _notice_losses(self) -> None:
        """When an index lost files and started empty, ask all anew how far they are."""
        lost = len(self._index.rebuilt())
        if lost != self._losses:
            self._losses = lost
            self._ask_anew()

    def _ask_anew(self) -> None:
        with self._table_lock:
            entries = dict(self._progress)
        for namespace, progress in entries.items():
            progress.known = False
            self.changed(namespace)

    def _advance_words(self, namespace: str, progress: Progress, limit: int) -> int:
        events = self._events.read(namespace, progress.words, limit)
        if events:
            progress.add(self._writing.write_words(namespace, events))
            progress.words = events[-1].offset
        return len(events)
