"""Events and dead letters as messages: what the code takes is what the published schemas say."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from soma_core.domain.events import Event, EventKind
from soma_core.domain.messages import (
    DEAD_LETTER,
    EVENT,
    EVENT_FIELDS,
    BadEvent,
    DeadLetter,
    Reason,
    check_event,
    decode_event,
    decode_letter,
    encode_event,
    encode_letter,
    salvage,
)

FOLDER = Path(__file__).parents[2] / "docs" / "events"
SCHEMAS = {name: json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")) for name in (EVENT, DEAD_LETTER)}
ALLOWS = jsonschema.Draft202012Validator(SCHEMAS[EVENT]).is_valid

GOOD = {
    "schema": EVENT,
    "namespace": "größe '\"%; 🦊",
    "id": "0190a3c2-0000-7000-8000-000000000001",
    "version": 3,
    "kind": "revised",
    "time": "2026-02-28T23:59:59.123456Z",
    "offset": 12,
}
LETTER = DeadLetter("memory.events-3-17", "c", "failed", "boom", 5, datetime(2026, 1, 1, tzinfo=UTC), GOOD)

events = st.builds(
    Event,
    st.integers(0, 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=1_024),
    st.uuids(),
    st.integers(1, 2**63 - 1),
    st.sampled_from(EventKind),
    st.datetimes(timezones=st.just(UTC)),
)


@given(events)
def test_an_event_comes_back_as_it_was_and_is_what_its_schema_allows(event: Event) -> None:
    check_event(event)
    encoded = encode_event(event)
    assert decode_event(encoded) == event
    assert ALLOWS(json.loads(encoded))


EVENTLESS: dict[str, dict[str, Any]] = {
    "namespace": {"namespace": ""},
    "namespace that is long": {"namespace": "n" * 1_025},
    "version": {"version": 0},
    "offset": {"offset": -1},
    "offset that is huge": {"offset": 2**63},
}


@pytest.mark.parametrize("name", EVENTLESS)
def test_an_event_is_refused_before_it_is_sent_exactly_where_its_message_would_be(name: str) -> None:
    good = Event(1, "n", UUID(int=1), 1, EventKind.STORED, LETTER.time)
    event = replace(good, **EVENTLESS[name])
    with pytest.raises(BadEvent, match=f"^{name.split()[0]}:"):
        check_event(event)
    assert not ALLOWS(json.loads(encode_event(event)))
    with pytest.raises(BadEvent):
        decode_event(encode_event(event))


def changed(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in (GOOD | fields).items() if value is not ...}


BAD: dict[str, dict[str, Any]] = {
    **{f"no {field}": changed(**{field: ...}) for field in EVENT_FIELDS},
    **{f"{field} is null": changed(**{field: None}) for field in EVENT_FIELDS},
    **{f"{field} is a list": changed(**{field: []}) for field in EVENT_FIELDS},
    "another field": changed(text="what it says"),
    "no namespace": changed(namespace=""),
    "a long namespace": changed(namespace="n" * 1_025),
    "an id in capitals": changed(id=GOOD["id"].upper()),  # type: ignore[attr-defined]
    "an id in braces": changed(id="{" + str(GOOD["id"]) + "}"),
    "an id and more": changed(id=f"{GOOD['id']}0"),
    "version 0": changed(version=0),
    "version true": changed(version=True),
    "version as text": changed(version="3"),
    "a huge version": changed(version=2**63),
    "an offset below 0": changed(offset=-1),
    "an unknown kind": changed(kind="eaten"),
    "a time without a zone": changed(time="2026-02-28T23:59:59"),
    "a time elsewhere": changed(time="2026-02-28T23:59:59+01:00"),
    "an unknown version": changed(schema="memory.event.v2"),
    "another schema": changed(schema="memory.dead_letter.v1"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_the_schema_does_not_allow_is_not_taken(name: str) -> None:
    assert not ALLOWS(BAD[name])
    with pytest.raises(BadEvent) as caught:
        decode_event(json.dumps(BAD[name]).encode())
    assert caught.value.reason == ("unknown_schema" if name == "an unknown version" else "malformed")
    assert "what it says" not in str(caught.value)


@pytest.mark.parametrize(
    "value", [None, b"", b"{", b"[]", b"1", b"null", b"\xff", b'"x"', b"[" * 100_000, b"NaN", b"9" * 5_000]
)
def test_what_is_no_json_object_is_no_event_and_nothing_of_it_is_kept(value: bytes | None) -> None:
    with pytest.raises(BadEvent) as caught:
        decode_event(value)
    assert caught.value.reason == "malformed"
    assert salvage(value) is None


def test_a_day_that_never_was_is_not_taken() -> None:
    with pytest.raises(BadEvent, match="time"):
        decode_event(json.dumps(changed(time="2026-02-30T00:00:00Z")).encode())


def test_a_dead_letter_keeps_an_event_of_any_version_and_nothing_of_what_is_none() -> None:
    later = {"schema": "memory.event.v9", "id": "x", "new": [1]}
    assert salvage(json.dumps(later).encode()) == later
    assert salvage(json.dumps({"schema": "other", "text": "secret"}).encode()) is None
    assert salvage(json.dumps(later | {"new": "x" * 20_000}).encode()) is None


@pytest.mark.parametrize("event", [GOOD, None])
def test_a_dead_letter_comes_back_as_it_was_and_is_what_its_schema_allows(event: dict[str, Any] | None) -> None:
    letter = DeadLetter("t-0-1", "indexer", "malformed", "is no JSON", 1, datetime(2026, 1, 2, 3, tzinfo=UTC), event)
    encoded = encode_letter(letter)
    jsonschema.validate(json.loads(encoded), SCHEMAS[DEAD_LETTER])
    assert decode_letter(encoded) == letter


@pytest.mark.parametrize(
    "value", [b"", b"{}", encode_event(Event(1, "n", UUID(int=1), 1, EventKind.STORED, LETTER.time))]
)
def test_what_is_no_dead_letter_is_not_taken_for_one(value: bytes) -> None:
    with pytest.raises(BadEvent):
        decode_letter(value)


def test_the_schemas_name_the_kinds_and_reasons_that_there_are() -> None:
    assert SCHEMAS[EVENT]["properties"]["kind"]["enum"] == [kind.value for kind in EventKind]
    assert SCHEMAS[EVENT]["required"] == list(EVENT_FIELDS)
    assert SCHEMAS[DEAD_LETTER]["properties"]["reason"]["enum"] == list(get_args(Reason))
    assert SCHEMAS[DEAD_LETTER]["required"] == ["schema", *DeadLetter.__dataclass_fields__]
