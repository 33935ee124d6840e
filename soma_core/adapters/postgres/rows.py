"""Between rows and the domain's values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any
from uuid import UUID

from soma_core.adapters.values import memory_of, micros, moment
from soma_core.domain.events import Event, EventKind
from soma_core.domain.memory import Memory
from soma_core.domain.query import Filter


@lru_cache(4_096)
def ns_of(namespace: str) -> str:
    """What stands for a namespace in the rows: half of the SHA-256 of its name, as a UUID."""
    return str(UUID(bytes=sha256(namespace.encode()).digest()[:16]))


def lock_key(ns: str) -> int:
    """The number of a namespace's lock; should two share one, their writers take turns too."""
    return int.from_bytes(UUID(ns).bytes[:8], signed=True)


def texts(ids: Iterable[UUID]) -> list[str]:
    """Ids as Postgres takes them."""
    return [str(key) for key in ids]


def memory(namespace: str, row: Sequence[Any]) -> Memory:
    """From `created_at` and what a version says, as the queries name it."""
    return memory_of(namespace, UUID(row[1]), row)


def event(namespace: str, row: Sequence[Any]) -> Event:
    """From offset, id, version, kind and time."""
    offset, key, version, kind, time = row
    return Event(offset, namespace, UUID(key), version, EventKind(kind), moment(time))


def where(ns: str, wanted: Filter) -> tuple[str, dict[str, Any]]:
    """The filter as SQL over `memories m`, without the state, and its values."""
    terms, values = ["m.ns = %(ns)s"], {"ns": ns}
    for number, tag in enumerate(wanted.tags):
        terms.append(f"m.id IN (SELECT id FROM memory_tags WHERE ns = %(ns)s AND tag = %(tag{number})s)")
        values[f"tag{number}"] = tag
    simple: list[tuple[str, str, Any]] = [
        ("m.type = ANY (%(types)s)", "types", [t.value for t in wanted.types] or None),
        ("m.thread = %(thread)s", "thread", wanted.thread),
        ("m.speaker = %(speaker)s", "speaker", wanted.speaker),
        ("m.occurred_at >= %(since)s", "since", micros(wanted.since) if wanted.since else None),
        ("m.occurred_at < %(until)s", "until", micros(wanted.until) if wanted.until else None),
    ]
    for term, name, value in simple:
        if value is not None:
            terms.append(term)
            values[name] = value
    return " AND ".join(terms), values
