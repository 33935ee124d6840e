"""The hot queries over 50,000 memories: an index finds the rows, no table is walked through."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import psycopg2
import pytest

from soma_core.adapters.postgres.queries import QUERIES
from soma_core.adapters.postgres.records import PostgresRecordStore
from soma_core.adapters.postgres.transaction import Transaction
from soma_core.domain.events import Event
from soma_core.domain.memory import NewMemory, short_id
from soma_core.domain.query import BrowseQuery, Filter, Selection
from soma_core.ports.records import Submission
from tests.contract.records import forget
from tests.contract.tokens import token
from tests.support.clock import NOON
from tests.support.postgres import PostgresServer
from tests.support.requests import new, request, stored

NAMESPACES = 10
MEMORIES = 50_000
SMALL_NAMESPACES = 4_000
Seen = list[tuple[str, Any]]


@pytest.fixture(scope="module")
def full(postgres: PostgresServer) -> Iterator[PostgresRecordStore]:
    url = postgres.database()
    records = PostgresRecordStore(url, pool_size=4)
    rng = random.Random(7)
    for start in range(0, MEMORIES, 2_500):
        memories = [memory(rng, number) for number in range(start, start + 2_500)]
        shares = [memories[share::NAMESPACES] for share in range(NAMESPACES)]
        records.store([Submission(f"n{share}", some, request()) for share, some in enumerate(shares)])
    for start in range(0, SMALL_NAMESPACES, 500):
        few = range(start, start + 500)
        records.store([Submission(f"small {number}", [new("one")], request()) for number in few])
    for number in range(1_000):
        records.tokens().add(token(number), b"digest")
    records.outbox().begin()
    for share in range(NAMESPACES):
        records.outbox().adopt(f"n{share}", 0)
    postgres.execute("ANALYZE", url.rpartition("/")[2])
    yield records
    records.close()
    postgres.drop(url)


def memory(rng: random.Random, number: int) -> NewMemory:
    return new(
        f"memory {number} " + "word " * rng.randrange(30),
        type=rng.choice(["episodic", "semantic", "procedural"]),
        tags=[f"tag {rng.randrange(200)}"],
        thread=f"thread {rng.randrange(500)}",
        speaker=f"speaker {rng.randrange(100)}",
        occurred_at=(NOON - timedelta(minutes=rng.randrange(500_000))).isoformat(),
        coordinate=f"{rng.uniform(-1e6, 1e6)!r},{number}" if number % 4 == 0 else None,
    )


def some_ids(records: PostgresRecordStore, count: int) -> list[Any]:
    return list(records.live("n3"))[:count]


def some_events(records: PostgresRecordStore) -> Sequence[Event]:
    return [*records.log().read("n3", 0, 500), *records.log().read("small 7", 0, 1)]


def put_again(records: PostgresRecordStore) -> object:
    places = [each.coordinate for each in records.within("n3", "-999999,0", "999999,999999", Filter(), 5)]
    return stored(records, "n3", [new("again", coordinate=place, thread="thread 1") for place in places], request())


HOT: dict[str, Callable[[PostgresRecordStore], object]] = {
    "store": lambda r: stored(r, "n3", [new("new", thread="thread 1", tags=["a"])], request()),
    "store at coordinates": put_again,
    "forget": lambda r: forget(r, *some_ids(r, 3), namespace="n3"),
    "forget by thread": lambda r: forget(r, namespace="n3", thread="thread 7"),
    "purge": lambda r: forget(r, *some_ids(r, 3), namespace="n3", purge=True),
    "select by tag": lambda r: r.select("n3", Selection((), Filter.parse(tags=["tag 1"])), purge=False),
    "find by digits": lambda r: r.find("n3", [short_id(key) for key in some_ids(r, 1)]),
    "find": lambda r: r.find("n3", [str(key) for key in some_ids(r, 5)]),
    "heads": lambda r: r.heads("n3", some_ids(r, 50)),
    "live versions": lambda r: r.live_versions("n3", [key.int for key in some_ids(r, 200)]),
    "features": lambda r: r.features("n3", [key.int for key in some_ids(r, 200)]),
    "speakers": lambda r: r.speakers("n3", ["speaker", "nobody", "Ana"]),
    "read": lambda r: r.read("n3", some_ids(r, 50)),
    "versions": lambda r: r.versions("n3", [(key, 1) for key in some_ids(r, 50)]),
    "within": lambda r: r.within("n3", "0,0", "1000,1000000", Filter(), 10),
    "browse": lambda r: r.browse("n3", BrowseQuery()),
    "browse on": lambda r: r.browse("n3", BrowseQuery(cursor=r.browse("n3", BrowseQuery()).next_cursor)),
    "browse oldest": lambda r: r.browse("n3", BrowseQuery(order="oldest")),
    "browse a thread": lambda r: r.browse("n3", BrowseQuery(Filter.parse(thread="thread 3"))),
    "browse a type": lambda r: r.browse("n3", BrowseQuery(Filter.parse(types=["semantic"]))),
    "browse a speaker": lambda r: r.browse("n3", BrowseQuery(Filter.parse(speaker="speaker 3"))),
    "browse a tag": lambda r: r.browse("n3", BrowseQuery(Filter.parse(tags=["tag 3"]))),
    "browse a day": lambda r: r.browse("n3", BrowseQuery(Filter.parse(since="2026-03-01", until="2026-03-02"))),
    "counts": lambda r: r.counts("n3"),
    "knows": lambda r: r.knows("n3", request()),
    "expire requests": lambda r: r.expire_requests(NOON - timedelta(days=9)),
    "events": lambda r: r.log().read("n3", r.log().end("n3") - 400, 100),
    "newest events": lambda r: r.log().newest("n3", 0, 100),
    "lag": lambda r: r.log().lag("n3", r.log().end("n3") - 400),
    "relay": lambda r: r.outbox().mark_sent(r.outbox().unsent(500)),
    "mark words": lambda r: r.outbox().mark_words(some_events(r), 1),
    "mark vectors": lambda r: r.outbox().mark_vectors(some_events(r), 1),
    "waiting events": lambda r: r.outbox().waiting(some_events(r)),
    "waiting for words": lambda r: r.outbox().newest("n3", 100),
    "backlog": lambda r: r.outbox().backlog("n3"),
    "adopt": lambda r: r.outbox().adopt("n3", r.log().end("n3") - 400),
    "token": lambda r: r.tokens().find("0" * 12),
}
WALKED = {QUERIES["live"], QUERIES["meta"], QUERIES["unhurried"]}
"""What reads a whole namespace, a table of three rows or nothing, and is on the way to what is tested here."""


@pytest.mark.parametrize("name", HOT)
def test_a_hot_query_goes_by_an_index(full: PostgresRecordStore, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen()
    read, run = full._pool.read, Transaction.run

    def reading(sql: str, values: dict[str, Any]) -> Any:
        seen.append((sql, values))
        return read(sql, values)

    def running(self: Transaction, sql: str, values: dict[str, Any]) -> None:
        seen.append((sql, values))
        run(self, sql, values)

    monkeypatch.setattr(full._pool, "read", reading)
    monkeypatch.setattr(Transaction, "run", running)
    HOT[name](full)
    statements = [(part, values) for sql, values in seen if sql not in WALKED for part in sql.split(";\n")]
    assert statements
    for statement, values in statements:
        plan = explained(full, statement, values)
        assert "Seq Scan" not in plan.replace("Seq Scan on meta", "a look at three rows"), plan
        assert re.search(r"Index|Function Scan|Conflict", plan), plan
        assert not re.search(r"Index Cond: \(state|Rows Removed by Filter: \d{4}", plan), plan


def explained(records: PostgresRecordStore, statement: str, values: dict[str, Any]) -> str:
    with records._pool.lent() as db, db.cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            cursor.execute(f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) {statement}", values)
            return "\n".join(row[0] for row in cursor.fetchall())
        except psycopg2.IntegrityError:  # a row that is there already
            return "Conflict"
        finally:
            cursor.execute("ROLLBACK")
