"""A transaction in few round trips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from psycopg2.extensions import cursor

COPY_ROWS = 100
"""From so many rows on, COPY is quicker than INSERT."""


class Transaction:
    """Statements of one transaction; those that return nothing are kept and sent with the next that does."""

    def __init__(self, cursor: cursor) -> None:
        self._cursor = cursor
        self._kept = [b"BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"]

    def run(self, sql: str, values: Mapping[str, Any]) -> None:
        """Run statements, at the latest with the commit."""
        self._kept.append(self._cursor.mogrify(sql, values))

    def fetch(self, sql: str, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        self.run(sql, values)
        self._send()
        return self._cursor.fetchall()

    def insert(self, table: str, columns: str, rows: Sequence[Sequence[Any]], conflict: str = "") -> None:
        """Insert rows in their order; `conflict` is what follows them in the statement, and rules out COPY."""
        if len(rows) >= COPY_ROWS and not conflict:
            self._send()
            self._cursor.copy_expert(f"COPY {table} ({columns}) FROM STDIN", _as_copy(rows))
        elif rows:
            mark = f"({','.join(['%s'] * len(rows[0]))})"
            values = b",".join(self._cursor.mogrify(mark, row) for row in rows)
            self._kept.append(f"INSERT INTO {table} ({columns}) VALUES ".encode() + values + conflict.encode())

    def commit(self) -> None:
        """Send the rest and make all of it durable."""
        self._kept.append(b"COMMIT")
        self._send()

    def _send(self) -> None:
        if self._kept:
            kept, self._kept = self._kept, []
            self._cursor.execute(b";\n".join(kept))


def _as_copy(rows: Sequence[Sequence[Any]]) -> StringIO:
    lines = ("\t".join([_field(value) for value in row]) for row in rows)
    return StringIO("\n".join(lines) + "\n")


def _field(value: object) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, str):
        return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    if isinstance(value, list):
        return "{" + ",".join(map(repr, value)) + "}"
    return repr(value)
