"""Rows `postgres_store`, `postgres_bulk`: onto a private Postgres with its usual settings, fsync included."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from itertools import count

import psycopg2

from scripts.bench.callers import cycle, drive, serving
from scripts.bench.distributed import broker, deployment
from scripts.bench.figures import Row, Series, at_least, at_most, milliseconds, percentile, say
from scripts.bench.stores import Bench, memories
from scripts.bench.texts import texts
from soma_core.adapters.postgres.records import PostgresRecordStore
from soma_core.domain.errors import SomaError
from soma_core.domain.memory import NewMemory
from soma_core.ports.records import Request, Submission
from tests.support.postgres import PostgresServer

WRITERS = 50
PROCESSES = 2
TIMES_CONTROL = 3.0
BULK = 5_000
BULK_SHARE = 0.5
COPIED = ("memories", "versions", "memory_tags", "events", "requests")


@contextlib.contextmanager
def _server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    try:
        yield server
    finally:
        server.remove()


def measure_store(bench: Bench) -> list[Row]:
    """Fifty clients store over HTTP, between two times fifty who each commit one row at a time.

    As the servers stand together: Kafka and a Qdrant server too, an API of two processes, workers on other machines.
    """
    seconds = bench.times(15, 2)
    wanted = texts(40_000, seed=7)
    with broker() as kafka, deployment(bench, fresh=kafka) as place:
        say("the control")
        control = _single_rows(place.database, wanted, seconds / 2)
        alone = _alone(place.database, wanted, seconds)
        say("storing")
        with serving(place.home, **place.settings, UVICORN_WORKERS=str(PROCESSES)) as port:
            bodies = cycle([{"payload": {"text": text}} for text in wanted])
            load = drive(port, "/store", WRITERS, bodies, seconds=seconds)
        control += _single_rows(place.database, wanted, seconds / 2)
    p95, bound = percentile(load.taken, 95), TIMES_CONTROL * percentile(control, 95)
    what = f"POST /store onto Postgres, {PROCESSES} processes, {WRITERS} clients, closed loop, {seconds} s"
    measured = Series(what, "ms", load.taken)
    store = Series("the record store alone, as many threads", "ms", alone)
    bare = Series(f"INSERT of one row and COMMIT, {WRITERS} connections", "ms", control)
    return [
        Row(
            "postgres_store", measured, [bare, store], "p95 to p95 of the control", p95 / percentile(control, 95),
            at_most(TIMES_CONTROL) + ", no error", p95 <= bound and not load.errors,
            {"errors": load.errors, "calls_per_second": round(load.rate), "control": round(len(control) / seconds)},
        )
    ]  # fmt: skip


def _single_rows(url: str, wanted: list[str], seconds: float) -> list[float]:
    """Milliseconds of every commit."""
    with contextlib.closing(psycopg2.connect(url)) as db, db.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS bare (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), text text)")
        db.commit()
    with contextlib.ExitStack() as stack:
        cursors = []
        for _ in range(WRITERS):
            own = stack.enter_context(contextlib.closing(psycopg2.connect(url)))
            own.autocommit = True
            cursors.append(own.cursor())
        return _driven(
            lambda writer, text: cursors[writer].execute("INSERT INTO bare (text) VALUES (%s)", (text,)),
            wanted,
            seconds,
        )


def _alone(url: str, wanted: list[str], seconds: float) -> list[float]:
    """Milliseconds of every store without HTTP."""
    records, numbers = PostgresRecordStore(url), count()

    def store(_: int, text: str) -> None:
        records.store([Submission("api_ns", [NewMemory.parse(text)], Request(str(next(numbers)), "digest"))])

    try:
        return _driven(store, wanted, seconds)
    finally:
        records.close()


def _driven(call: Callable[[int, str], object], wanted: list[str], seconds: float) -> list[float]:
    """Milliseconds of every call of as many threads as there are writers, each with its number."""
    until = time.perf_counter() + seconds

    def write(writer: int) -> list[float]:
        taken: list[float] = []
        while (began := time.perf_counter()) < until:
            call(writer, wanted[(writer * 997 + len(taken)) % len(wanted)])
            taken.append(milliseconds(began))
        return taken

    with ThreadPoolExecutor(WRITERS) as pool:
        return [each for taken in pool.map(write, range(WRITERS)) for each in taken]


def measure_bulk(bench: Bench) -> list[Row]:
    """Five thousand memories in one store, and COPY of the rows that it made into tables with the same indexes."""
    number = bench.times(BULK, 500)
    stores, copies = [], []
    given = list(memories(number))
    with _server() as server:
        url = server.database()
        records = PostgresRecordStore(url)
        for turn in range(bench.times(7, 2)):
            began = time.perf_counter()
            outcome = records.store([Submission(f"turn {turn}", given, Request(f"turn {turn}", "digest"))])[0]
            stores.append(number / (time.perf_counter() - began))
            if isinstance(outcome, SomaError):
                raise outcome
            copies.append(number / _copied(url, turn))
        records.close()
    measured = Series(f"{number} memories in one call onto Postgres", "memories/s", stores)
    control = Series("COPY of the same rows, as text ready-made, in one transaction", "memories/s", copies)
    ratio = measured.median / control.median
    holds = ratio >= BULK_SHARE
    return [Row("postgres_bulk", measured, [control], "ratio of the medians", ratio, at_least(BULK_SHARE), holds)]


def _copied(url: str, turn: int) -> float:
    """Seconds to COPY the rows of one turn's namespace."""
    with contextlib.closing(psycopg2.connect(url)) as db, db.cursor() as cursor:
        files = []
        for table in COPIED:
            cursor.execute(f"CREATE TABLE IF NOT EXISTS {table}_copy (LIKE {table} INCLUDING ALL)")
            rows = StringIO()
            chosen = "SELECT ns FROM namespaces WHERE name = %s"
            chosen = cursor.mogrify(chosen, (f"turn {turn}",)).decode()
            cursor.copy_expert(f"COPY (SELECT * FROM {table} WHERE ns = ({chosen})) TO STDOUT", rows)
            files.append(StringIO(rows.getvalue()))
        db.commit()
        began = time.perf_counter()
        for table, file in zip(COPIED, files, strict=True):
            cursor.copy_expert(f"COPY {table}_copy FROM STDIN", file)
        db.commit()
        return time.perf_counter() - began
