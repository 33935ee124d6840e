"""Putting the present state of memories into the index."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from soma_core.domain.errors import ModelMissing, Retryable, Unavailable
from soma_core.domain.events import REMOVALS, Event, EventKind
from soma_core.ports.embedder import Embedder, Vector
from soma_core.ports.index import IndexPoint, VectorIndex
from soma_core.ports.records import RecordStore, Versioned
from soma_core.services.learned import Learned
from soma_core.services.points import Passage, passages_of, portions

log = logging.getLogger(__name__)


class Interrupted(Exception):
    """Indexing was told to stop in the middle; what was not finished is done by the next start."""


class Written(NamedTuple):
    """What went into the index."""

    points: int = 0
    failed: int = 0
    """Passages that could not be embedded; they are found by their words only."""
    unweighed: int = 0
    """Passages that a sparse model should have weighed and did not."""


class Embedded(NamedTuple):
    """Versions with the points that stand for them, not in the index yet."""

    items: Sequence[Versioned]
    points: Sequence[IndexPoint]
    lacks: Written


class IndexWriting:
    """Writes what the records say of the memories that events name; it keeps no position.

    It reads the records, never the event's own word, and reads them again after writing: what moved meanwhile is
    repaired at once. A late or repeated event thus brings nothing back. Safe to call from many threads; who brings in
    an event's words after its vectors takes these out again.
    """

    def __init__(
        self,
        records: RecordStore,
        index: VectorIndex,
        embedder: Embedder,
        *,
        learned: Learned,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        self._records = records
        self._index = index
        self._embedder = embedder
        self._learned = learned
        self._has_room = has_room
        self._stopping = False

    def stop(self) -> None:
        """End the embedding at work after its present portion: it raises `Interrupted`."""
        self._stopping = True

    def write_words(self, namespace: str, events: Sequence[Event]) -> Written:
        """Bring the words of what these events of one namespace are about in; take out what they removed."""
        for event in events:
            if event.kind in REMOVALS:
                self._index.remove(namespace, event.memory_id, event.version)
        items = self._readable(namespace, events)
        return self._write(namespace, items, Written(), [passage.point for passage in _passages(items)])

    def write_vectors(self, namespace: str, events: Sequence[Event]) -> Written:
        """Embed what these events of one namespace are about, and bring it in with words and vectors.

        Raises `ModelMissing` when there is no model, `Unavailable` when it is away, `Interrupted` after `stop`.
        """
        return self.bring_in(namespace, self.embed(namespace, events))

    def embed(self, namespace: str, events: Sequence[Event]) -> Embedded:
        """The half of `write_vectors` that writes nothing and raises for the model."""
        items = self._readable(namespace, events)
        points, lacks = self._embedded(_passages(items))
        return Embedded(items, points, lacks)

    def bring_in(self, namespace: str, embedded: Embedded) -> Written:
        """The other half; what moved in the records since is noticed."""
        return self._write(namespace, embedded.items, embedded.lacks, embedded.points)

    def check_room(self, namespace: str) -> None:
        """Writing a memory-mapped index on a full disk kills the process. Raises `Unavailable`."""
        if not self._has_room():
            raise Unavailable(f"the disk is below its reserve: the index of {namespace!r} waits for room")

    def _readable(self, namespace: str, events: Iterable[Event]) -> list[Versioned]:
        keys = [(e.memory_id, e.version) for e in events if e.kind in (EventKind.STORED, EventKind.REVISED)]
        return list(self._records.versions(namespace, keys).values())

    def _write(
        self, namespace: str, items: Sequence[Versioned], lacks: Written, points: Sequence[IndexPoint]
    ) -> Written:
        """Put the versions' passages into the index, then repair what moved in the records meanwhile."""
        if items:
            self.check_room(namespace)
            self._index.put(namespace, points)
            for item in items:
                if item.current and item.memory.version > 1:
                    self._index.retire(namespace, item.memory.id, item.memory.version)
            self._repair(namespace, items)
        return lacks._replace(points=len(points))

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

    def _embedded(self, passages: Sequence[Passage]) -> tuple[list[IndexPoint], Written]:
        """The points with their vectors, embedded in portions of like length, and what is lacking."""
        done: list[IndexPoint] = []
        failed = unweighed = 0
        for portion in portions(passages):
            if self._stopping:
                raise Interrupted
            texts = [passage.text for passage in portion]
            vectors = self._vectors(texts)
            learned, without = self._learned.of_passages(texts)
            done += [
                replace(each.point, vector=vector, learned=weights)
                for each, vector, weights in zip(portion, vectors, learned, strict=True)
            ]
            failed += sum(vector is None for vector in vectors)
            unweighed += without
        return done, Written(0, failed, unweighed)

    def _vectors(self, texts: Sequence[str]) -> Sequence[Vector | None]:
        try:
            return self._embedder.embed_passages(texts)
        except (ModelMissing, Retryable):
            raise
        except Exception:
            log.exception("embedding %d passages failed; trying them one by one", len(texts))
            return [self._vector_alone(text) for text in texts]

    def _vector_alone(self, text: str) -> Vector | None:
        try:
            return self._embedder.embed_passages([text])[0]
        except (ModelMissing, Retryable):
            raise
        except Exception:
            return None


def _passages(items: Iterable[Versioned]) -> list[Passage]:
    return [passage for item in items for passage in passages_of(item)]
