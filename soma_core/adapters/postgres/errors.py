"""From the driver's errors to Soma's. No message holds a password."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

import psycopg2
from psycopg2.extensions import parse_dsn

from soma_core.domain.errors import InvalidInput, Overloaded, SomaError, StoreCorrupt, Unavailable

SETTING = "POSTGRES_URL"
EXPECTED = "must be an address such as postgresql://user:password@host:5432/database, with %-escapes for signs"

REFUSED = {
    "password": "check user and password",
    "no pg_hba.conf entry": "let the server's pg_hba.conf admit this host and user, or add ?sslmode=require",
    "certificate": "check sslmode, sslrootcert, sslcert and sslkey",
    "ssl": "check sslmode, sslrootcert, sslcert and sslkey",
    "database": "make the database, or name another one",
    "role": "make the user, or name another one",
}
"""What the server, or the driver, says to a connection that will never come about as things are set."""
READ_ONLY = "session is read-only"
LATER = ("starting up", "shutting down", "recovery", "too many clients", "reserved", "refused", "timeout", "timed out")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the database is; shown without its password."""

    url: str = field(repr=False)
    shown: str
    password: str = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> Address:
        """Take an address apart. Raises `InvalidInput`, which does not repeat it: it may hold a password."""
        try:
            parts = parse_dsn(url)
        except psycopg2.ProgrammingError:
            raise InvalidInput(f"{SETTING}: {EXPECTED}", fields=(SETTING,)) from None
        host = parts.get("host") or parts.get("hostaddr") or "the local socket"
        user = f" as {parts['user']}" if "user" in parts else ""
        shown = f"{host}:{parts.get('port', 5432)}/{parts.get('dbname', '')}{user}"
        return cls(url, shown, parts.get("password", ""))

    def without_password(self, text: str) -> str:
        """What the driver said, on one line."""
        for secret in {self.password, quote(self.password, safe="")} - {""}:
            text = text.replace(secret, "***")
        return " ".join(text.split())

    def connecting(self, error: psycopg2.Error) -> SomaError:
        """Why there is no connection, and what to do."""
        said = self.without_password(str(error))
        message = f"{SETTING}: no connection to {self.shown}: {said}"
        reason = re.split(r"failed: (?:FATAL: )?", said)[-1].lower()
        if not any(word in reason for word in LATER):
            for word, todo in REFUSED.items():
                if word in reason:
                    return InvalidInput(f"{message}: {todo}", fields=(SETTING,))
        if READ_ONLY in reason:
            todo = "it must name a server that takes writes, not only replicas"
        else:
            todo = "is Postgres running there, and reachable from here?"
        return Unavailable(f"{message}: {todo}", fields=(SETTING,), retry_after=2)

    def failed(self, error: psycopg2.Error) -> SomaError | None:
        """What a failed statement means; None for what only a mistake in Soma explains."""
        code = error.pgcode or ""
        said = f"{self.shown}: {self.without_password(str(error))}"
        if code.startswith("XX0") and code != "XX000":
            return StoreCorrupt(f"the database {said}. Restore it from a backup, then run `soma doctor`")
        if code in ("42P01", "42703", "3F000"):
            return StoreCorrupt(f"the database {said}. Tables of Soma are missing: `soma migrate` makes them")
        if code == "42501":
            return Unavailable(f"{SETTING}: {said}: give the user rights on Soma's tables", fields=(SETTING,))
        if code in ("55P03", "40P01", "40001"):
            return Overloaded("other writers were at work in this namespace for too long; nothing was stored")
        if code == "57014":
            return Unavailable(f"the database {self.shown} took too long; nothing was changed", retry_after=5)
        if code.startswith("53"):
            return Unavailable(f"the database {said}; nothing was stored: make room", retry_after=5)
        if isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError) or code in ("25006", "57P01"):
            return Unavailable(f"the database {said}", retry_after=2)
        return None


@contextlib.contextmanager
def translated(address: Address) -> Iterator[None]:
    """Turn the driver's errors into Soma's."""
    try:
        yield
    except psycopg2.Error as error:
        if (meant := address.failed(error)) is None:
            raise
        raise meant from error
