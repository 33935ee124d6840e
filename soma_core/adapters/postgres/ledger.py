"""What storing comes to, worked out before anything is written."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from soma_core.adapters.postgres.rows import ns_of
from soma_core.adapters.values import compact, micros, moment
from soma_core.domain.errors import Conflict, SomaError
from soma_core.domain.events import EventKind
from soma_core.domain.memory import (
    Memory,
    NewMemory,
    State,
    count_words,
    is_question,
    is_standing,
    new_id,
)
from soma_core.domain.receipts import Change, StoreStatus
from soma_core.ports.records import Submission

LIVE, STORED, REVISED = State.LIVE.value, EventKind.STORED.value, EventKind.REVISED.value
Outcome = list[Change] | SomaError
Pair = tuple[str, str]
"""A namespace as it stands in the rows, and an id, a request or a thread."""


@dataclass(slots=True)
class Standing:
    """Where a memory at a coordinate stands, as far as this transaction has got."""

    version: int
    created_at: int
    thread: str | None
    position: int | None
    says: Memory | None
    """What it says while it is live."""


class Entry(NamedTuple):
    """One version that a memory gets."""

    pair: Pair
    version: int
    kind: str
    new: NewMemory
    position: int | None
    created: int
    tags: str
    payload: str


@dataclass(slots=True)
class Ledger:
    """Takes submissions in order; afterwards its entries are what is to be written.

    `known` has the requests that were answered before, `standings` the memories at the coordinates that are stored
    at, `positions` the last place of each thread.
    """

    now: datetime
    known: dict[Pair, tuple[str, str]]
    standings: dict[Pair, Standing]
    positions: dict[Pair, int]
    before: frozenset[Pair] = field(init=False)
    """Memories that have a row already."""
    _stamp: int = field(init=False)
    heads: dict[Pair, Entry] = field(default_factory=dict)
    """What each memory comes to in the end."""
    entries: list[Entry] = field(default_factory=list)
    """Every version that is made, in order."""
    requests: list[list[Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.before = frozenset(self.standings)
        self._stamp = micros(self.now)

    def take(self, submission: Submission) -> Outcome:
        """What one submission is answered with."""
        ns, request = ns_of(submission.namespace), submission.request
        found = self.known.get((ns, request.id))
        if found is not None:
            return replayed(found, request.digest)
        changes = [self._store(submission.namespace, ns, new) for new in submission.memories]
        receipt = compact([(str(change.id), change.version, change.status) for change in changes])
        self.known[ns, request.id] = request.digest, receipt
        self.requests.append([ns, request.id, request.digest, receipt, self._stamp])
        return changes

    def _store(self, namespace: str, ns: str, new: NewMemory) -> Change:
        memory_id = new_id(namespace, new.coordinate)
        pair = ns, str(memory_id)
        standing = self.standings.get(pair) if new.coordinate is not None else None
        live = standing is not None and standing.says is not None
        if standing and standing.says and standing.says.says_the_same(new):
            return Change(memory_id, standing.version, StoreStatus.UNCHANGED)
        version = standing.version + 1 if standing else 1
        kind = REVISED if live else STORED
        position = self._position(ns, new.thread, standing)
        created = standing.created_at if standing else self._stamp
        if new.coordinate is not None:
            says = self._memory(memory_id, namespace, version, new, position, created)
            self.standings[pair] = Standing(version, created, new.thread, position, says)
        tags = compact(new.tags) if new.tags else "[]"
        payload = compact(new.payload) if new.payload else "{}"
        entry = Entry(pair, version, kind, new, position, created, tags, payload)
        self.heads[pair] = entry
        self.entries.append(entry)
        return Change(memory_id, version, StoreStatus.REVISED if live else StoreStatus.CREATED)

    def head_row(self, entry: Entry) -> list[Any]:
        """The row in `memories`; it is made when it is sent, while the server takes those before."""
        new = entry.new
        return [
            *entry.pair, entry.version, LIVE, entry.created, self._stamp, str(new.type), new.thread, entry.position,
            new.speaker, self._occurred(new), count_words(new.text), is_question(new.text), new.importance,
            is_standing(new.text), f"{{{new.coordinate}}}" if new.coordinate is not None else None,
        ]  # fmt: skip

    def version_row(self, entry: Entry) -> list[Any]:
        """The row in `versions`."""
        new = entry.new
        return [
            *entry.pair, entry.version, entry.kind, self._stamp, new.text, str(new.type), entry.tags, new.thread,
            entry.position, new.speaker, self._occurred(new), new.coordinate, new.importance, entry.payload,
        ]  # fmt: skip

    def event_row(self, entry: Entry) -> list[Any]:
        """The row in `events`."""
        return [*entry.pair, entry.version, entry.kind, self._stamp]

    def _occurred(self, new: NewMemory) -> int:
        return micros(new.occurred_at) if new.occurred_at else self._stamp

    def _memory(
        self, memory_id: UUID, namespace: str, version: int, new: NewMemory, position: int | None, created: int
    ) -> Memory:
        return Memory(
            memory_id, namespace, version, new.text, new.type, new.tags, new.thread, position, new.speaker,
            new.occurred_at or self.now, self.now, moment(created), new.coordinate, new.importance, new.payload,
        )  # fmt: skip

    def _position(self, ns: str, thread: str | None, standing: Standing | None) -> int | None:
        """The place kept within the same thread, else the one after the thread's last."""
        if thread is None:
            return None
        if standing and standing.thread == thread:
            return standing.position
        self.positions[ns, thread] = self.positions.get((ns, thread), -1) + 1
        return self.positions[ns, thread]


def replayed(found: tuple[str, str], digest: str) -> Outcome:
    """The answer to a request that was answered before: its first receipt, or `Conflict` for other arguments."""
    if found[0] != digest:
        return conflict()
    return [Change(UUID(key), version, StoreStatus(status)) for key, version, status in json.loads(found[1])]


def conflict() -> Conflict:
    """A request id came with other arguments."""
    return Conflict("key: was used for another request with other arguments; use a new key", fields=("key",))
