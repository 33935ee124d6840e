"""Questions to the memory and their answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from soma_core.domain.cursor import Seen
from soma_core.domain.errors import InvalidInput
from soma_core.domain.memory import Memory, MemoryType, parse_type
from soma_core.domain.relevance import Relevance
from soma_core.domain.terms import Terms
from soma_core.domain.validation import (
    MAX_NAME,
    check_bool,
    check_choice,
    check_integer,
    check_string,
    check_tags,
    check_time,
    invalid,
)

MAX_LIMIT = 100
MAX_IDS = 1_000
MAX_TOKENS = 100_000
RECENCY = "recency"
"""The ranking step that a caller may switch off."""
QUERY_WORDS = 2_000
"""A longer query is cut to its first words, and the answer says so."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which memories are meant; what is None or empty does not restrict. All given conditions must hold."""

    types: tuple[MemoryType, ...] = ()
    tags: tuple[str, ...] = ()
    """A memory must carry every one of them."""
    thread: str | None = None
    speaker: str | None = None
    since: datetime | None = None
    """Inclusive, on `occurred_at`."""
    until: datetime | None = None
    """Exclusive, on `occurred_at`."""

    @property
    def is_empty(self) -> bool:
        return self == Filter()

    @classmethod
    def parse(
        cls,
        *,
        types: object = None,
        tags: object = None,
        thread: object = None,
        speaker: object = None,
        since: object = None,
        until: object = None,
        before: object = None,
    ) -> Filter:
        """Check raw arguments; None stands for an absent one.

        A date alone as `until` includes that day; as `before`, which means the same bound, it does not.
        """
        start = check_time("since", since) if since is not None else None
        end = check_time("until", until, end=True) if until is not None else None
        if before is not None:
            bound = check_time("before", before)
            end = min(end, bound) if end else bound
        if start and end and start >= end:
            raise InvalidInput("since: must be before until", fields=("since", "until"))
        return cls(
            types=_parse_types(types) if types is not None else (),
            tags=check_tags(tags) if tags is not None else (),
            thread=check_string("thread", thread, max_chars=MAX_NAME) if thread is not None else None,
            speaker=check_string("speaker", speaker, max_chars=MAX_NAME) if speaker is not None else None,
            since=start,
            until=end,
        )


def _parse_types(value: object) -> tuple[MemoryType, ...]:
    if not isinstance(value, list | tuple):
        raise invalid("types", "must be a list of episodic, semantic or procedural")
    return tuple(dict.fromkeys(parse_type(f"types[{i}]", item) for i, item in enumerate(value)))


@dataclass(frozen=True, slots=True)
class RecallQuery:
    """A question in words. Build it with `parse`."""

    text: str
    limit: int = 10
    filter: Filter = field(default_factory=Filter)
    order: Literal["score", "time"] = "score"
    max_tokens: int = 2_000
    hybrid: bool = True
    """Whether words count beside meaning."""
    payload: dict[str, Any] = field(default_factory=dict)
    """What the payload of a candidate must hold: each name with an equal value; objects inside are taken likewise."""
    terms: Terms | None = None
    """What lifts the candidates that hold it."""
    fold: bool = True
    """Whether memories that say the same are shown as one."""
    since_cursor: str | None = None
    """The cursor of an earlier answer: what was shown by then is left out."""
    without: frozenset[str] = frozenset()
    """The names of ranking steps that are left out (see `scoring.STEPS`)."""

    @classmethod
    def parse(
        cls,
        query: object,
        *,
        limit: object = 10,
        order: object = "score",
        max_tokens: object = 2_000,
        filter: Filter | None = None,
        hybrid: object = True,
        payload: dict[str, Any] | None = None,
        terms: Terms | None = None,
        fold: object = True,
        since_cursor: object = None,
        recency: object = True,
    ) -> RecallQuery:
        """With `recency` false, age counts for nothing."""
        return cls(
            text=check_string("query", query, max_chars=1_000_000),
            limit=check_integer("limit", limit, 1, MAX_LIMIT),
            filter=filter or Filter(),
            order="time" if check_choice("order", order, ("score", "time")) == "time" else "score",
            max_tokens=check_integer("max_tokens", max_tokens, 1, MAX_TOKENS),
            hybrid=check_bool("hybrid", hybrid),
            payload=payload or {},
            terms=terms,
            fold=check_bool("fold", fold),
            since_cursor=str(Seen.parse(since_cursor)) if since_cursor is not None else None,
            without=frozenset() if check_bool("recency", recency) else frozenset({RECENCY}),
        )

    @property
    def seen(self) -> Seen:
        """What the caller has already."""
        return Seen.parse(self.since_cursor) if self.since_cursor is not None else Seen()

    @property
    def looks_at_texts(self) -> bool:
        """Whether the candidates themselves must be read to rank them."""
        return bool(self.payload) or self.terms is not None


@dataclass(frozen=True, slots=True)
class Parts:
    """A score taken apart; the parts add up to `total`."""

    dense: float
    lexical: float
    total: float
    boosts: float = 0.0
    structure: float = 0.0
    importance: float = 0.0
    recency: float = 0.0


@dataclass(frozen=True, slots=True)
class Alike:
    """A memory that says the same as a hit and stands behind it."""

    id: UUID
    version: int
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Hit:
    """One memory in an answer."""

    memory: Memory
    parts: Parts
    cut: bool = False
    """Whether the text is only the part that matched, because the whole does not fit into the token budget."""
    alike: tuple[Alike, ...] = ()
    """What was folded into this one."""

    @property
    def score(self) -> float:
        return self.parts.total


@dataclass(frozen=True, slots=True)
class Recall:
    """An answer: the best memories first (or in time order), packed into the token budget."""

    hits: Sequence[Hit]
    degraded: Sequence[str]
    """What the answer was given without, such as `dense` while the model loads."""
    omitted: int
    """How many of the `limit` best did not fit into the budget."""
    tokens: int
    """About how many tokens `text` takes."""
    relevance: Relevance = "unknown"
    """Whether anything seems to be about the question; unknown where that cannot be said, as without the model."""
    seen: int = 0
    """How many better or equal memories were left out because the caller has them."""
    cursor: str = ""
    """What the caller has now; give it as `since_cursor` to be shown other memories."""
    text: str = ""
    """The answer as a model is shown it."""


@dataclass(frozen=True, slots=True)
class BrowseQuery:
    """A walk through memories by time. Build it with `parse`."""

    filter: Filter = field(default_factory=Filter)
    order: Literal["newest", "oldest"] = "newest"
    limit: int = 20
    cursor: str | None = None

    @classmethod
    def parse(
        cls, *, order: object = "newest", limit: object = 20, cursor: object = None, filter: Filter | None = None
    ) -> BrowseQuery:
        return cls(
            filter=filter or Filter(),
            order="oldest" if check_choice("order", order, ("newest", "oldest")) == "oldest" else "newest",
            limit=check_integer("limit", limit, 1, MAX_LIMIT),
            cursor=check_string("cursor", cursor, max_chars=MAX_NAME) if cursor is not None else None,
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a walk; `next_cursor` continues it, None at its end."""

    memories: Sequence[Memory]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Selection:
    """What to forget: these ids, or all that match the filter. Build it with `parse`."""

    ids: tuple[UUID, ...] = ()
    filter: Filter = field(default_factory=Filter)


def contains(payload: Any, wanted: Any) -> bool:
    """Whether a JSON value holds another: objects by their names, all else by being equal.

    As JSON has it, 1 equals 1.0 and not true.
    """
    if isinstance(wanted, dict):
        return isinstance(payload, dict) and all(
            name in payload and contains(payload[name], value) for name, value in wanted.items()
        )
    if isinstance(wanted, list) and isinstance(payload, list):
        return len(wanted) == len(payload) and all(map(contains, payload, wanted))
    return isinstance(payload, bool) == isinstance(wanted, bool) and bool(payload == wanted)


def parse_ids(value: object, field: str = "ids") -> tuple[str, ...]:
    """Ids as given: full UUIDs, or the last twelve digits of one. They are looked up in the namespace later."""
    if isinstance(value, str) or not isinstance(value, list | tuple):
        raise invalid(field, "must be a list of ids")
    if not 1 <= len(value) <= MAX_IDS:
        raise invalid(field, f"has {len(value)} entries, must have 1 to {MAX_IDS}")
    return tuple(dict.fromkeys(parse_id(f"{field}[{i}]", item) for i, item in enumerate(value)))


def parse_id(field: str, value: object) -> str:
    """One id as given: a full UUID, or the last twelve digits of one."""
    text = check_string(field, value, max_chars=64).strip().lower()
    if len(text) == 12 and not set(text) - set("0123456789abcdef"):
        return text
    try:
        return str(UUID(text))
    except ValueError:
        raise invalid(field, "must be a memory id (a UUID) or its last twelve digits") from None
