"""Looking through live memories: by time page by page, by coordinate, by words as they are written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any
from uuid import UUID

from soma_core.adapters.postgres.pool import Pool
from soma_core.adapters.postgres.rows import memory, ns_of, where
from soma_core.adapters.values import micros
from soma_core.domain.memory import Memory, numbers
from soma_core.domain.query import BrowseQuery, Filter, Page
from soma_core.domain.terms import Terms
from soma_core.domain.validation import invalid

FOLDED_TO_ASCII = r"[\u00df\u0130\u0149\u017f\u01f0\u1e96\u1e97\u1e98\u1e99\u1e9a\u1e9e\u212a\ufb00-\ufb06]"
"""Characters that are, without their case, or hold ASCII letters, such as the sharp s."""
FIRST_LOOK = 200
"""How many memories are fetched at first when not all of them may be what is looked for; then ever more."""
LONGEST_LOOK = 5_000

LIVE = """
SELECT m.created_at, v.id, v.version, v.recorded_at, v.text, v.type, v.tags, v.thread, v.position, v.speaker,
    v.occurred_at, v.coordinate, v.importance, v.payload
FROM memories m JOIN versions v ON v.ns = m.ns AND v.id = m.id AND v.version = m.version
WHERE m.state = 'live' AND """


def browse(pool: Pool, namespace: str, query: BrowseQuery) -> Page:
    """One page and the cursor of the next; a memory stored meanwhile never makes another appear twice."""
    terms, values = where(ns_of(namespace), query.filter)
    after = _parse_cursor(query.cursor) if query.cursor is not None else None
    statement = _by_time(terms, newest=query.order == "newest", after=after is not None)
    rows = pool.read(statement, values | (after or {}) | {"limit": query.limit + 1})
    memories = [memory(namespace, row) for row in rows[: query.limit]]
    last = memories[-1] if len(rows) > query.limit else None
    return Page(memories, f"{micros(last.occurred_at)}.{last.id.hex}" if last else None)


def within(pool: Pool, namespace: str, low: str, high: str, wanted: Filter, limit: int) -> list[Memory]:
    """The memories whose coordinate lies in the box; the index finds them by the first number."""
    terms, values = where(ns_of(namespace), wanted)
    box = list(zip(numbers(low), numbers(high), strict=True))
    terms += " AND m.place IS NOT NULL AND cardinality(m.place) = %(size)s"
    for number, (least, most) in enumerate(box, 1):
        terms += f" AND (m.place[{number}]) BETWEEN %(low{number})s::float8 AND %(high{number})s::float8"
        values |= {f"low{number}": repr(least), f"high{number}": repr(most)}
    statement = f"{LIVE} {terms} ORDER BY (m.place[1]), m.id LIMIT %(limit)s"
    return [memory(namespace, row) for row in pool.read(statement, values | {"size": len(box), "limit": limit})]


def containing(pool: Pool, namespace: str, terms: Terms, wanted: Filter, limit: int) -> list[Memory]:
    """The memories whose text holds every term; Postgres passes over the texts that cannot."""
    conditions, values = where(ns_of(namespace), wanted)
    for number, term in enumerate(terms.values):
        name = f"term{number}"
        if terms.case_sensitive:
            conditions += f" AND strpos(v.text, %({name})s) > 0"
            values[name] = term
        elif term.isascii():  # in its C collation Postgres knows the case of ASCII only
            conditions += f' AND (strpos(lower(v.text COLLATE "C"), %({name})s) > 0 OR v.text ~ %(folded)s)'
            values |= {name: term.lower(), "folded": FOLDED_TO_ASCII}
    found = _newest_first(pool, namespace, conditions, values)
    return list(islice((each for each in found if terms.share(each.text) == 1), limit))


def _newest_first(pool: Pool, namespace: str, terms: str, values: Mapping[str, Any]) -> Iterator[Memory]:
    """Live memories in portions, so that no more is read than is looked at."""
    limit, after = FIRST_LOOK, dict[str, Any]()
    while True:
        statement = _by_time(terms, newest=True, after=bool(after))
        rows = pool.read(statement, {**values, **after, "limit": limit})
        found = [memory(namespace, row) for row in rows]
        yield from found
        if len(rows) < limit:
            return
        after = {"time": micros(found[-1].occurred_at), "id": str(found[-1].id)}
        limit = min(limit * 2, LONGEST_LOOK)


def _by_time(terms: str, *, newest: bool, after: bool) -> str:
    order, sign = ("DESC", "<") if newest else ("ASC", ">")
    if after:
        terms += f" AND (m.occurred_at, m.id) {sign} (%(time)s, %(id)s::uuid)"
    return f"{LIVE} {terms} ORDER BY m.occurred_at {order}, m.id {order} LIMIT %(limit)s"


def _parse_cursor(cursor: str) -> dict[str, Any]:
    found = re.fullmatch(r"(-?[0-9]{1,18})\.([0-9a-f]{32})", cursor)
    if not found:
        raise invalid("cursor", "must be a next_cursor from an earlier page, unchanged")
    return {"time": int(found[1]), "id": str(UUID(found[2]))}
