"""The truth: memories, their versions, requests and events."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from soma_core.domain.candidates import Features
from soma_core.domain.errors import SomaError
from soma_core.domain.generations import Generations
from soma_core.domain.memory import Memory, MemoryType, NewMemory, State
from soma_core.domain.query import BrowseQuery, Filter, Page, Selection
from soma_core.domain.receipts import Change, Forgotten
from soma_core.domain.terms import Terms


@dataclass(frozen=True, slots=True)
class Request:
    """Identifies a mutating call: the same id with the same digest gets the first answer and does nothing."""

    id: str
    digest: str
    """Hash of the operation and its arguments."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where a memory stands."""

    version: int
    state: State


@dataclass(frozen=True, slots=True)
class Versioned:
    """A readable version of a memory; `current` when it is the latest and the memory is live."""

    memory: Memory
    current: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """How many memories there are, by state and, of the live ones, by type."""

    states: Mapping[State, int]
    types: Mapping[MemoryType, int]


@dataclass(frozen=True, slots=True)
class Submission:
    """Memories to store together, and the request that asks for it."""

    namespace: str
    memories: Sequence[NewMemory]
    request: Request


class RecordStore(Protocol):
    """Durable and transactional. Safe to call from many threads.

    A mutating call returns after its changes, their events and its request are committed in one transaction and
    synced; when it raises, none of them is. Each change of a memory makes its next version; versions and event
    offsets are committed in order. Every read sees all that was committed before it began.
    `Unavailable`: the store cannot take writes (its disk is below the reserve, where it has one, or full), or cannot
    be reached. `Overloaded`: too many want it at once. Nothing was changed then, or the request's id settles it: the
    same request again gets the receipt if it was. `StoreCorrupt`: the store is damaged.
    """

    def store(self, submissions: Sequence[Submission]) -> list[list[Change] | SomaError]:
        """Add the memories of each submission, all of it or nothing of it; all submissions in one commit, in order.

        At a coordinate that has a memory the next version is made (`revised`), or none where it would say the same
        (`unchanged`); a forgotten one is begun anew, and what was forgotten stays out of reach.
        A submission that fails alone has its error in its place: `Conflict` when its request id was used with another
        digest. Raises `Unavailable` when nothing could be stored.
        """
        ...

    def forget(
        self, namespace: str, selection: Selection, request: Request, *, purge: bool, reason: str | None
    ) -> Forgotten:
        """Put every selected memory out of reach; with `purge` also remove all text and versions.

        A purged memory keeps its id, last version and times. Ids that are unknown are reported, not raised;
        memories already forgotten are left alone unless they are to be purged now. Raises `Conflict`.
        """
        ...

    def select(self, namespace: str, selection: Selection, *, purge: bool) -> Forgotten:
        """What `forget` would do, without doing it."""
        ...

    def erase(self, *, at_once: bool) -> bool:
        """Remove for good what was purged since the last time; True when no way to ask the store leads to it.

        An embedded store leaves nothing of it in its files. A database server may leave bytes in freed space, logs and
        copies: they are its operator's to keep or not. With `at_once` the caller waits: False then also means that
        it would take too long now.
        """
        ...

    def find(self, namespace: str, ids: Sequence[str]) -> dict[str, UUID]:
        """The memories meant by full ids or their last twelve digits; unknown ones are left out.

        Forgotten memories are found too. Raises `InvalidInput` when twelve digits fit several memories.
        """
        ...

    def heads(self, namespace: str, ids: Sequence[UUID]) -> dict[UUID, Head]:
        """Where these memories stand; unknown ids and other namespaces' are left out."""
        ...

    def live_versions(self, namespace: str, ids: Collection[int]) -> dict[int, int]:
        """The current version of those that are live. Ids are numbers here."""
        ...

    def features(self, namespace: str, ids: Collection[int]) -> dict[int, Features]:
        """What ranking sees of those that are live; this decides what may be returned. Ids are numbers here."""
        ...

    def speakers(self, namespace: str, names: Sequence[str]) -> list[str]:
        """The speakers of live memories whose whole name, or its first word, is one of `names`, as it is written."""
        ...

    def read(self, namespace: str, ids: Sequence[UUID]) -> dict[UUID, Memory]:
        """The current version of those that are live."""
        ...

    def versions(self, namespace: str, keys: Sequence[tuple[UUID, int]]) -> dict[tuple[UUID, int], Versioned]:
        """These versions, without those that were forgotten or purged."""
        ...

    def browse(self, namespace: str, query: BrowseQuery) -> Page:
        """Live memories by `occurred_at`, then by id. Raises `InvalidInput` for a cursor that is not its own."""
        ...

    def within(self, namespace: str, low: str, high: str, wanted: Filter, limit: int) -> list[Memory]:
        """The live memories whose coordinate lies between two others in every number, borders included.

        Only coordinates of as many numbers are compared. In order of the first number, then of id.
        """
        ...

    def containing(self, namespace: str, terms: Terms, wanted: Filter, limit: int) -> list[Memory]:
        """The live memories whose text holds every term, the newest first. Looks through all texts that may."""
        ...

    def counts(self, namespace: str) -> Counts:
        """How many memories the namespace has."""
        ...

    def live(self, namespace: str) -> Mapping[UUID, int]:
        """The id and version of every live memory, for checks of the index."""
        ...

    def generations(self) -> Generations | None:
        """Where the builds of the index stand; None before the first."""
        ...

    def change_generations(self, found: Generations | None, wanted: Generations) -> bool:
        """Record where they stand now, in one step; False, and nothing is changed, when it is not as it was `found`."""
        ...

    def was_indexed(self, namespace: str) -> bool:
        """Whether `mark_indexed` was called for the namespace: an index without a checkpoint was lost then."""
        ...

    def mark_indexed(self, namespace: str) -> None:
        """Record that the namespace's index has a checkpoint."""
        ...

    @property
    def store_id(self) -> str:
        """Made with the store and never changed: tells whether an index belongs to it."""
        ...

    def knows(self, namespace: str, request: Request) -> bool:
        """Whether this request was answered before. Raises `Conflict` like a mutating call."""
        ...

    def expire_requests(self, before: datetime) -> None:
        """Drop requests recorded before a moment; they are no longer recognised when sent again."""
        ...

    def problems(self) -> list[str]:
        """What an integrity check of the whole store finds; reads all of it."""
        ...

    def close(self) -> None:
        """Finish what is at work and let go of all files."""
        ...
