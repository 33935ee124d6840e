"""Bringing what was recorded into the index: words first, meaning after."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from soma_core.domain.errors import ModelMissing, SomaError, Unavailable
from soma_core.domain.events import Event, EventKind
from soma_core.domain.receipts import Indexed
from soma_core.ports.embedder import Embedder, Vector
from soma_core.ports.index import Checkpoint, IndexPoint, VectorIndex
from soma_core.ports.log import EventLog
from soma_core.ports.records import RecordStore, Versioned
from soma_core.services.learned import Learned
from soma_core.services.points import Passage, passages_of, portions
from soma_core.services.progress import Pending, Progress

log = logging.getLogger(__name__)

FLUSH_POINTS = 3_000
"""A flush stops every thread for some 20 ms, so under load it must be rare; a power cut costs the replay of these."""
WORDS_BATCH = 500
INLINE_BATCH = 50
PENDING_LIMIT = 1_000


class Interrupted(Exception):
    """Indexing was told to stop in the middle; what was not finished is done by the next start."""


class Indexing:
    """Follows the events of every namespace and writes the present state of each memory into the index.

    It reads the records, never the event's own word, and reads them again after writing: what moved meanwhile is
    repaired at once. A late or repeated event thus brings nothing back. Its position is kept in the index itself and
    only moves after a flush, so a start replays what a power cut may have taken.
    """

    def __init__(
        self,
        records: RecordStore,
        events: EventLog,
        index: VectorIndex,
        embedder: Embedder,
        *,
        learned: Learned,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        self._records = records
        self._events = events
        self._index = index
        self._embedder = embedder
        self._learned = learned
        self._has_room = has_room
        self._progress: dict[str, Progress] = {}
        self._table_lock = threading.Lock()
        self._vectors_lock = threading.RLock()
        self._losses = 0
        self._behind = set(events.ends())
        self._news = threading.Event()
        self._stopping = False
        self._notices: dict[str, str] = {}

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
        if failed := self._entry(namespace).failed:
            found.append(f"{failed} passages could not be embedded and are found by their words only")
        if unweighed := self._entry(namespace).unweighed:
            found.append(f"{unweighed} passages are without the words of the sparse model: `soma reindex` tries again")
        if not self._has_room():
            found.append("the disk is below its reserve: stores are refused and indexing pauses until there is room")
        return found

    # What moves it on.

    def namespaces(self) -> list[str]:
        """Every namespace that has events."""
        return list(self._events.ends())

    def changed(self, namespace: str) -> None:
        """Tell whoever follows the events that a namespace has new ones."""
        self._behind.add(namespace)
        self._news.set()

    def stop(self) -> None:
        """End a `wait` now, and the embedding at work after its present portion."""
        self._stopping = True
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
        self.flush(namespace, idle=True)
        settled = self._entry(namespace).flushed.vectors >= self._events.end(namespace)
        if not settled:
            self._behind.add(namespace)
        return settled

    def words_now(self, namespace: str) -> bool:
        """Bring new words in from the thread that stored them, if that is quick; whether all are in.

        Does nothing while the index is not open yet, or another thread is at it.
        """
        progress = self._entry(namespace)
        if not self._index.is_open(namespace) or not self._has_room() or not progress.lock.acquire(blocking=False):
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
        if not self._has_room():
            return 0
        with self._entry(namespace).lock:
            return self._advance_words(namespace, self._of(namespace), WORDS_BATCH)

    def vectors_step(self, namespace: str, limit: int) -> int:
        """Embed the next `limit` events whose words are in, and bring the vectors in; how many events that were.

        Raises `ModelMissing` when there is no model.
        """
        if not self._has_room():
            return 0
        with self._vectors_lock:
            progress = self._of(namespace)
            epoch, words = progress.epoch, progress.words
            events = self._events.read(namespace, progress.vectors, limit)
            events = [event for event in events if event.offset <= words]
            if events:
                self._write(namespace, self._readable(namespace, events), progress, embed=True)
                with progress.lock:
                    if progress.epoch == epoch:
                        progress.vectors = events[-1].offset
            return len(events)

    def flush(self, namespace: str, *, idle: bool) -> None:
        """Make what was written survive a power cut and move the position on: when idle, or for 3,000 points."""
        if not self._has_room():
            return
        with self._vectors_lock:
            progress = self._of(namespace)
            epoch, checkpoint, waiting = progress.epoch, progress.checkpoint(), progress.unflushed
            if checkpoint == progress.flushed or not (idle or waiting >= FLUSH_POINTS):
                return
            self._index.flush(namespace, checkpoint)
            if progress.flushed == Checkpoint():
                self._records.mark_indexed(namespace)
            with progress.lock:
                if progress.epoch == epoch:
                    progress.flushed = checkpoint
                    progress.unflushed -= waiting

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
        if not progress.known:
            with progress.lock:
                self._check_room(namespace)
                found = self._index.checkpoint(namespace)
                if not progress.known:
                    progress.stand_at(found)
                    self._say_lost(namespace, found)
        return progress

    def _reached(self, namespace: str) -> Progress:
        """The progress for a reader; an index that cannot be opened has nothing, and everything is pending."""
        try:
            return self._of(namespace)
        except Unavailable:
            return self._entry(namespace)

    def _say_lost(self, namespace: str, found: Checkpoint) -> None:
        if found == Checkpoint() and namespace not in self._notices and self._records.was_indexed(namespace):
            self._notices[namespace] = f"the index of {namespace!r} is gone: it is rebuilt from the records"
            log.warning("%s", self._notices[namespace])

    def _check_room(self, namespace: str) -> None:
        """Writing a memory-mapped index on a full disk kills the process."""
        if not self._has_room():
            raise Unavailable(f"the disk is below its reserve: the index of {namespace!r} waits for room")

    def _notice_losses(self) -> None:
        """When an index lost files and started empty, ask all anew how far they are."""
        lost = len(self._index.rebuilt())
        if lost != self._losses:
            self._losses = lost
            with self._table_lock:
                entries = dict(self._progress)
            for namespace, progress in entries.items():
                progress.known = False
                self.changed(namespace)

    def _advance_words(self, namespace: str, progress: Progress, limit: int) -> int:
        events = self._events.read(namespace, progress.words, limit)
        if events:
            for event in events:
                if event.kind in (EventKind.FORGOTTEN, EventKind.PURGED):
                    self._index.remove(namespace, event.memory_id, event.version)
            self._write(namespace, self._readable(namespace, events), progress, embed=False)
            progress.words = events[-1].offset
        return len(events)

    def _readable(self, namespace: str, events: Iterable[Event]) -> list[Versioned]:
        keys = [(e.memory_id, e.version) for e in events if e.kind in (EventKind.STORED, EventKind.REVISED)]
        return list(self._records.versions(namespace, keys).values())

    def _write(self, namespace: str, items: Sequence[Versioned], progress: Progress, *, embed: bool) -> None:
        """Put the versions' passages into the index, then repair what moved in the records meanwhile."""
        if not items:
            return
        passages = [passage for item in items for passage in passages_of(item)]
        points = self._embedded(passages, progress) if embed else [passage.point for passage in passages]
        self._check_room(namespace)
        self._index.put(namespace, points)
        progress.unflushed += len(points)
        for item in items:
            if item.current and item.memory.version > 1:
                self._index.retire(namespace, item.memory.id, item.memory.version)
        self._repair(namespace, items)

    def _repair(self, namespace: str, written: Sequence[Versioned]) -> None:
        live = self._records.live_versions(namespace, [item.memory.id.int for item in written])
        moved = [item for item in written if not item.current or live.get(item.memory.id.int) != item.memory.version]
        now = self._records.versions(namespace, [(item.memory.id, item.memory.version) for item in moved])
        for item in moved:
            found = now.get((item.memory.id, item.memory.version))
            if found is None:
                self._index.remove(namespace, item.memory.id, item.memory.version + 1)
            elif item.current and not found.current:
                self._index.retire(namespace, item.memory.id, item.memory.version + 1)

    def _embedded(self, passages: Sequence[Passage], progress: Progress) -> list[IndexPoint]:
        """The points with their vectors, embedded in portions of like length."""
        done: list[IndexPoint] = []
        for portion in portions(passages):
            if self._stopping:
                raise Interrupted
            texts = [passage.text for passage in portion]
            try:
                vectors: Sequence[Vector | None] = self._embedder.embed_passages(texts)
            except ModelMissing:
                raise
            except Exception:
                log.exception("embedding %d passages failed; trying them one by one", len(portion))
                vectors = [self._embedded_alone(text, progress) for text in texts]
            learned, unweighed = self._learned.of_passages(texts)
            progress.unweighed += unweighed
            done += [
                replace(each.point, vector=vector, learned=weights)
                for each, vector, weights in zip(portion, vectors, learned, strict=True)
            ]
        return done

    def _embedded_alone(self, text: str, progress: Progress) -> Vector | None:
        try:
            return self._embedder.embed_passages([text])[0]
        except ModelMissing:
            raise
        except Exception:
            progress.failed += 1
            return None
