"""What goes over the socket comes out as it went in."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from soma_core.domain.errors import SomaError, error_classes
from soma_core.domain.memory import Memory, MemoryType, NewMemory, Scope
from soma_core.domain.query import BrowseQuery, Filter, Hit, Page, Parts, Recall, RecallQuery
from soma_core.domain.receipts import ForgetReceipt, Similar, StoreReceipt, StoreStatus
from soma_core.engine import Status
from soma_core.services.copies import CacheDrift, LogDrift
from soma_core.services.inspect import Drift
from soma_mcp.sharing.wire import error_body, error_from, method

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
text = st.text(characters, max_size=12)
name = text.filter(str.strip)
number = st.floats(allow_nan=False, allow_infinity=False)
moments = st.datetimes(timezones=st.just(UTC))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | number | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
payloads = st.dictionaries(text, json_values, max_size=3)
tags = st.lists(name, max_size=3, unique=True).map(tuple)
types = st.sampled_from(MemoryType)
maybe = name | st.none()
counts = st.integers(0, 10**12)

scopes = st.builds(Scope, name, caller=name, request_id=maybe)
filters = st.builds(
    Filter,
    types=st.lists(types, max_size=3, unique=True).map(tuple),
    tags=tags,
    thread=maybe,
    speaker=maybe,
    since=moments | st.none(),
    until=moments | st.none(),
)
new_memories = st.builds(
    NewMemory,
    name,
    type=types,
    tags=tags,
    thread=maybe,
    speaker=maybe,
    occurred_at=moments | st.none(),
    coordinate=maybe,
    importance=st.floats(0, 1),
    payload=payloads,
)
memories = st.builds(
    Memory,
    id=st.uuids(),
    namespace=name,
    version=st.integers(1, 10**9),
    text=name,
    type=types,
    tags=tags,
    thread=maybe,
    position=counts | st.none(),
    speaker=maybe,
    occurred_at=moments,
    recorded_at=moments,
    created_at=moments,
    coordinate=maybe,
    importance=st.floats(0, 1),
    payload=payloads,
)
hits = st.builds(Hit, memories, st.builds(Parts, number, number, number), cut=st.booleans())
few = {"max_size": 3}
ids = st.lists(st.uuids(), **few)  # type: ignore[arg-type]
names = st.lists(name, **few)  # type: ignore[arg-type]

CALLS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "store": st.fixed_dictionaries({"scope": scopes, "memory": new_memories}),
    "store_checked": st.fixed_dictionaries({"scope": scopes, "memory": new_memories}),
    "store_many": st.fixed_dictionaries({"scope": scopes, "memories": st.lists(new_memories, max_size=3)}),
    "recall": st.fixed_dictionaries(
        {
            "scope": scopes,
            "query": st.builds(RecallQuery, name, st.integers(1, 100), filters, st.sampled_from(["score", "time"])),
        }
    ),
    "get": st.fixed_dictionaries({"scope": scopes, "ids": names}),
    "browse": st.fixed_dictionaries(
        {"scope": scopes, "query": st.builds(BrowseQuery, filters, st.sampled_from(["newest", "oldest"]), cursor=maybe)}
    ),
    "forget": st.fixed_dictionaries(
        {"scope": scopes},
        optional={
            "ids": names,
            "wanted": filters | st.none(),
            "purge": st.booleans(),
            "dry_run": st.booleans(),
            "reason": maybe,
        },
    ),
    "status": st.fixed_dictionaries({"scope": scopes}),
}

receipts = st.builds(
    StoreReceipt,
    st.uuids(),
    counts,
    st.sampled_from(StoreStatus),
    st.sampled_from(["none", "lexical", "full"]),
    similar=st.lists(st.builds(Similar, st.uuids(), name, number), max_size=2),
)
RESULTS: dict[str, st.SearchStrategy[Any]] = {
    "store": receipts,
    "store_many": st.lists(receipts, max_size=3),
    "recall": st.builds(Recall, st.lists(hits, max_size=3), names, counts, counts),
    "get": st.lists(memories, max_size=3),
    "browse": st.builds(Page, st.lists(memories, max_size=3), maybe),
    "forget": st.builds(
        ForgetReceipt,
        ids,
        counts,
        names,
        st.booleans(),
        st.sampled_from(["forgotten", "purged", "purge pending", "untouched"]),
        st.sampled_from(["removed", "pending", "untouched"]),
    ),
    "status": st.builds(
        Status,
        name,
        counts,
        counts,
        counts,
        st.dictionaries(name, counts, max_size=3),
        counts,
        counts,
        moments | st.none(),
        name,
        st.booleans(),
        names,
        name,
    ),
    "index": counts,
    "inspect": st.builds(
        Drift,
        name,
        *[counts] * 8,
        st.builds(LogDrift, *[counts] * 4) | st.none(),
        st.builds(CacheDrift, *[counts] * 4) | st.none(),
        names,
    ),
    "problems": names,
    "warm": st.none(),
}

calls = st.sampled_from(sorted(CALLS)).flatmap(lambda key: st.tuples(st.just(key), CALLS[key]))
results = st.sampled_from(sorted(RESULTS)).flatmap(lambda key: st.tuples(st.just(key), RESULTS[key]))


quick = settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


def types_in(value: Any) -> Any:
    """The kinds of all values inside: equality alone takes 1, 1.0 and True for the same."""
    if is_dataclass(value):
        return type(value), [types_in(getattr(value, item.name)) for item in fields(value)]
    if isinstance(value, dict):
        return {key: types_in(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [types_in(item) for item in value]
    return type(value)


@quick
@given(calls)
def test_arguments_come_out_as_they_went_in(call: tuple[str, dict[str, Any]]) -> None:
    called, arguments = call
    found, _, body = method(called).encode((), arguments).partition(b"\0")
    adapter = method(found.decode()).arguments
    decoded = adapter.validate_json(body)
    assert decoded == arguments
    assert json.loads(adapter.dump_json(decoded)) == json.loads(body)
    assert types_in(decoded) == types_in(arguments)


@quick
@given(results)
def test_results_come_out_as_they_went_in(answer: tuple[str, Any]) -> None:
    called, result = answer
    adapter = method(called).result
    decoded = adapter.validate_json(adapter.dump_json(result))
    assert decoded == result
    assert types_in(decoded) == types_in(result)


@given(st.sampled_from(sorted(error_classes())), name, names, st.floats(0.1, 60))
def test_errors_come_out_as_they_went_in(code: str, message: str, about: list[str], after: float) -> None:
    cls = error_classes()[code]
    error = cls(message, fields=about)
    if hasattr(error, "retry_after"):
        error.retry_after = after
    found = error_from(error_body(error))
    assert type(found) is type(error)
    assert (found.message, found.fields) == (error.message, error.fields)
    assert getattr(found, "retry_after", None) == getattr(error, "retry_after", None)


def test_a_date_of_the_first_year_goes_over_the_wire() -> None:
    adapter = method("get").result
    memory = Memory(
        id=UUID(int=1),
        namespace="n",
        version=1,
        text="x",
        type=MemoryType.EPISODIC,
        tags=(),
        thread=None,
        position=None,
        speaker=None,
        occurred_at=datetime(1, 1, 1, tzinfo=UTC),
        recorded_at=datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        created_at=datetime(1969, 12, 31, tzinfo=UTC),
        coordinate=None,
        importance=0.1,
        payload={},
    )
    assert adapter.validate_json(adapter.dump_json([memory])) == [memory]


def test_an_error_of_a_kind_unknown_here_is_still_an_error_of_soma() -> None:
    assert type(error_from(b'["new_code", "said", [], null]')) is SomaError
