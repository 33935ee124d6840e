"""Putting memories out of reach, and removing what was purged from the tables."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg2.extensions import connection

from soma_core.adapters.postgres.ledger import conflict
from soma_core.adapters.postgres.pool import unhurried
from soma_core.adapters.postgres.queries import QUERIES
from soma_core.adapters.postgres.rows import ns_of, texts, where
from soma_core.adapters.postgres.storing import enter, into_outbox
from soma_core.adapters.postgres.transaction import Transaction
from soma_core.adapters.values import compact, micros
from soma_core.domain.events import EventKind
from soma_core.domain.memory import State
from soma_core.domain.query import Selection
from soma_core.domain.receipts import Forgotten
from soma_core.ports.records import Request

LISTED_IDS = 1_000
"""A receipt names at most this many ids; its count is always whole."""
CHUNK = 5_000
ERASED = ("memories", "versions", "memory_tags", "requests")
"""The tables that held what was purged."""
CUTOFF = re.compile(r"(?:removable cutoff|oldest xmin): (\d+)")


def forget(
    tx: Transaction,
    namespace: str,
    selection: Selection,
    request: Request,
    purge: bool,
    reason: str | None,
    now: datetime,
) -> Forgotten:
    """Forget or purge what is selected; a request that was answered before gets its first receipt."""
    ns = ns_of(namespace)
    enter(tx, [namespace])
    if (receipt := earlier_receipt(tx.fetch(QUERIES["request"], {"ns": ns, "id": request.id}), request)) is not None:
        listed, count, missing = receipt
        return Forgotten([UUID(key) for key in listed], count, missing)
    ids, missing = _picked(tx.fetch(*selecting(ns, selection, purge)), selection)
    kind = EventKind.PURGED if purge else EventKind.FORGOTTEN
    for start in range(0, len(ids), CHUNK):
        values = {"ns": ns, "ids": ids[start : start + CHUNK], "now": micros(now), "reason": reason, "kind": kind.value}
        tx.run(QUERIES["purge" if purge else "forget"], values)
        tx.run(QUERIES["record_events"], values)
        into_outbox(tx, {ns: len(ids[start : start + CHUNK])})
        tx.send()
    if purge and ids:
        tx.run(QUERIES["erase_due"], {})
    receipt = compact((ids[:LISTED_IDS], len(ids), missing))
    values = {"ns": ns, "id": request.id, "digest": request.digest, "receipt": receipt, "time": micros(now)}
    tx.run(QUERIES["add_request"], values)
    return _forgotten(ids, missing)


def earlier_receipt(rows: Sequence[tuple[Any, ...]], request: Request) -> Any | None:
    """The receipt of a request that was answered before. Raises `Conflict`."""
    if not rows:
        return None
    if rows[0][0] != request.digest:
        raise conflict()
    return json.loads(rows[0][1])


def selecting(ns: str, selection: Selection, purge: bool) -> tuple[str, dict[str, Any]]:
    """The query for id and state of what a forget would change."""
    states = [State.LIVE.value, State.FORGOTTEN.value] if purge else [State.LIVE.value]
    if selection.ids:
        return QUERIES["selected"], {"ns": ns, "ids": texts(selection.ids), "states": states}
    terms, values = where(ns, selection.filter)
    statement = (
        f"SELECT m.id, true FROM memories m WHERE {terms} AND m.state = ANY (%(states)s) ORDER BY m.occurred_at, m.id"
    )
    return statement, values | {"states": states}


def selected(rows: Sequence[tuple[Any, ...]], selection: Selection) -> Forgotten:
    """What a forget would come to, from the rows of `selecting`."""
    return _forgotten(*_picked(rows, selection))


def _picked(rows: Sequence[tuple[Any, ...]], selection: Selection) -> tuple[list[str], list[str]]:
    """The ids that a forget changes, and those that are unknown."""
    if not selection.ids:
        return [row[0] for row in rows], []
    found = dict(rows)
    ids = [key for key in dict.fromkeys(texts(selection.ids)) if found.get(key)]
    return ids, [key for key in texts(selection.ids) if key not in found]


def _forgotten(ids: Sequence[str], missing: list[str]) -> Forgotten:
    return Forgotten([UUID(key) for key in ids[:LISTED_IDS]], len(ids), missing)


def vacuum(db: connection, due: str) -> bool:
    """Remove deleted rows from the tables and their indexes; True when those of the transaction `due` are gone.

    They stay while somebody still reads in a transaction from before, or while the table is being cleaned already.
    """
    with unhurried(db) as cursor:
        for table in ERASED:
            del db.notices[:]
            cursor.execute(f"VACUUM (VERBOSE, SKIP_LOCKED, INDEX_CLEANUP ON) {table}")
            cutoffs = [int(found) for found in CUTOFF.findall("".join(db.notices))]
            if not cutoffs or any(_before(cutoff, int(due)) for cutoff in cutoffs):
                return False
    return True


def _before(cutoff: int, due: int) -> bool:
    """Whether rows that `due` deleted were kept; row numbers are 32 bits of a transaction's, and go round."""
    return (cutoff - due - 1) & 0x8000_0000 != 0
