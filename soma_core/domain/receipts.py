"""What a write returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal
from uuid import UUID


class StoreStatus(StrEnum):
    """What storing did. `duplicate`: `check` found the same text, nothing was stored."""

    CREATED = "created"
    REVISED = "revised"
    UNCHANGED = "unchanged"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Change:
    """What one stored memory came to in the records; kept with its request id."""

    id: UUID
    version: int
    status: StoreStatus


@dataclass(frozen=True, slots=True)
class Similar:
    """A memory that says nearly the same; `score` is the cosine of the two texts."""

    id: UUID
    text: str
    score: float


Indexed = Literal["none", "lexical", "full"]


@dataclass(frozen=True, slots=True)
class StoreReceipt:
    """The memory is durable. `indexed` says what the index had of it when the call returned."""

    id: UUID
    version: int
    status: StoreStatus
    indexed: Indexed
    similar: Sequence[Similar] = ()


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a forget came to in the records; kept with its request id."""

    ids: Sequence[UUID]
    """The memories that were live before, or forgotten and now purged; at most the first 1,000."""
    count: int
    not_found: Sequence[str]


@dataclass(frozen=True, slots=True)
class ForgetReceipt:
    """From here on nothing returns what was forgotten.

    `records` is `forgotten` (the text is kept, out of reach), `purged` (erased from the store) or `purge pending`
    (out of reach, to be erased from it when readers let go); `index` is `removed` or `pending` (out of reach; the
    indexer removes it, and a cache lets go of it within a minute); in a dry run both are `untouched`.
    """

    ids: Sequence[UUID]
    count: int
    not_found: Sequence[str]
    dry_run: bool
    records: Literal["forgotten", "purged", "purge pending", "untouched"]
    index: Literal["removed", "pending", "untouched"]
