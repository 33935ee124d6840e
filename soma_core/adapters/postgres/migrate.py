"""Bringing a database to the present schema, one numbered file after the other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from psycopg2.extensions import connection, cursor

from soma_core.adapters.postgres.errors import SETTING, Address, translated
from soma_core.adapters.postgres.pool import connect
from soma_core.domain.errors import InvalidInput, StoreCorrupt, Unavailable

OLDEST_SERVER = 130_000
LOCK = 0x534F4D41
"""The number of the lock that migrations take ("SOMA")."""
LOCK_SECONDS = 60
FOLDER = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    number: int
    name: str
    statements: str


def migrations() -> list[Migration]:
    """All steps that this version of Soma knows, in order."""
    found = []
    for path in sorted(FOLDER.glob("*.sql")):
        number, name = re.fullmatch(r"(\d{4})_(\w+)", path.stem).groups()  # type: ignore[union-attr]
        found.append(Migration(int(number), name, path.read_text("utf-8")))
    return found


def check_server(db: connection, address: Address) -> None:
    """Raises `InvalidInput` for a server that Soma cannot work on."""
    if db.server_version < OLDEST_SERVER:
        version = f"{db.server_version // 10_000}"
        raise InvalidInput(
            f"{SETTING}: {address.shown} is Postgres {version}; 13 or newer is needed", fields=(SETTING,)
        )
    if (encoding := db.info.parameter_status("server_encoding")) != "UTF8":
        raise InvalidInput(
            f"{SETTING}: the database at {address.shown} has the encoding {encoding}, it must be UTF8: make one with "
            "CREATE DATABASE soma ENCODING 'UTF8' TEMPLATE template0",
            fields=(SETTING,),
        )


def check_schema(db: connection, address: Address) -> None:
    """Raises `Unavailable` for a schema that has to be migrated, `StoreCorrupt` for a newer one."""
    with db.cursor() as own:
        version, known = _version(own), migrations()[-1].number
    _refuse_newer(version, known, address)
    if version < known:
        raise Unavailable(
            f"{SETTING}: the database at {address.shown} has schema {version}, this version of Soma needs {known}: "
            "run `soma migrate`, or set SOMA_MIGRATE_ON_START=true",
            fields=(SETTING,),
            retry_after=5,
        )


def pending(url: str) -> list[Migration]:
    """The steps that `migrate` would take. Raises like `migrate`."""
    address = Address.parse(url)
    with closing(connect(address)) as db, translated(address), db.cursor() as own:
        check_server(db, address)
        version = _version(own)
        _refuse_newer(version, migrations()[-1].number, address)
        return [step for step in migrations() if step.number > version]


def migrate(url: str) -> list[Migration]:
    """Take the steps that are missing, each whole or not at all, and return them.

    Several processes may do this at once: one takes a step, the others wait and find it taken.
    Raises `InvalidInput`, `Unavailable`, and `StoreCorrupt` for a schema that is newer than this version of Soma.
    """
    address = Address.parse(url)
    taken = []
    with closing(connect(address)) as db, _telling(address):
        check_server(db, address)
        for step in migrations():
            with db.cursor() as own:
                if _take(own, step, address):
                    taken.append(step)
    return taken


def _take(own: cursor, step: Migration, address: Address) -> bool:
    own.execute(
        f"SET statement_timeout = 0; SET lock_timeout = '{LOCK_SECONDS}s'; BEGIN; SELECT pg_advisory_xact_lock(%s)",
        (LOCK,),
    )
    try:
        version = _version(own)
        _refuse_newer(version, migrations()[-1].number, address)
        if version >= step.number:
            return False
        own.execute(
            "CREATE TABLE IF NOT EXISTS soma_migrations "
            "(number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        own.execute(step.statements)
        own.execute("INSERT INTO soma_migrations VALUES (%s, %s)", (step.number, step.name))
        own.execute("COMMIT")
        return True
    finally:
        if not own.connection.closed:
            own.execute("ROLLBACK")


def _version(own: cursor) -> int:
    own.execute("SELECT to_regclass('soma_migrations') IS NOT NULL")
    if own.fetchall() == [(False,)]:
        return 0
    own.execute("SELECT coalesce(max(number), 0) FROM soma_migrations")
    version: int = own.fetchall()[0][0]
    return version


def _refuse_newer(version: int, known: int, address: Address) -> None:
    if version > known:
        raise StoreCorrupt(
            f"{SETTING}: the database at {address.shown} has schema {version}, this version of Soma knows {known}: "
            "upgrade Soma"
        )


@contextmanager
def _telling(address: Address) -> Iterator[None]:
    with translated(address):
        try:
            yield
        except psycopg2.errors.InsufficientPrivilege as error:
            said = address.without_password(str(error))
            todo = "grant CREATE on the schema, or run `soma migrate` as its owner"
            raise InvalidInput(f"{SETTING}: {address.shown}: {said}: {todo}", fields=(SETTING,)) from error
        except psycopg2.errors.LockNotAvailable as error:
            raise Unavailable(f"{SETTING}: another process migrates {address.shown}; wait for it") from error
