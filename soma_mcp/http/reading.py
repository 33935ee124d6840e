"""From what a request holds to what the engine takes. Raises `InvalidInput` naming the field as the caller knows it."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from pydantic import ValidationError

from soma_core.domain.errors import InvalidInput
from soma_core.domain.memory import NewMemory, Scope, parse_coordinate
from soma_core.domain.query import MAX_TOKENS, Filter, RecallQuery
from soma_core.domain.terms import Terms
from soma_core.domain.validation import MAX_NAME, check_json_characters, check_string, check_text, invalid
from soma_mcp.http.shapes import Item, Question

FILTER_FIELDS = ("types", "tags", "thread", "speaker", "since", "until")
PLACES = (("body",), ("query",), ("path",), ("header",))
"""How the place of a problem begins."""
MAX_FILTER_DEPTH = 8
MAX_FILTER_NAMES = 64


def scope_of(request: Request, key: str | None = None) -> Scope:
    """Where a call happens: the token's namespace; `key` or the header Idempotency-Key identifies a mutating one."""
    principal = request.state.principal
    given = key if key is not None else request.headers.get("idempotency-key")
    request_id = check_string("key", given, max_chars=MAX_NAME) if given is not None else None
    return Scope(principal.namespace, principal.caller, request_id)


def new_memory(item: Item) -> NewMemory:
    """The memory that an item describes."""
    return NewMemory.parse(
        item.text if item.text is not None else _text_of(item.payload),
        type=item.type,
        tags=item.tags,
        thread=item.thread,
        speaker=item.speaker,
        occurred_at=item.occurred_at,
        coordinate=parse_coordinate(item.coord, "coord") if item.coord is not None else None,
        importance=item.importance,
        payload=item.payload,
    )


def item_of(number: int, raw: Any) -> NewMemory:
    """The memory that one of many items describes; its problems are named `items[number].field`."""
    where = f"items[{number}]"
    if not isinstance(raw, dict):
        raise invalid(where, "must be a JSON object")
    try:
        return new_memory(Item.model_validate(raw))
    except InvalidInput as error:
        raise type(error)(f"{where}.{error.message}", fields=[f"{where}.{name}" for name in error.fields]) from None
    except ValidationError as error:
        problem, field = first_problem(error.errors(include_url=False, include_input=False))
        raise InvalidInput(f"{where}.{problem}", fields=(f"{where}.{field}",)) from None


def first_problem(errors: Any) -> tuple[str, str]:
    """What a check of JSON types found first: `field: problem`, and the field."""
    problem = errors[0]
    parts = problem["loc"][1:] if problem["loc"][:1] in PLACES else problem["loc"]
    if problem["type"] == "json_invalid":
        return f"body: is no JSON: {problem['ctx']['error']} at {parts[0]}", "body"
    if not parts and problem["type"] != "missing":
        return "body: must be a JSON object, sent with the header Content-Type: application/json", "body"
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".") or "body"
    message = problem["msg"]
    return f"{field}: {message[:1].lower()}{message[1:]}", field


def _text_of(payload: dict[str, Any] | None) -> str:
    """The text that a payload carries."""
    payload = payload or {}
    for name in ("text", "content"):
        if isinstance(payload.get(name), str) and payload[name].strip():
            return check_text(f"payload.{name}", payload[name])
    strings = [value for value in payload.values() if isinstance(value, str) and value.strip()]
    if not strings:
        raise invalid("payload", "must hold a text in `text`, in `content` or in any string; or give `text` beside it")
    return check_text("payload", "\n".join(strings))


def recall_query(
    query: object,
    asked: Question,
    *,
    hybrid: bool | None = None,
    order: str = "score",
    max_tokens: int | None = None,
    terms: Terms | None = None,
) -> RecallQuery:
    """The question of a request."""
    wanted, payload = read_filters(asked.filters, asked.type)
    return RecallQuery.parse(
        query,
        limit=asked.top_k,
        order=order,
        max_tokens=MAX_TOKENS if max_tokens is None else max_tokens,
        filter=wanted,
        hybrid=hybrid is not False,
        payload=payload,
        terms=terms,
        fold=asked.fold,
        since_cursor=asked.since_cursor,
        recency=asked.recency,
    )


def read_filters(filters: dict[str, Any] | None, type_: str | None) -> tuple[Filter, dict[str, Any]]:
    """The fields of a memory that restrict, and what its payload must hold."""
    filters = filters or {}
    if len(filters) > MAX_FILTER_NAMES:
        raise invalid("filters", f"has {len(filters)} names, at most {MAX_FILTER_NAMES} are allowed")
    _check_depth(filters, MAX_FILTER_DEPTH)
    check_json_characters("filters", filters)
    known = {name: filters[name] for name in FILTER_FIELDS if filters.get(name) is not None}
    if type_ is not None:
        known["types"] = [type_]
    try:
        wanted = Filter.parse(**known)
    except InvalidInput as error:
        raise type(error)(f"filters.{error.message}", fields=[f"filters.{name}" for name in error.fields]) from None
    return wanted, {name: value for name, value in filters.items() if name not in FILTER_FIELDS}


def _check_depth(value: Any, left: int) -> None:
    if isinstance(value, dict | list):
        if not left:
            raise invalid("filters", f"nests deeper than the {MAX_FILTER_DEPTH} levels that are allowed")
        for item in value.values() if isinstance(value, dict) else value:
            _check_depth(item, left - 1)
