"""Between what databases hold and the domain's values, where all of Soma's tables hold them alike."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from soma_core.domain.memory import Memory, MemoryType
from soma_core.domain.tokens import Token

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    """Microseconds since 1970 UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def moment(microseconds: int) -> datetime:
    """The instant so many microseconds after 1970 UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def compact(value: object) -> str:
    """JSON without spaces."""
    return _JSON.encode(value)


def memory_of(namespace: str, key: UUID, row: Sequence[Any]) -> Memory:
    """From `created_at` and then what a version says, in the order of its columns; the id is read by the adapter."""
    created, _, version, recorded, text, type_, tags, thread, position, speaker, occurred = row[:11]
    coordinate, weight, payload = row[11:]
    return Memory(
        id=key,
        namespace=namespace,
        version=version,
        text=text,
        type=MemoryType(type_),
        tags=tuple(json.loads(tags)) if tags != "[]" else (),
        thread=thread,
        position=position,
        speaker=speaker,
        occurred_at=moment(occurred),
        recorded_at=moment(recorded),
        created_at=moment(created),
        coordinate=coordinate,
        importance=weight,
        payload=json.loads(payload) if payload != "{}" else {},
    )


def token_of(row: Sequence[Any]) -> Token:
    """From the columns of the table `tokens` but the digest."""
    key, namespace, scopes, created, expires, revoked, name = row
    return Token(
        id=key,
        namespace=namespace,
        scopes=tuple(scopes.split(",")),
        created_at=moment(created),
        expires_at=moment(expires) if expires is not None else None,
        revoked_at=moment(revoked) if revoked is not None else None,
        name=name,
    )
