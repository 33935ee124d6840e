"""Events and dead letters as JSON, the schemas of which are in docs/events. Neither holds text of a memory."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from soma_core.domain.events import Event, EventKind
from soma_core.domain.validation import MAX_NAMESPACE

EVENT = "memory.event.v1"
DEAD_LETTER = "memory.dead_letter.v1"
EVENT_FIELDS = ("schema", "namespace", "id", "version", "kind", "time", "offset")
LARGEST = (1 << 63) - 1
MAX_KEPT = 16_384
"""Bytes of an event of an unknown version that a dead letter keeps; larger than any event."""

Reason = Literal["malformed", "unknown_schema", "failed"]
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


class BadEvent(ValueError):
    """What is no event as a schema has it that is known here. Says which field is wrong, never what it holds."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up, and why."""

    id: str
    """Where it stood: topic, partition, position."""
    component: str
    """Who gave it up."""
    reason: Reason
    error: str
    """What went wrong, without the text of a memory."""
    attempts: int
    time: datetime
    event: dict[str, Any] | None
    """The event as it came; None when it was none, and nothing can be sent again."""


def encode_event(event: Event) -> bytes:
    """An event as a message."""
    return (
        f'{{"schema":"{EVENT}","namespace":{_quoted(event.namespace)},"id":"{event.memory_id}","version":{event.version},'
        f'"kind":"{event.kind.value}","time":"{_time(event.time)}","offset":{event.offset}}}'
    ).encode()


def check_event(event: Event) -> None:
    """Raises `BadEvent` unless the event as a message is what its schema allows."""
    good = {
        "namespace": 1 <= len(event.namespace) <= MAX_NAMESPACE,
        "version": 1 <= event.version <= LARGEST,
        "offset": 0 <= event.offset <= LARGEST,
    }
    if not all(good.values()):
        _refuse(good)


def decode_event(value: bytes | None) -> Event:
    """The event that a message is. Raises `BadEvent`."""
    body = _parse(value)
    if (schema := body.get("schema")) != EVENT:
        known = isinstance(schema, str) and schema.startswith("memory.event.")
        raise BadEvent("unknown_schema" if known else "malformed", f"schema: is not {EVENT}")
    if body.keys() != set(EVENT_FIELDS):
        raise BadEvent("malformed", f"must have the fields {', '.join(EVENT_FIELDS)} and no other")
    _check(body)
    try:
        time = datetime.fromisoformat(body["time"])
    except ValueError:
        raise BadEvent("malformed", "time: is no moment that there was") from None
    kind = EventKind(body["kind"])
    return Event(body["offset"], body["namespace"], UUID(body["id"]), body["version"], kind, time)


def _check(body: dict[str, Any]) -> None:
    """Every field as the schema has it. Raises `BadEvent`."""
    namespace, kind = body["namespace"], body["kind"]
    good = {
        "namespace": isinstance(namespace, str) and 1 <= len(namespace) <= MAX_NAMESPACE,
        "id": isinstance(body["id"], str) and _UUID.fullmatch(body["id"]),
        "version": _whole(body["version"], 1),
        "kind": isinstance(kind, str) and kind in EventKind.__members__.values(),
        "time": isinstance(body["time"], str) and _TIME.fullmatch(body["time"]),
        "offset": _whole(body["offset"], 0),
    }
    _refuse(good)


def _refuse(good: Mapping[str, object]) -> None:
    for field, fits in good.items():
        if not fits:
            raise BadEvent("malformed", f"{field}: is not as {EVENT} has it")


@functools.lru_cache(maxsize=1_024)
def _quoted(namespace: str) -> str:
    return json.dumps(namespace, ensure_ascii=False)


def _whole(value: object, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= LARGEST


def salvage(value: bytes | None) -> dict[str, Any] | None:
    """What a dead letter keeps of a message: all of an event of any version, nothing of what is none."""
    try:
        body = _parse(value)
    except BadEvent:
        return None
    is_event = str(body.get("schema")).startswith("memory.event.")
    return body if is_event and len(value or b"") <= MAX_KEPT else None


def encode_letter(letter: DeadLetter) -> bytes:
    """A dead letter as a message."""
    fields = {name: getattr(letter, name) for name in DeadLetter.__dataclass_fields__}
    return _dump({"schema": DEAD_LETTER} | fields | {"time": _time(letter.time)})


def decode_letter(value: bytes | None) -> DeadLetter:
    """The dead letter that a message is. Raises `BadEvent`."""
    body = _parse(value)
    if body.pop("schema", None) != DEAD_LETTER or body.keys() != DeadLetter.__dataclass_fields__.keys():
        raise BadEvent("malformed", f"is not as {DEAD_LETTER} has it")
    return DeadLetter(**body | {"time": datetime.fromisoformat(body["time"])})


def encode_kept(event: dict[str, Any]) -> bytes:
    """The event of a dead letter as the message that it was."""
    return _dump(event)


def _parse(value: bytes | None) -> dict[str, Any]:
    try:
        body = json.loads(value or b"")
    except (ValueError, RecursionError):
        raise BadEvent("malformed", "is no JSON") from None
    if not isinstance(body, dict):
        raise BadEvent("malformed", "is no JSON object")
    return body


def _dump(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
