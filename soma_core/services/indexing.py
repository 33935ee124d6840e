"""Bringing what was recorded into the index: words first, meaning after."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from soma_core.domain.errors import ModelMissing, SomaError
from soma_core.domain.events import Event, EventKind
from soma_core.domain.memory import Memory
from soma_core.domain.passages import searchable, split_passages
from soma_core.ports.embedder import Embedder, Vector
from soma_core.ports.index import Checkpoint, IndexPoint, VectorIndex
from soma_core.ports.log import EventLog
from soma_core.ports.records import RecordStore, Versioned

log = logging.getLogger(__name__)

FLUSH_POINTS = 1_000
WORDS_BATCH = 500
INLINE_BATCH = 50
PENDING_LIMIT = 1_000

PORTION_CHARS = 12_000
"""Embedded in one call: about 3,000 tokens, a third of a second on two cores."""


class Interrupted(Exception):
    """Indexing was told to stop in the middle; what was not finished is done by the next start."""


@dataclass(slots=True)
class _Progress:
    """How far the events of a namespace are in the index; guarded by `lock` where words move on."""

    words: int
    vectors: int
    flushed: Checkpoint
    unflushed: int = 0
    """Points written since the last flush."""
    failed: int = 0
    """Passages that could not be embedded; they are found by their words only."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def checkpoint(self) -> Checkpoint:
        words = self.words
        return Checkpoint(words, min(words, self.vectors))


@dataclass(frozen=True, slots=True)
class Pending:
    """What the words of the index lack: ids newest first, and how many more there are than are listed."""

    ids: Sequence[UUID]
    unlisted: int
    epoch: int
    """Changes when an index is begun anew; what was read from it before must be read again."""


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
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        self._records = records
        self._events = events
        self._index = index
        self._embedder = embedder
        self._has_room = has_room
        self._progress: dict[str, _Progress] = {}
        self._progress_lock = threading.Lock()
        self._vectors_lock = threading.Lock()
        self._epoch = 0
        self._losses = 0
        self._behind = set(events.ends())
        self._news = threading.Event()
        self._stopping = False
        self._notices: dict[str, str] = {}

    # What recall asks.

    def pending(self, namespace: str) -> Pending:
        """The memories whose words may not be in the index yet, the newest thousand listed."""
        epoch = self._epoch
        done = self._of(namespace).words
        newest = self._events.newest(namespace, done, PENDING_LIMIT)
        more = self._events.lag(namespace, done) - len(newest) if len(newest) == PENDING_LIMIT else 0
        return Pending(list(dict.fromkeys(event.memory_id for event in newest)), more, epoch)

    def backlog(self, namespace: str) -> tuple[int, int]:
        """How many events wait for their words, and for their vectors."""
        progress = self._of(namespace)
        words = self._events.lag(namespace, progress.words)
        return words, self._events.lag(namespace, progress.vectors)

    @property
    def epoch(self) -> int:
        return self._epoch

    def notices(self, namespace: str) -> list[str]:
        """What an operator should know: indexes begun anew, passages that could not be embedded, a full disk."""
        found = list(self._index.rebuilt())
        if (notice := self._notices.get(namespace)) and any(self.backlog(namespace)):
            found.append(notice)
        if failed := self._of(namespace).failed:
            found.append(f"{failed} passages could not be embedded and are found by their words only")
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
        settled = self._of(namespace).flushed.vectors >= self._events.end(namespace)
        if not settled:
            self._behind.add(namespace)
        return settled

    def words_now(self, namespace: str) -> bool:
        """Bring new words in from the thread that stored them, if that is quick; whether all are in.

        Does nothing while the index is not open yet, or another thread is at it.
        """
        if not self._index.is_open(namespace) or not self._has_room():
            return False
        progress = self._of(namespace)
        if not progress.lock.acquire(blocking=False):
            return False
        try:
            return self._advance_words(namespace, progress, INLINE_BATCH) < INLINE_BATCH
        except SomaError as error:
            log.warning("indexing words of %r: %s", namespace, error)
            return False
        finally:
            progress.lock.release()

    def words_step(self, namespace: str) -> int:
        """Bring in the words of the next events; how many events that were."""
        progress = self._of(namespace)
        if not self._has_room():
            return 0
        with progress.lock:
            return self._advance_words(namespace, progress, WORDS_BATCH)

    def vectors_step(self, namespace: str, limit: int) -> int:
        """Embed the next `limit` events whose words are in, and bring the vectors in; how many events that were.

        Raises `ModelMissing` when there is no model.
        """
        if not self._has_room():
            return 0
        with self._vectors_lock:
            progress, epoch = self._of(namespace), self._epoch
            events = self._events.read(namespace, progress.vectors, limit)
            events = [event for event in events if event.offset <= progress.words]
            if events:
                self._write(namespace, self._readable(namespace, events), progress, embed=True)
                if self._epoch == epoch:
                    progress.vectors = events[-1].offset
            return len(events)

    def flush(self, namespace: str, *, idle: bool) -> None:
        """Make what was written survive a power cut and move the position on: when idle, or for 1,000 points."""
        progress, epoch = self._of(namespace), self._epoch
        checkpoint, waiting = progress.checkpoint(), progress.unflushed
        if checkpoint == progress.flushed or not (idle or waiting >= FLUSH_POINTS) or not self._has_room():
            return
        with self._vectors_lock:
            if self._epoch == epoch:
                self._index.flush(namespace, checkpoint)
                if progress.flushed == Checkpoint():
                    self._records.mark_indexed(namespace)
                progress.flushed = checkpoint
                progress.unflushed -= waiting

    def begin_anew(self, namespace: str) -> None:
        """Empty the namespace's index; its events are followed from the beginning."""
        with self._vectors_lock, self._of(namespace).lock:
            self._index.reset(namespace)
            with self._progress_lock:
                self._epoch += 1
                self._progress.pop(namespace, None)
            self._notices[namespace] = f"the index of {namespace!r} is being rebuilt from the records"

    def _of(self, namespace: str) -> _Progress:
        self._notice_losses()
        with self._progress_lock:
            if progress := self._progress.get(namespace):
                return progress
        found = self._index.checkpoint(namespace)
        with self._progress_lock:
            if namespace not in self._progress:
                self._progress[namespace] = _Progress(found.words, found.vectors, found)
                if found == Checkpoint() and namespace not in self._notices and self._records.was_indexed(namespace):
                    self._notices[namespace] = f"the index of {namespace!r} is gone: it is rebuilt from the records"
                    log.warning("%s", self._notices[namespace])
            return self._progress[namespace]

    def _notice_losses(self) -> None:
        """When the index lost files and started empty, ask it anew how far it is."""
        lost = len(self._index.rebuilt())
        if lost != self._losses:
            with self._progress_lock:
                self._losses = lost
                self._epoch += 1
                self._behind |= self._progress.keys()
                self._progress.clear()

    def _advance_words(self, namespace: str, progress: _Progress, limit: int) -> int:
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

    def _write(self, namespace: str, items: Sequence[Versioned], progress: _Progress, *, embed: bool) -> None:
        """Put the versions' passages into the index, then repair what moved in the records meanwhile."""
        if not items:
            return
        points = [point for item in items for point in _points(item)]
        if embed:
            points = self._embedded(points, progress)
        self._index.put(namespace, points)
        progress.unflushed += len(points)
        for item in items:
            if item.current and item.memory.version > 1:
                self._index.retire(namespace, item.memory.id, item.memory.version)
        self._repair(namespace, items)

    def _repair(self, namespace: str, written: Sequence[Versioned]) -> None:
        now = self._records.versions(namespace, [(item.memory.id, item.memory.version) for item in written])
        for item in written:
            found = now.get((item.memory.id, item.memory.version))
            if found is None:
                self._index.remove(namespace, item.memory.id, item.memory.version + 1)
            elif item.current and not found.current:
                self._index.retire(namespace, item.memory.id, item.memory.version + 1)

    def _embedded(self, points: Sequence[IndexPoint], progress: _Progress) -> list[IndexPoint]:
        """The points with their vectors, embedded in portions of like length."""
        done: list[IndexPoint] = []
        for portion in _portions(points):
            if self._stopping:
                raise Interrupted
            try:
                vectors: Sequence[Vector | None] = self._embedder.embed_passages([point.words for point in portion])
            except ModelMissing:
                raise
            except Exception:
                log.exception("embedding %d passages failed; trying them one by one", len(portion))
                vectors = [self._embedded_alone(point.words, progress) for point in portion]
            done += [replace(point, vector=vector) for point, vector in zip(portion, vectors, strict=True)]
        return done

    def _embedded_alone(self, text: str, progress: _Progress) -> Vector | None:
        try:
            return self._embedder.embed_passages([text])[0]
        except ModelMissing:
            raise
        except Exception:
            progress.failed += 1
            return None


def _portions(points: Sequence[IndexPoint]) -> Iterable[list[IndexPoint]]:
    portion: list[IndexPoint] = []
    chars = 0
    for point in sorted(points, key=lambda point: len(point.words)):
        if portion and chars + len(point.words) > PORTION_CHARS:
            yield portion
            portion, chars = [], 0
        portion.append(point)
        chars += len(point.words)
    if portion:
        yield portion


def _points(item: Versioned) -> list[IndexPoint]:
    memory: Memory = item.memory
    return [
        IndexPoint(
            memory_id=memory.id,
            version=memory.version,
            passage=number,
            words=searchable(passage, memory.speaker, memory.occurred_at),
            vector=None,
            current=item.current,
            type=memory.type,
            tags=memory.tags,
            thread=memory.thread,
            speaker=memory.speaker,
            occurred_at=memory.occurred_at,
        )
        for number, passage in enumerate(split_passages(memory.text))
    ]
