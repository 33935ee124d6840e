"""What a caller writes in Python as the checked values that the engine takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from typing_extensions import TypedDict

from soma_core.domain.query import BrowseQuery, Filter, RecallQuery, parse_ids
from soma_core.domain.receipts import ForgetReceipt
from soma_core.domain.validation import check_bool, check_string
from soma_mcp.client import calls
from soma_mcp.client.calls import Call
from soma_mcp.client.shapes import FilterFields

T = TypeVar("T")

MAX_REASON = 1_000


class RecallFields(FilterFields, total=False):
    """What may be given with a question; see `RecallQuery.parse`."""

    limit: int
    order: str
    max_tokens: int
    hybrid: bool
    payload: Mapping[str, Any]
    fold: bool
    recency: bool
    since_cursor: str | None


class BrowseFields(FilterFields, total=False):
    """How to walk; see `BrowseQuery.parse`."""

    order: str
    limit: int
    cursor: str | None


class ForgetFields(TypedDict, total=False):
    """What to forget, and how; see `Soma.forget`."""

    thread: str | None
    tags: Sequence[str]
    before: datetime | str | None
    speaker: str | None
    purge: bool
    dry_run: bool
    reason: str | None
    key: str | None


def question(query: RecallQuery | str, fields: Mapping[str, Any]) -> RecallQuery:
    """A question; `fields` go with a text. Raises `InvalidInput`."""
    if isinstance(query, RecallQuery):
        return _alone(query, fields)
    wanted, rest = _split(fields)
    return RecallQuery.parse(query, filter=wanted, **rest)


def walk(query: BrowseQuery | None, fields: Mapping[str, Any]) -> BrowseQuery:
    """A walk through memories. Raises `InvalidInput`."""
    if query is not None:
        return _alone(query, fields)
    wanted, rest = _split(fields)
    return BrowseQuery.parse(filter=wanted, **rest)


def forgetting(given: Sequence[object], wanted: Filter | None, fields: ForgetFields) -> Call[ForgetReceipt]:
    """The call that forgets. Raises `InvalidInput`."""
    named = {name: fields.get(name) for name in ("thread", "tags", "before", "speaker")}
    reason = fields.get("reason")
    return calls.forget(
        ids(given) if given else (),
        wanted if wanted is not None else Filter.parse(**named),
        check_bool("purge", fields.get("purge", False)),
        check_bool("dry_run", fields.get("dry_run", False)),
        check_string("reason", reason, max_chars=MAX_REASON) if reason is not None else None,
        fields.get("key"),
    )


def ids(given: Sequence[object]) -> tuple[str, ...]:
    """Ids, as text or as `UUID`. Raises `InvalidInput`."""
    return parse_ids(given if isinstance(given, str) else [str(each) for each in given])


def _split(fields: Mapping[str, Any]) -> tuple[Filter, dict[str, Any]]:
    names = FilterFields.__annotations__
    wanted = Filter.parse(**{name: value for name, value in fields.items() if name in names})
    return wanted, {name: value for name, value in fields.items() if name not in names}


def _alone(query: T, fields: Mapping[str, Any]) -> T:
    if fields:
        raise TypeError(f"{', '.join(fields)}: give them with the query itself")
    return query
