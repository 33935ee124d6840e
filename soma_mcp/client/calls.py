"""What each method asks of a server, and how its answer is read; nothing here sends anything."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Any, Generic, TypeVar

from soma_core.domain.errors import InvalidInput, SomaError
from soma_core.domain.memory import Memory, NewMemory, uuid7
from soma_core.domain.query import BrowseQuery, Filter, Page, Recall, RecallQuery
from soma_core.domain.receipts import ForgetReceipt, StoreReceipt
from soma_core.domain.validation import MAX_NAME, check_string
from soma_core.engine import Status
from soma_mcp.client import shapes

T = TypeVar("T")

SPOOL_BYTES = 8 << 20
"""An import is kept in memory up to this size, then in a temporary file, so that it can be sent again."""
CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, which can be sent any number of times, and what makes a value of its answer."""

    method: str
    path: str
    read: Callable[[Any], T]
    params: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    """A JSON value."""
    lines: IO[bytes] | None = None
    """JSON lines in place of a body."""
    headers: Mapping[str, str] = field(default_factory=dict)


def _keyed(key: str | None) -> tuple[dict[str, str], dict[str, str]]:
    """The headers, and else the field, that carry the idempotency key; made when there is none."""
    key = check_string("key", key, max_chars=MAX_NAME) if key is not None else str(uuid7())
    if key.isascii() and key.isprintable() and key == key.strip():
        return {"idempotency-key": key}, {}
    return {}, {"key": key}


def store(memory: NewMemory, key: str | None, check: bool) -> Call[StoreReceipt]:
    headers, extra = _keyed(key)
    body = shapes.memory_json(memory) | extra | ({"check": True} if check else {})
    return Call("POST", "/store", partial(shapes.rebuilt, StoreReceipt), body=body, headers=headers)


def store_many(memories: Sequence[NewMemory], key: str | None) -> Call[list[StoreReceipt]]:
    """All of the memories or none."""
    return _bulk(memories, key, False, _all_stored)


def store_each(memories: Sequence[NewMemory], key: str | None) -> Call[list[StoreReceipt | SomaError]]:
    """Each memory stands or falls alone."""
    return _bulk(memories, key, True, shapes.receipts_from)


def _bulk(memories: Sequence[NewMemory], key: str | None, partly: bool, read: Callable[[Any], T]) -> Call[T]:
    headers, extra = _keyed(key)
    body = {"items": [shapes.memory_json(memory) for memory in memories], "partial": partly} | extra
    return Call("POST", "/store_bulk", read, body=body, headers=headers)


def _all_stored(found: Any) -> list[StoreReceipt]:
    receipts = []
    for outcome in shapes.receipts_from(found):
        if isinstance(outcome, SomaError):
            raise outcome
        receipts.append(outcome)
    return receipts


def recall(query: RecallQuery) -> Call[Recall]:
    return Call("POST", "/recall", partial(shapes.recall_from, query.max_tokens), body=shapes.query_json(query))


def get(ids: Sequence[str]) -> Call[list[Memory]]:
    return Call("GET", "/memories", lambda found: list(shapes.page_from(found).memories), {"ids": ",".join(ids)})


def browse(query: BrowseQuery) -> Call[Page]:
    params = shapes.filter_json(query.filter) | {"order": query.order, "limit": str(query.limit)}
    if query.cursor:
        params["cursor"] = query.cursor
    return Call("GET", "/memories", shapes.page_from, params)


def forget(
    ids: Sequence[str], wanted: Filter, purge: bool, dry_run: bool, reason: str | None, key: str | None
) -> Call[ForgetReceipt]:
    if wanted.types or wanted.since:
        raise InvalidInput("types, since: a forget cannot be restricted by them", fields=("types", "since"))
    headers, extra = _keyed(key)
    body = shapes.filter_json(wanted) | extra | {"purge": purge, "dry_run": dry_run}
    body |= {name: value for name, value in (("ids", list(ids)), ("reason", reason)) if value}
    if "until" in body:
        body["before"] = body.pop("until")
    return Call("POST", "/forget", partial(shapes.rebuilt, ForgetReceipt), body=body, headers=headers)


def status() -> Call[Status]:
    return Call("GET", "/stats", shapes.status_from)


def export() -> Call[Memory]:
    """Its answer is lines, of which each is read alone."""
    return Call("GET", "/export", shapes.memory_from)


@contextmanager
def import_(memories: Iterable[shapes.Given], key: str | None, partly: bool) -> Iterator[Call[shapes.Imported]]:
    """Dictionaries are not checked here: the server names the lines that are wrong."""
    headers, extra = _keyed(key)
    with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as lines:
        for memory in memories:
            lines.write(shapes.line(memory))
        yield Call(
            "POST",
            "/import",
            partial(shapes.rebuilt, shapes.Imported),
            {"partial": json.dumps(partly)} | extra,
            lines=lines,
            headers=headers | {"content-type": "application/x-ndjson", "content-length": str(lines.tell())},
        )


def pieces(lines: IO[bytes]) -> Iterator[bytes]:
    """All of a file, from its beginning."""
    lines.seek(0)
    while piece := lines.read(CHUNK):
        yield piece


class LineCutter:
    """Cuts what is received into lines, at newlines only: JSON may hold other separators."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are whole now."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line for line in lines if line.strip()]

    def end(self) -> list[bytes]:
        """A last line without a newline."""
        return self.feed(b"\n")
