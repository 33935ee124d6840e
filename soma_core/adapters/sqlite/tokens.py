"""TokenStore on SQLite."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from soma_core.adapters.sqlite.database import Database
from soma_core.adapters.values import micros, token_of
from soma_core.domain.errors import Conflict
from soma_core.domain.tokens import Token

_COLUMNS = "id, namespace, scopes, created_at, expires_at, revoked_at, name"


class SqliteTokenStore:
    """The table `tokens` of the record store; the store closes the file. A disk below its reserve is no obstacle."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, token: Token, digest: bytes) -> None:
        expires = micros(token.expires_at) if token.expires_at else None
        revoked = micros(token.revoked_at) if token.revoked_at else None
        row = (token.id, token.namespace, ",".join(token.scopes), micros(token.created_at), expires, revoked)

        def work(db: sqlite3.Connection) -> None:
            statement = f"INSERT OR IGNORE INTO tokens ({_COLUMNS}, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
            if not db.execute(statement, (*row, token.name, digest)).rowcount:
                raise Conflict(f"id: there is a token {token.id} already", fields=("id",))

        self._database.write(work, reserve=False)

    def find(self, token_id: str) -> tuple[Token, bytes] | None:
        with self._database.reading() as db:
            statement = f"SELECT {_COLUMNS}, digest FROM tokens WHERE id = ?"
            row = db.execute(statement, (token_id,)).fetchone()
        return (token_of(row[:-1]), row[-1]) if row else None

    def list(self) -> list[Token]:
        with self._database.reading() as db:
            return [token_of(row) for row in db.execute(f"SELECT {_COLUMNS} FROM tokens ORDER BY created_at, id")]

    def revoke(self, token_id: str, at: datetime) -> Token | None:
        def work(db: sqlite3.Connection) -> Token | None:
            db.execute("UPDATE tokens SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?", (micros(at), token_id))
            row = db.execute(f"SELECT {_COLUMNS} FROM tokens WHERE id = ?", (token_id,)).fetchone()
            return token_of(row) if row else None

        return self._database.write(work, reserve=False)
