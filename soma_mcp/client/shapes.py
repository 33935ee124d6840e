"""Values of the domain as the JSON of the HTTP API, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from soma_core.domain.errors import InvalidInput, Retryable, SomaError, error_classes
from soma_core.domain.lines import FIELDS
from soma_core.domain.memory import Memory, NewMemory
from soma_core.domain.query import RECENCY, Filter, Page, Recall, RecallQuery
from soma_core.domain.receipts import StoreReceipt
from soma_core.domain.rendering import rendered
from soma_core.domain.validation import invalid, printable
from soma_core.engine import Status

T = TypeVar("T")

Given = NewMemory | Memory | Mapping[str, Any] | str
"""A memory to store: checked, or as an export gave it, or a dictionary of the fields of `store`, or only its text."""


class MemoryFields(TypedDict, total=False):
    """What may be given with a memory's text; see `NewMemory.parse`."""

    type: str
    tags: Sequence[str]
    thread: str | None
    speaker: str | None
    occurred_at: datetime | str | None
    coordinate: str | None
    importance: float
    payload: Mapping[str, Any]


class FilterFields(TypedDict, total=False):
    """Which memories are meant; see `Filter.parse`."""

    types: Sequence[str]
    tags: Sequence[str]
    thread: str | None
    speaker: str | None
    since: datetime | str | None
    until: datetime | str | None


@dataclass(frozen=True, slots=True)
class Refused:
    """A line of an import that was not stored; `line` counts from 1."""

    line: int
    code: str
    message: str
    fields: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import came to."""

    stored: int
    refused: Sequence[Refused] = ()


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def rebuilt(kind: type[T], found: Any) -> T:
    """A value of the domain from JSON; fields that this version does not know are left out. Raises `ValueError`."""
    hashable: Any = kind
    value: T = _adapter(hashable).validate_python(found)
    return value


def new_memory(given: Given, fields: Mapping[str, Any]) -> NewMemory:
    """A memory to store, checked; `fields` go with a text. Raises `InvalidInput`."""
    if isinstance(given, NewMemory) and not fields:
        return given
    if isinstance(given, NewMemory | Memory):
        return NewMemory.parse(**{name: getattr(given, name) for name in FIELDS} | dict(fields))
    raw: dict[str, Any] = {"text": given} if isinstance(given, str) else dict(given)
    raw.update(fields)
    if unknown := [printable(str(name)) for name in raw.keys() - set(FIELDS)]:
        message = f"{', '.join(sorted(unknown))}: unknown field; a memory may have {', '.join(FIELDS)}"
        raise InvalidInput(message, fields=sorted(unknown))
    return NewMemory.parse(raw.pop("text", None), **raw)


def memory_json(memory: NewMemory, coordinate: str = "coord") -> dict[str, Any]:
    """A memory as the routes take it; `coordinate` is their name for that field."""
    found = {
        "text": memory.text,
        "type": memory.type.value,
        "tags": list(memory.tags),
        "thread": memory.thread,
        "speaker": memory.speaker,
        "occurred_at": memory.occurred_at.isoformat() if memory.occurred_at else None,
        coordinate: memory.coordinate,
        "importance": memory.importance,
        "payload": memory.payload or None,
    }
    return {name: value for name, value in found.items() if value not in (None, [])}


def line(given: Given) -> bytes:
    """A memory as a line of an import; a dictionary as it is."""
    if not isinstance(given, Mapping):
        given = memory_json(new_memory(given, {}), coordinate="coordinate")
    return json.dumps(dict(given), ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def filter_json(wanted: Filter) -> dict[str, Any]:
    """The conditions of a filter that restrict."""
    found = {
        "types": [kind.value for kind in wanted.types],
        "tags": list(wanted.tags),
        "thread": wanted.thread,
        "speaker": wanted.speaker,
        "since": wanted.since.isoformat() if wanted.since else None,
        "until": wanted.until.isoformat() if wanted.until else None,
    }
    return {name: value for name, value in found.items() if value}


def query_json(query: RecallQuery) -> dict[str, Any]:
    """A question as `POST /recall` takes it. Raises `InvalidInput` for what that route cannot be asked."""
    if query.terms:
        raise invalid("terms", "cannot be asked of a server by this client: use POST /hybrid_recall_with_scores")
    if query.without - {RECENCY}:
        raise invalid("without", "of the steps of ranking a server can be asked to leave out recency alone")
    if clash := sorted(query.payload.keys() & FilterFields.__annotations__.keys()):
        raise InvalidInput(f"payload: cannot be asked for {', '.join(clash)} over HTTP", fields=("payload",))
    return {
        "query": query.text,
        "top_k": query.limit,
        "filters": query.payload | filter_json(query.filter),
        "hybrid": query.hybrid,
        "order": query.order,
        "max_tokens": query.max_tokens,
        "fold": query.fold,
        "since_cursor": query.since_cursor,
        "recency": RECENCY not in query.without,
    }


def memory_from(found: Any) -> Memory:
    """A memory; a server does not name the namespace, which is the token's."""
    return rebuilt(Memory, {"namespace": ""} | found)


def recall_from(max_tokens: int, found: Any) -> Recall:
    """An answer of `POST /recall`, with the text that a model is shown."""
    hits = [
        {"memory": {"namespace": ""} | memory}
        | {"parts": memory["parts"], "cut": memory["cut"], "alike": memory.get("alike", [])}
        for memory in (match["memory"] for match in found["matches"])
    ]
    answer = rebuilt(Recall, found | {"hits": hits})
    return replace(answer, text=rendered(answer, max_tokens))


def page_from(found: Any) -> Page:
    return Page([memory_from(memory) for memory in found["memories"]], found.get("next_cursor"))


def receipts_from(found: Any) -> list[StoreReceipt | SomaError]:
    """The results of `POST /store_bulk`, in the order of the items."""
    return [
        rebuilt(StoreReceipt, result) if result["ok"] else error_from(result["error"]) for result in found["results"]
    ]


def status_from(found: Any) -> Status:
    """An answer of `GET /stats`."""
    return rebuilt(
        Status,
        found
        | {
            "live": found["total_memories"],
            "types": {kind: found[kind] for kind in ("episodic", "semantic", "procedural")},
            "pending_words": found["pending"]["words"],
            "pending_vectors": found["pending"]["vectors"],
            "pending_oldest": found["pending"].get("oldest"),
            "model": found["model"]["id"],
            "model_ready": found["model"]["ready"],
        },
    )


def error_from(found: Any, retry_after: float = 1.0) -> SomaError:
    """The domain's error of a JSON error object."""
    kind = error_classes().get(found["code"], SomaError)
    message, fields = str(found["message"]), [str(field) for field in found.get("fields") or ()]
    if issubclass(kind, Retryable):
        return kind(message, fields=fields, retry_after=retry_after)
    return kind(message, fields=fields)
